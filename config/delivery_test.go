package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDeliveryHasTheDefaults makes sure that the limits in rpc/DELIVERY.md are the
// defaults of the configuration.
func TestDeliveryHasTheDefaults(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "rpc", "DELIVERY.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, limits, ok := strings.Cut(string(b), "\n## Limits\n")
	if !ok {
		t.Fatal("there is no section Limits")
	}
	limits, _, _ = strings.Cut(limits, "\n## ")
	c, s := DefaultClient(), DefaultServer().Limits
	thousands := func(n int) string {
		if n < 1000 {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	span := func(d time.Duration) string {
		switch {
		case d%day == 0:
			return fmt.Sprintf("%d days", d/day)
		case d == time.Hour:
			return "1 hour"
		case d%time.Second == 0:
			return fmt.Sprintf("%d s", d/time.Second)
		}
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
	for _, want := range []string{
		fmt.Sprintf("(`limits.in_flight`) | %d |", c.Limits.InFlight),
		fmt.Sprintf("(`limits.outbox_age`) | %s |", span(c.Limits.OutboxAge)),
		fmt.Sprintf("(`limits.journal_age`, `limits.journal_events`) | %s, %s events |", span(c.Limits.JournalAge), thousands(c.Limits.JournalEvents)),
		fmt.Sprintf("(`limits.attempts`, `limits.dead_letter_after`) | %d in %s |", c.Limits.Attempts, span(c.Limits.DeadLetterAfter)),
		fmt.Sprintf("(`intervals.send_wait`) | %s |", span(c.Intervals.SendWait)),
		fmt.Sprintf("(`intervals.receipt_delay`) | 0 to %s |", span(c.Intervals.ReceiptDelay)),
		fmt.Sprintf("(`intervals.gap`) | %s |", span(c.Intervals.Gap)),
		fmt.Sprintf("(`intervals.reconnect_min`, `intervals.reconnect_max`) | %s to %s |", span(c.Intervals.ReconnectMin), span(c.Intervals.ReconnectMax)),
		fmt.Sprintf("| messages of an account | %s at once, then %d a second |", thousands(s.Messages.Burst), time.Second/s.Messages.Every),
		fmt.Sprintf("| mailbox of a device | %s envelopes, %d MiB, %s |", thousands(s.Mailbox.Envelopes), s.Mailbox.Bytes>>20, span(s.Mailbox.Retention)),
		fmt.Sprintf("| envelopes in flight from memory, and how long | %d, %s |", s.HandoffSize, span(s.HandoffWait)),
		fmt.Sprintf("| files of an account | %d GiB together, %d GiB each, %s; kept %s |", s.Blobs.Quota>>30, s.Blobs.Size>>30, thousands(s.Blobs.Count), span(s.Blobs.Retention)),
		fmt.Sprintf("| look-ups of new names, per account | %d, then one a minute |", s.Lookups.Burst),
		fmt.Sprintf("| prekeys, per requester and target | %d, then one in %d minutes; fails closed |", s.Bundles.Burst, s.Bundles.Every/time.Minute),
		fmt.Sprintf("| registrations, per address (/64) | %d, then one in %d minutes |", s.Registration.Burst, s.Registration.Every/time.Minute),
		fmt.Sprintf("| connections without a token, per address | %d, new ones %d and then %d a second;", s.Connections.PerAddress, s.Connections.New.Burst, time.Second/s.Connections.New.Every),
	} {
		if !strings.Contains(limits, want) {
			t.Errorf("rpc/DELIVERY.md does not say %q", want)
		}
	}
}
