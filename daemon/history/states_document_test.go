package history

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"secmsg/rpc/local"
)

// TestStatesAreDocumented compares the diagram in rpc/DELIVERY.md with the steps that
// a message may take, and looks for every reason there.
func TestStatesAreDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "rpc", "DELIVERY.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, diagram, _ := strings.Cut(string(b), "```mermaid\nstateDiagram-v2\n")
	diagram, _, ok := strings.Cut(diagram, "\n```")
	if !ok {
		t.Fatal("there is no diagram")
	}
	drawn := map[[2]string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ *(\w+) --> (\w+)(?:: .*)?$`).FindAllStringSubmatch(diagram, -1) {
		from, to := m[1], m[2]
		if to == local.StateCancelled { // stored as failed, with a reason of its own
			to = local.StateFailed
		}
		drawn[[2]string{from, to}] = true
	}
	states := []string{
		local.StateQueued, local.StateHeld, local.StateAccepted, local.StateDelivered, local.StateRead, local.StateFailed, local.StateExpired,
	}
	for _, from := range states {
		for _, to := range states {
			may := advances(from, to)
			if drawn[[2]string{from, to}] && !may {
				t.Errorf("the diagram goes from %s to %s, which cannot happen", from, to)
			}
			// A receipt makes every state delivered or read. The text says so; the
			// diagram shows only the usual steps.
			byReceipt := to == local.StateDelivered || to == local.StateRead
			if may && !byReceipt && !drawn[[2]string{from, to}] {
				t.Errorf("the diagram has no step from %s to %s", from, to)
			}
		}
	}
	if len(drawn) < 14 {
		t.Errorf("only %d steps found", len(drawn))
	}
	for _, reason := range []string{
		ReasonChanged, ReasonUnverified, ReasonRequest, ReasonUnknown, ReasonBlocked, ReasonGone, ReasonNoKeys, ReasonTooLarge,
		ReasonQuota, ReasonSuspended, ReasonRefused, ReasonDiscarded, ReasonCancelled, ReasonDeclined, ReasonExpired, ReasonDamaged,
	} {
		if !strings.Contains(string(b), "`"+reason+"`") {
			t.Errorf("the reason %s is not documented", reason)
		}
	}
}
