package engine

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// spoilRows damages rows by hand, once nobody writes.
func (p *person) spoilRows(statement string, args ...any) {
	p.t.Helper()
	settleDown(time.Second)
	db, err := sql.Open("sqlite", filepath.Join(p.dir, "secmsg.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	res, err := db.Exec(statement, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		p.t.Fatalf("%s: %d rows, %v", statement, n, err)
	}
}

func (p *person) told(part string) bool {
	for _, ev := range p.events(local.TypeSystem) {
		if strings.Contains(ev.System.Text, part) {
			return true
		}
	}
	return false
}

// A queued message that is damaged on disk fails and is told of; those before
// and behind it, and those to others, go.
func TestDamagedQueuedMessageStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "carol")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		alice.link.disconnect()
		alice.send("bob", "one")
		bad := alice.send("bob", "two")
		alice.send("bob", "three")
		alice.send("carol", "hello")
		id, _ := history.ParseID(bad.ID)
		alice.spoilRows(`UPDATE outbox SET body = zeroblob(length(body)) WHERE id = ?`, id[:])
		alice.link.connect()
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"one", "three"})
		equal(t, "carol got", p[2].texts("alice", local.DirectionIn), []string{"hello"})
		alice.wantState("bob", bad.ID, local.StateFailed)
		if !alice.told(bad.ID) {
			t.Error("nothing was told")
		}
	})
}

// A damaged session is made anew, at whichever end it was, and nothing is lost.
func TestDamagedSessionIsMadeAnew(t *testing.T) {
	for _, end := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			_, p := world(t, "alice", "bob", "carol")
			alice, bob := p[0], p[1]
			defer stopAll(p...)
			alice.send("bob", "before", waitFor(waitDelivered))
			bob.send("alice", "yes", waitFor(waitDelivered))
			settleDown(time.Minute)
			p[end].spoilRows(`UPDATE sessions SET body = zeroblob(length(body))`)
			r := alice.send("bob", "after")
			p[2].send("bob", "of carol")
			settleDown(2 * time.Hour)
			equal(t, "bob got", bob.texts("alice", local.DirectionIn), []string{"before", "after"})
			equal(t, "bob got", bob.texts("carol", local.DirectionIn), []string{"of carol"})
			alice.wantState("bob", r.ID, local.StateDelivered)
			if !p[end].told("session was damaged") {
				t.Error("nothing was told")
			}
		})
	}
}

// What comes from a peer whose contact is damaged is kept aside and told;
// everything else arrives, and what is owed to others goes.
func TestDamagedContactStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob", "carol")
		alice, bob, carol := p[0], p[1], p[2]
		defer stopAll(p...)
		var peer store.PeerID
		if err := bob.st.View(t.Context(), func(tx *store.Tx) (err error) {
			peer, err = tx.FindPeer(bob.account, alice.addr.String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		bob.link.disconnect()
		mine := bob.send("alice", "to a damaged one")
		other := bob.send("carol", "to carol")
		bob.spoilRows(`UPDATE contacts SET body = zeroblob(length(body)) WHERE peer = ?`, peer)
		bob.link.connect()
		alice.send("bob", "lost")
		r := carol.send("bob", "of carol")
		settleDown(time.Minute)
		equal(t, "bob got", bob.texts("carol", local.DirectionIn), []string{"of carol"})
		carol.wantState("bob", r.ID, local.StateDelivered)
		if n, err := bob.engine.Counts(t.Context()); err != nil || n[countCrashed] == 0 || !bob.told("set aside") {
			t.Errorf("counts %v, %v", n, err)
		}
		bob.wantState("alice", mine.ID, local.StateFailed)
		bob.wantState("carol", other.ID, local.StateDelivered)
	})
}

// History, inbox and journal show what can be read, and say of what cannot.
func TestDamagedHistoryIsShownAsSuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		for _, text := range numbered("m", 3) {
			alice.send("bob", text, waitFor(waitDelivered))
		}
		list := bob.history("alice")
		id, _ := history.ParseID(list[1].ID)
		bob.spoilRows(`UPDATE messages SET body = zeroblob(length(body)) WHERE id = ?`, id[:])
		bob.spoilRows(`UPDATE events SET body = zeroblob(length(body)) WHERE id = ?`, list[1].ID)
		check := func(what string, got []local.Event) {
			t.Helper()
			if len(got) != 3 || got[0].Message == nil || got[1].System == nil || got[1].ID != list[1].ID || got[2].Message == nil {
				t.Errorf("%s: %+v", what, got)
			}
		}
		check("history", bob.history("alice"))
		inbox, err := bob.engine.Inbox(t.Context(), local.InboxParams{})
		if err != nil {
			t.Error(err)
		}
		check("inbox", inbox.Events)
		_, s, err := bob.journal.Subscribe(t.Context(), journal.Filter{}, local.SubscribeParams{Since: "0", Types: []string{local.TypeMessage}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var got []local.Event
		for range 3 {
			got = append(got, <-s.Events())
		}
		check("journal", got)
	})
}

// A notice that crashes what handles it takes nothing else with it.
func TestAbsorbedCrashIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice")
		alice := p[0]
		defer stopAll(p...)
		err := alice.engine.share(func(tx *store.Tx) error {
			if err := alice.engine.absorb(tx, func() error { panic("a bad notice") }); err != nil {
				return err
			}
			return tx.SetMetaInt(alice.account, "went on", 1)
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := alice.engine.Counts(t.Context()); err != nil || n[countCrashed] != 1 {
			t.Errorf("counts %v, %v", n, err)
		}
	})
}

// A peer whose address is damaged on disk keeps no list from the user, and neither
// relations nor presence nor the sweep of others.
func TestDamagedPeerStopsNoList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob", "carol")
		alice := p[0]
		defer stopAll(p...)
		alice.send("bob", "before", waitFor(waitDelivered))
		alice.send("carol", "before", waitFor(waitDelivered))
		settleDown(time.Minute)
		var bob store.PeerID
		if err := alice.st.View(t.Context(), func(tx *store.Tx) (err error) {
			bob, err = tx.FindPeer(alice.account, p[1].addr.String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		alice.stop()
		alice.spoilRows(`UPDATE peers SET address = zeroblob(length(address)) WHERE id = ?`, bob)
		alice.spoilRows(`UPDATE sessions SET body = zeroblob(length(body)) WHERE peer = ?`, bob)
		alice.spoilRows(`UPDATE contacts SET synced = 0`)
		r.mu.Lock()
		clear(r.accounts["alice"].relations)
		r.mu.Unlock()
		alice.open()
		alice.run()
		settleDown(time.Second)
		list, err := alice.engine.PresenceList(t.Context(), nil)
		if err != nil || len(list.Presence) != 1 {
			t.Errorf("presence %+v %v", list, err)
		}
		var contacts local.Contacts
		err = alice.engine.do(t.Context(), func() error {
			if err := alice.engine.sweep(); err != nil {
				return err
			}
			return alice.st.View(t.Context(), func(tx *store.Tx) (err error) {
				contacts, err = alice.trust.Contacts(tx, alice.account)
				return err
			})
		})
		if err != nil || len(contacts.Contacts) != 1 {
			t.Errorf("contacts %+v %v", contacts, err)
		}
		alice.link.connect()
		settleDown(time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.accounts["alice"].relations["carol"] != wire.RelationContact {
			t.Error("the server was not told of the other contact")
		}
	})
}
