package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// unread reports whether the engine means to look into its outbox again.
func (p *person) unread() (again bool) {
	p.t.Helper()
	err := p.engine.do(p.t.Context(), func() error {
		_, due := p.engine.tasks[taskPump]
		again = p.engine.window.unscanned || due
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return again
}

// TestNothingStaysBehindInTheOutbox queues more for two peers than a look takes:
// all of it leaves, though answers alone do not read the outbox again.
func TestNothingStaysBehindInTheOutbox(t *testing.T) {
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

// contacts returns the peers on the contact list.
func (p *person) contacts() (out []string) {
	p.t.Helper()
	err := p.st.View(p.t.Context(), func(tx *store.Tx) error {
		list, err := p.trust.Contacts(tx, p.account)
		for _, c := range list.Contacts {
			out = append(out, c.Peer)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// TestNobodyIsNoContact says that a name which no account has leaves the contact
// list again, whether it was written to or added while the server was away; with
// a policy it stays, since a server must not take that away.
func TestNobodyIsNoContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		if r := alice.send("ghost", "boo", waitFor("")); r.State != local.StateFailed {
			t.Errorf("sent to nobody: %+v", r)
		}
		settleDown(time.Second)
		equal(t, "contacts after a send", alice.contacts(), []string{"bob@x.example"})
		alice.link.disconnect()
		alice.add("typo")
		alice.add("strict")
		err := alice.st.Update(t.Context(), func(tx *store.Tx) error {
			_, err := alice.trust.Set(tx, alice.account, identity.Address{User: "strict", Domain: "x.example"}, trust.PolicyTrust, "verified")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "contacts without a server", alice.contacts(), []string{"bob@x.example", "typo@x.example", "strict@x.example"})
		alice.link.connect()
		settleDown(10 * time.Second)
		equal(t, "contacts after that", alice.contacts(), []string{"bob@x.example", "strict@x.example"})
		told := alice.events(local.TypeSystem)
		if len(told) != 1 || told[0].Peer != "typo@x.example" {
			t.Errorf("told: %+v", told)
		}
	})
}

// TestPresenceOfStrangersIsIgnored says that a server cannot fill memory and
// journal with the presence of names that nobody asked for.
func TestPresenceOfStrangersIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		before := len(alice.events(local.TypePresence))
		for _, name := range numbered("stranger", 5) {
			alice.engine.Presence(t.Context(), []*wire.PresenceState{{Account: name, Mutual: true, Online: true}})
		}
		known := 0
		if err := alice.engine.do(t.Context(), func() error { known = len(alice.engine.presence.states); return nil }); err != nil {
			t.Fatal(err)
		}
		if n := len(alice.events(local.TypePresence)); n != before || known != 1 {
			t.Errorf("%d new events, %d names in memory", n-before, known)
		}
	})
}

// TestPresenceWithoutAnAnswer: without a connection nobody is "not online":
// it is not known. When a peer was last seen is what the server told, not when
// this side's own connection broke, and a server that crashed does not undo it.
func TestPresenceWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		entry := func() (local.PresenceEntry, *local.Error) {
			t.Helper()
			l, err := alice.engine.PresenceList(t.Context(), []string{"bob"})
			if err != nil || len(l.Presence) != 1 {
				t.Fatalf("%+v, %v", l, err)
			}
			return l.Presence[0], l.Offline
		}
		tell := func(s *wire.PresenceState) { alice.engine.Presence(t.Context(), []*wire.PresenceState{s}) }
		came := time.Now()
		tell(&wire.PresenceState{Account: "bob", Mutual: true, Online: true, LastSeenMs: came.UnixMilli()})
		if e, why := entry(); e.Online == nil || !*e.Online || !*e.Mutual || why != nil {
			t.Errorf("online: %+v, %v", e, why)
		}
		settleDown(time.Minute)
		alice.link.disconnect()
		settleDown(time.Second)
		if e, why := entry(); e.Online != nil || e.Mutual != nil || why == nil || !e.LastSeen.Equal(time.UnixMilli(came.UnixMilli())) {
			t.Errorf("after a minute online: %+v, offline %v, came %v", e, why, came)
		}
		alice.link.connect()
		settleDown(time.Second)
		tell(&wire.PresenceState{Account: "bob", Mutual: true})
		if e, _ := entry(); e.Online == nil || *e.Online || !e.LastSeen.Equal(time.UnixMilli(came.UnixMilli())) {
			t.Errorf("a server that forgot: %+v", e)
		}
		tell(&wire.PresenceState{Account: "bob"})
		if e, _ := entry(); *e.Mutual || !e.LastSeen.IsZero() {
			t.Errorf("not mutual any more: %+v", e)
		}
		if _, err := alice.engine.PresenceList(t.Context(), []string{"nosuch"}); local.As(err).Code != local.CodeNotFound {
			t.Errorf("presence of nobody: %v", err)
		}
	})
}

// rejects has the relay ask f for the answer to each envelope.
func (r *relay) rejects(f func(sender string, o *wire.Outgoing) (link.Result, bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reject = f
}

// TestRateLimitEndsByItself says that messages which a rate limit stopped are sent
// when it ends, though nothing else happens.
func TestRateLimitEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		end := time.Now().Add(time.Minute)
		r.rejects(func(string, *wire.Outgoing) (link.Result, bool) {
			left := time.Until(end)
			return link.Result{Reason: wire.Reason_REASON_RATE, RetryAfter: left}, left > 0
		})
		for _, text := range []string{"a", "b", "c"} {
			alice.send("bob", text)
		}
		settleDown(2 * time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"a", "b", "c"})
	})
}
