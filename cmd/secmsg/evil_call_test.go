package main

import (
	"strings"
	"testing"

	"secmsg/rpc/wire"
)

// The CA certifies another key for bob (crypto/ATTACKS.md, F12). Alice cannot call under
// his name, and calls under his name do not ring on her side.
func TestEvilCallAfterKeySwap(t *testing.T) {
	t.Parallel()
	w := newEvilWorld(t)
	w.must("alice", "", "contact", "add", "bob")
	w.must("bob", "", "contact", "add", "alice")
	ghost := w.forge("bob")
	w.lie("bob", func(a *wire.Account) { a.Chain, a.Manifest = ghost.chain, ghost.manifest },
		func(b *wire.Bundles) { b.Chain, b.Manifest, b.Devices = ghost.chain, ghost.manifest, nil })
	// The first signal reveals the other key; from then on the key counts as changed.
	for _, when := range []string{"before the change is known", "after"} {
		r := w.run("alice", "", "call", "start", "bob", "--audio-in", "test", "--ring", "5s", "-o", "json")
		if r.code != 4 || !strings.Contains(r.stderr, `"untrusted"`) {
			t.Fatalf("a call to a swapped key, %s: exit %d, want 4\n%s%s", when, r.code, r.stdout, r.stderr)
		}
	}
	if !strings.Contains(w.must("alice", "", "contact", "show", "bob", "-o", "json"), `"trust":"changed"`) {
		t.Error("trust is not changed")
	}
	if r := w.run("bob", "", "call", "start", "alice", "--audio-in", "test", "--ring", "1s"); r.code == 0 {
		t.Errorf("a call from a changed key: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if got := w.must("alice", "", "call", "list") + w.must("alice", "", "call", "status"); strings.Contains(got, " from ") {
		t.Errorf("a call from a changed key rang:\n%s", got)
	}
}
