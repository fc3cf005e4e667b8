package relay

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

// change reads until the next presence state.
func (c *client) change() string {
	c.t.Helper()
	c.presence = nil
	for len(c.presence) == 0 {
		c.take(c.contactFrame())
	}
	equal(c.t, "changes at once", len(c.presence), 1)
	return show(c.presence[0])
}

func TestPresenceOfMutualContacts(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	second := w.devices("bob", bob, nil)
	w.mutual("alice", "bob")
	ac := w.contact(alice)
	equal(t, "never seen", ac.states(true, "bob"), "bob+mutual")
	bc := w.contact(bob)
	equal(t, "not announced", ac.states(true, "bob"), "bob+mutual")
	equal(t, "snapshot", bc.states(true, "alice"), "alice+mutual+online+seen")
	equal(t, "announced", ac.change(), "bob+mutual+online+seen")
	b2 := w.contact(second)
	equal(t, "second device", b2.states(true, "alice"), "alice+mutual+online+seen")
	must(t, bc.ws.Close())
	must(t, b2.ws.Close())
	equal(t, "gone with the last one", ac.change(), "bob+mutual+seen")
	devices, err := w.store.Devices(context.Background(), "bob")
	must(t, err)
	for _, d := range devices {
		if d.LastSeen.IsZero() {
			t.Fatal("last seen is not stored")
		}
	}
	// Withdrawing the announcement looks like leaving.
	bc = w.contact(bob)
	bc.states(true)
	equal(t, "back", ac.change(), "bob+mutual+online+seen")
	bc.states(false)
	equal(t, "withdrawn", ac.change(), "bob+mutual+seen")
}

func TestLastSeenSurvivesARestart(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	w.mutual("alice", "bob")
	bc := w.contact(bob)
	equal(t, "announced", bc.states(true, "alice"), "alice+mutual")
	must(t, w.relay.Close(context.Background()))
	relay, err := New(Options{Store: w.store, Tokens: w, Limits: quietLimits()})
	must(t, err)
	w.relay = relay
	w.http.Config.Handler = relay.Handler()
	equal(t, "snapshot", w.contact(alice).states(false, "bob"), "bob+mutual+seen")
}

func TestPresenceFollowsTheContactLists(t *testing.T) {
	w := newWorld(t, nil)
	alice, bob := w.account("alice"), w.account("bob")
	ac, bc := w.contact(alice), w.contact(bob)
	equal(t, "strangers", ac.states(true, "bob"), "bob")
	equal(t, "strangers", bc.states(true, "alice"), "alice")
	w.relate("alice", "bob", store.RelationContact)
	equal(t, "one side", ac.change(), "bob")
	equal(t, "one side", bc.change(), "alice")
	w.relate("bob", "alice", store.RelationContact)
	equal(t, "mutual at once", ac.change(), "bob+mutual+online+seen")
	equal(t, "mutual at once", bc.change(), "alice+mutual+online+seen")
	// Held messages can be sent now.
	equal(t, "released", ac.say(bob, 1, strings.Repeat("x", 20_000)), "accepted")
	w.relate("alice", "bob", store.RelationBlocked)
	equal(t, "blocked", ac.change(), "bob")
	equal(t, "blocked", bc.change(), "alice")
}

// TestPresenceOfSuspendedAndDeleted: an account that nobody can reach is not a mutual contact. Its
// contacts learn that at once, and again when it is back.
func TestPresenceOfSuspendedAndDeleted(t *testing.T) {
	w := newWorld(t, nil)
	ctx := context.Background()
	w.mutual("alice", "bob")
	alice, bob := w.account("alice"), w.account("bob")
	ac, bc := w.contact(alice), w.contact(bob)
	ac.states(true, "bob")
	equal(t, "mutual", bc.states(true, "alice"), "alice+mutual+online+seen")
	equal(t, "announced", ac.change(), "bob+mutual+online+seen")
	suspend := func(on bool) {
		must(t, w.store.SetSuspended(ctx, "bob", on))
		must(t, w.relay.AccountChanged(ctx, "bob"))
	}
	suspend(true)
	equal(t, "suspended", ac.change(), "bob")
	equal(t, "snapshot", ac.states(true, "bob"), "bob")
	suspend(false)
	equal(t, "resumed", ac.change(), "bob+mutual+seen")
	must(t, w.store.DeleteAccount(ctx, "bob"))
	must(t, w.relay.AccountChanged(ctx, "bob"))
	equal(t, "deleted", ac.change(), "bob")
	// Somebody who takes the name later starts as a stranger on both sides.
	w.account("bob")
	equal(t, "the next of that name", ac.states(true, "bob"), "bob")
	rel, err := w.store.Relation(ctx, "alice", "bob")
	must(t, err)
	equal(t, "relation", rel, store.RelationNone)
}

// TestPresenceOfDeletedElsewhere: the poll finds changes that another process made to an account.
func TestPresenceOfDeletedElsewhere(t *testing.T) {
	w := newWorld(t, nil)
	w.mutual("alice", "bob")
	alice := w.account("alice")
	w.account("bob")
	ac := w.contact(alice)
	equal(t, "mutual", ac.states(true, "bob"), "bob+mutual")
	must(t, w.store.DeleteAccount(context.Background(), "bob"))
	equal(t, "deleted", ac.change(), "bob")
}

// TestPresenceAfterAFailingStore: a relation that cannot be read is not reported as "not mutual", which
// nobody would correct, but reported once it can be read.
func TestPresenceAfterAFailingStore(t *testing.T) {
	w := newWorld(t, nil)
	w.mutual("alice", "bob", "carol")
	alice := w.account("alice")
	w.account("bob")
	w.account("carol")
	ac := w.contact(alice)
	w.store.failLook.Store(1)
	equal(t, "the one that could be read", ac.statesOf(1, "bob", "carol"), "carol+mutual")
	equal(t, "the other", ac.change(), "bob+mutual")
}

// TestPresenceLeaksNothing: strangers, former contacts, blocked accounts, and watchers of names that do
// not exist see the same, and get no push.
func TestPresenceLeaksNothing(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	names := []string{"stranger", "former", "blocked", "onesided"}
	var watchers []*client
	for _, name := range names {
		w.relate(name, "alice", store.RelationContact)
		watchers = append(watchers, w.contact(w.account(name)))
	}
	w.relate("alice", "former", store.RelationContact)
	w.relate("alice", "former", store.RelationNone)
	w.relate("alice", "blocked", store.RelationBlocked)
	w.relate("stranger", "alice", store.RelationNone)
	for _, c := range watchers {
		equal(t, "before", c.states(true, "alice", "nobody"), "alice nobody")
	}
	ac := w.contact(alice)
	equal(t, "announced", ac.states(true, "nobody"), "nobody")
	must(t, ac.ws.Close())
	poll.Until(t, "disconnect", func() bool { return w.relay.Stats().Contacts == len(names) })
	for _, c := range watchers {
		// The next snapshot is the next frame: nothing was pushed in between.
		c.presence = nil
		c.write(&wire.ContactClient{Frame: &wire.ContactClient_Subscribe{Subscribe: &wire.Subscribe{Accounts: []string{"alice", "nobody"}}}})
		states := c.contactFrame().GetPresence().GetStates()
		equal(t, "states", len(states), 2)
		for _, st := range states {
			equal(t, "state", show(st), st.GetAccount())
		}
	}
}

func TestSubscribeBounds(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.account("alice")
	for name, accounts := range map[string][]string{
		"too many": make([]string, wire.MaxSubscribe+1),
		"too long": {strings.Repeat("x", maxName+1)},
	} {
		t.Run(name, func(t *testing.T) {
			ac := w.contact(alice)
			equal(t, "within the bounds", ac.states(false, "x"), "x")
			ac.write(&wire.ContactClient{Frame: &wire.ContactClient_Subscribe{Subscribe: &wire.Subscribe{Accounts: accounts}}})
			equal(t, "reason", ac.bye().GetReason(), wire.Reason_REASON_PROTOCOL)
		})
	}
}

// manyNames returns as many names as a Subscribe may contain.
func manyNames(prefix string) []string {
	names := make([]string, wire.MaxSubscribe)
	for i := range names {
		names[i] = fmt.Sprint(prefix, i)
	}
	return names
}

// TestStatesDoNotPileUp: a peer that names other accounts in each Subscribe and does not read makes no
// queue grow.
func TestStatesDoNotPileUp(t *testing.T) {
	w := newWorld(t, nil)
	s := &socket{relay: w.relay, killed: true, account: "alice"} // it writes nothing
	c := newContact(s)
	c.watched = make(map[string]bool)
	for i := range 5 {
		w.relay.presence.snapshot(c, manyNames(fmt.Sprint("n", i, "-")))
	}
	equal(t, "states that wait", len(c.states), wire.MaxSubscribe)
}

// TestSubscribeFlood: names above the rate are not looked up.
func TestSubscribeFlood(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.Watched = limit.Rate{Burst: 2 * wire.MaxSubscribe, Every: never} })
	alice := w.account("alice")
	ac := w.contact(alice)
	ac.states(false, manyNames("a")...)
	for i := range 3 {
		ac.write(&wire.ContactClient{Frame: &wire.ContactClient_Subscribe{Subscribe: &wire.Subscribe{Accounts: manyNames(fmt.Sprint("b", i, "-"))}}})
	}
	limits := w.relay.accounts.acquire("alice")
	defer w.relay.accounts.release("alice")
	poll.Until(t, "waiting for the rate", func() bool { return limits.watched.Tokens() < 0 })
	// A waiting connection does not delay the relay's Close.
	must(t, w.relay.Close(context.Background()))
	equal(t, "names looked up", len(w.relay.dir.relations.entries), wire.MaxSubscribe)
}
