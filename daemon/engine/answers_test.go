package engine

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// A repeated send whose message retention has deleted gets the first id and
// what had become of it, after a restart too.
func TestIdempotencyKeyOutlivesHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		key := func(p *local.SendParams) { p.IdempotencyKey, p.Wait = "k", waitDelivered }
		first := alice.send("bob", "once", key)
		err := alice.st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := alice.trust.Set(tx, alice.account, bob.addr, trust.PolicyRetention, "1h")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		settleDown(2 * 24 * time.Hour)
		if h := alice.history("bob"); len(h) != 0 {
			t.Fatalf("history: %+v", h)
		}
		alice.restart()
		alice.link.connect()
		for _, wait := range []string{waitDelivered, waitQueued, ""} {
			again := alice.send("bob", "once", key, waitFor(wait))
			if again.ID != first.ID || again.State != local.StateDelivered || again.Peer != bob.addr.String() || again.Error != nil {
				t.Errorf("wait %q: %+v, then %+v", wait, first, again)
			}
		}
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"once"})
		// After 30 days the key is free, for any message.
		settleDown(31 * 24 * time.Hour)
		if third := alice.send("bob", "twice", key); third.ID == first.ID {
			t.Error("the key never ends")
		}
	})
}

// What is sealed and waits for a request to be accepted cannot be cancelled,
// and that is what is said; what follows it and is not sealed can.
func TestCancelOfWhatWaitsForARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(t)
		alice, dave := join(t, r, "alice"), join(t, r, "dave")
		defer stopAll(alice, dave)
		alice.link.connect()
		dave.link.connect()
		settleDown(time.Second)
		dave.send("alice", "hello", waitFor(""))
		sealed := dave.send("alice", "are you there?", waitFor(""))
		open := dave.send("alice", "well?", waitFor(""))
		_, err := dave.engine.CancelOutbox(t.Context(), sealed.ID)
		if err == nil || local.As(err).Message != "the message is encrypted and waits until your request is accepted, so it cannot be cancelled" {
			t.Errorf("sealed: %v", err)
		}
		out, err := dave.engine.CancelOutbox(t.Context(), open.ID)
		if err != nil || out.State != local.StateCancelled || out.Error != nil {
			t.Errorf("not sealed: %+v %v", out, err)
		}
	})
}

// However often it becomes due, one worker subscribes to presence at a time,
// and what changed meanwhile is subscribed to afterwards.
func TestOneWorkerSubscribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob", "carol")
		alice := p[0]
		defer stopAll(p...)
		var running, most atomic.Int32
		r.mu.Lock()
		r.watching = func() {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second) // the fake clock of synctest
			running.Add(-1)
		}
		r.mu.Unlock()
		alice.link.disconnect()
		alice.link.connect()
		for range 5 {
			alice.engine.Wake()
			settleDown(100 * time.Millisecond)
		}
		alice.add("nobody")
		settleDown(time.Minute)
		if n := most.Load(); n != 1 {
			t.Errorf("%d workers at once", n)
		}
		alice.link.mu.Lock()
		defer alice.link.mu.Unlock()
		if len(alice.link.watched) != 2 {
			t.Errorf("watches %v", alice.link.watched)
		}
	})
}
