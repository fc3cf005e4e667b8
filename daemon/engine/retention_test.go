package engine

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

func (p *person) set(who identity.Address, key, value string) {
	p.t.Helper()
	err := p.st.Update(p.t.Context(), func(tx *store.Tx) error {
		_, err := p.trust.Set(tx, p.account, who, key, value)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) sweepNow() {
	p.t.Helper()
	if err := p.engine.do(p.t.Context(), p.engine.sweep); err != nil {
		p.t.Fatal(err)
	}
}

// A wall clock that jumps ten years, in either direction, deletes nothing before
// its retention is over in profile time, and leaves nothing behind after it. What
// is unread stays in any case. The last receipt in status is never in the future.
func TestRetentionRunsOnProfileTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(t)
		alice := join(t, r, "alice")
		bob := &person{t: t, relay: r, name: "bob", addr: identity.Address{User: "bob", Domain: "x.example"}, cfg: testConfig()}
		var offset atomic.Int64
		bob.wall = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		bob.dir = profileDir(t)
		bob.open()
		if err := bob.keys.Create(nil); err != nil {
			t.Fatal(err)
		}
		bob.register()
		bob.run()
		defer stopAll(alice, bob)
		for _, p := range []*person{alice, bob} {
			p.link.connect()
		}
		settleDown(time.Second)
		alice.add("bob")
		bob.add("alice")
		settleDown(5 * time.Second)
		const decade = int64(10 * 365 * day)
		read := func() {
			t.Helper()
			if _, err := bob.engine.Inbox(t.Context(), local.InboxParams{}); err != nil {
				t.Fatal(err)
			}
		}
		lastReceived := func(what string) {
			t.Helper()
			s, err := bob.engine.Status(t.Context())
			if err != nil || s.LastReceived.After(bob.wall()) || s.LastReceived.IsZero() {
				t.Errorf("%s: last received %v, now %v, %v", what, s.LastReceived, bob.wall(), err)
			}
		}
		alice.send("bob", "right", waitFor(waitDelivered))
		read()
		bob.set(alice.addr, trust.PolicyRetention, "1h")
		bob.send("alice", "mine", waitFor(waitDelivered))
		// Certificates run on the wall clock, so that it jumps only after the receipt.
		for _, jump := range []int64{decade, -decade, 0} {
			offset.Store(jump)
			bob.sweepNow()
			equal(t, "history after a jump", bob.texts("alice", local.DirectionIn), []string{"right"})
			equal(t, "own messages after a jump", bob.texts("alice", local.DirectionOut), []string{"mine"})
			lastReceived("after a jump")
		}
		// Received under a clock that is two days slow, or fast.
		for _, m := range []struct {
			text string
			off  time.Duration
		}{{"slow", -2 * day}, {"fast", 2 * day}} {
			offset.Store(int64(m.off))
			alice.send("bob", m.text, waitFor(waitDelivered))
			read()
			lastReceived(m.text)
			offset.Store(0)
			lastReceived("after " + m.text)
			bob.sweepNow()
		}
		equal(t, "history under wrong clocks", bob.texts("alice", local.DirectionIn), []string{"right", "slow", "fast"})
		alice.send("bob", "unread", waitFor(waitDelivered))
		settleDown(2 * time.Hour)
		bob.sweepNow()
		equal(t, "history after its retention", bob.texts("alice", local.DirectionIn), []string{"unread"})
		equal(t, "own messages after their retention", bob.texts("alice", local.DirectionOut), nil)
		offset.Store(decade)
		bob.sweepNow()
		equal(t, "what is unread", bob.texts("alice", local.DirectionIn), []string{"unread"})
	})
}
