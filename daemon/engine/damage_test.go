package engine

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/local"
)

// Whatever byte of an envelope is damaged on its way, of a first message or
// within a session, in its clear part or its sealed one: the message is asked
// for again, arrives, and is delivered.
func TestDamagedEnvelopesComeAgain(t *testing.T) {
	for _, first := range []bool{true, false} {
		for _, part := range []float64{0, 0.001, 0.002, 0.003, 0.01, 0.1, 0.3, 0.5, 0.9, 1} {
			t.Run(fmt.Sprintf("first=%v/at=%v", first, part), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { damage(t, first, part) })
			})
		}
	}
}

func damage(t *testing.T, first bool, part float64) {
	r, p := world(t, "alice", "bob")
	alice, bob := p[0], p[1]
	defer stopAll(p...)
	var want []string
	if !first {
		want = append(want, "before")
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.send("alice", "yes", waitFor(waitDelivered))
		settleDown(time.Second)
	}
	bob.stop()
	sent := alice.send("bob", "damaged")
	settleDown(time.Second)
	r.mu.Lock()
	box := r.boxes[bob.device]
	if len(box) == 0 {
		t.Error("nothing is on its way")
	}
	for _, e := range box {
		e.Ciphertext = slices.Clone(e.Ciphertext)
		e.Ciphertext[int(part*float64(len(e.Ciphertext)-1))] ^= 1
	}
	r.mu.Unlock()
	bob.open()
	bob.run()
	bob.link.connect()
	settleDown(2 * time.Hour)
	equal(t, "bob got", bob.texts("alice", local.DirectionIn), append(want, "damaged"))
	alice.wantState("bob", sent.ID, local.StateDelivered)
}
