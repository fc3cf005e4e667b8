package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/local"
)

// unread reports whether the engine means to look into its outbox again.
func (p *person) unread() (again bool) {
	p.t.Helper()
	err := p.engine.do(p.t.Context(), func() error {
		_, due := p.engine.tasks[taskPump]
		again = p.engine.unscanned || due
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return again
}

// TestAnswersReadNoOutbox says that the outbox is read when something was
// queued, and not again for every answer; and that nothing stays behind for it,
// with more messages than a look takes and a peer who is not there.
func TestAnswersReadNoOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "carol")
		alice, bob, carol := p[0], p[1], p[2]
		defer stopAll(p...)
		if alice.unread() {
			t.Error("at rest the outbox is read")
		}
		alice.link.disconnect()
		want := numbered("m", 3*perTx+5)
		for _, text := range want {
			alice.send("bob", text)
			alice.send("carol", text)
		}
		alice.link.connect()
		settleDown(10 * time.Second)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), want)
		equal(t, "carol got", carol.texts("alice", local.DirectionIn), want)
		if alice.unread() {
			t.Error("after all is delivered the outbox is read")
		}
	})
}
