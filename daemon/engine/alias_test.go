package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/history"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// A contact and the server together cannot make another's message vanish by taking
// its id: it is shown under an id of this device, and its sender gets its receipts.
func TestTakenIDHidesNoMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "carol")
		alice, bob, carol := p[0], p[1], p[2]
		defer stopAll(p...)
		bob.link.disconnect()
		m := alice.send("bob", "the real one", waitFor(waitServer))
		id, err := history.ParseID(m.ID)
		if err != nil {
			t.Fatal(err)
		}
		taken := carol.envelopeOf(bob, wire.Class_CLASS_DURABLE, id, plain(t, textOf(1, 1, "taken")))
		bob.deliver(taken)
		bob.link.connect()
		settleDown(5 * time.Second)
		equal(t, "of alice", bob.texts("alice", local.DirectionIn), []string{"the real one"})
		equal(t, "of carol", bob.texts("carol", local.DirectionIn), []string{"taken"})
		alice.wantState("bob", m.ID, local.StateDelivered)
		if _, err := bob.engine.Inbox(t.Context(), local.InboxParams{}); err != nil {
			t.Fatal(err)
		}
		settleDown(5 * time.Second)
		alice.wantState("bob", m.ID, local.StateRead)
		bob.deliver(taken) // repeated, it stays one
		if n := len(bob.texts("carol", local.DirectionIn)); n != 1 {
			t.Errorf("%d messages of carol", n)
		}
	})
}
