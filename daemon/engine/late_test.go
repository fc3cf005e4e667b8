package engine

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/ratchet"
	"secmsg/daemon/history"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// An envelope that comes after its message key was dropped with age was never
// shown: it is asked for again, and is no duplicate.
func TestEnvelopeThatOutlivedItsKeyIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		bob.link.disconnect()
		late := alice.send("bob", "late")
		settleDown(time.Second)
		id, err := history.ParseID(late.ID)
		if err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		box := r.boxes[bob.device]
		at := slices.IndexFunc(box, func(e *wire.Envelope) bool { return string(e.GetMessageId()) == string(id[:]) })
		if at < 0 {
			t.Fatal("the message is not in the mailbox")
		}
		held := box[at]
		r.boxes[bob.device] = slices.Delete(slices.Clone(box), at, at+1)
		r.mu.Unlock()
		bob.link.connect()
		for i := range ratchet.SkippedSteps + 1 {
			alice.send("bob", fmt.Sprint(i), waitFor(waitDelivered))
			bob.send("alice", fmt.Sprint(i), waitFor(waitDelivered))
		}
		settleDown(ratchet.SkippedMinimum + time.Hour)
		r.mu.Lock()
		r.boxes[bob.device] = append(r.boxes[bob.device], held)
		r.mu.Unlock()
		bob.link.poke()
		settleDown(5 * time.Minute)
		if got := bob.texts("alice", local.DirectionIn); !slices.Contains(got, "late") || len(got) != ratchet.SkippedSteps+3 {
			t.Errorf("bob got %q", got)
		}
		alice.wantState("bob", late.ID, local.StateDelivered)
		// The same envelope once more, now that it was shown, changes nothing.
		before, err := bob.engine.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.boxes[bob.device] = append(r.boxes[bob.device], held)
		r.mu.Unlock()
		bob.link.poke()
		settleDown(5 * time.Minute)
		after, err := bob.engine.Counts(t.Context())
		if err != nil || after[countDuplicate] != before[countDuplicate]+1 {
			t.Errorf("counts %v, then %v, %v", before, after, err)
		}
		if n := len(bob.texts("alice", local.DirectionIn)); n != ratchet.SkippedSteps+3 {
			t.Errorf("%d messages after a duplicate", n)
		}
	})
}
