package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// changes counts the identity events about a peer, by change.
func (p *person) changes(peer identity.Address) map[string]int {
	out := map[string]int{}
	for _, e := range p.events(local.TypeIdentity) {
		if e.Peer == peer.String() {
			out[e.Identity.Change]++
		}
	}
	return out
}

func (p *person) manifestOf(peer identity.Address) (m identity.Manifest) {
	p.t.Helper()
	err := p.st.View(p.t.Context(), func(tx *store.Tx) error {
		signed := []byte(nil)
		if peer == p.addr {
			a, err := tx.Account(p.account)
			if err != nil {
				return err
			}
			signed = a.Manifest
		} else {
			id, err := tx.FindPeer(p.account, peer.String())
			if err != nil {
				return err
			}
			c, err := tx.Contact(p.account, id)
			if err != nil {
				return err
			}
			signed = c.Manifest
		}
		u, err := identity.ParseManifest(signed)
		_, m.Version = u.Claims()
		m.Time = u.Time()
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// talk exchanges messages until both ends have confirmed their session.
func talk(t *testing.T, a, b *person) {
	t.Helper()
	for range 2 {
		a.send(b.name, "to "+b.name, waitFor(waitDelivered))
		b.send(a.name, "to "+a.name, waitFor(waitDelivered))
	}
	settleDown(time.Second)
}

// A device that begins a session in the place of one that worked is told, once a
// day however often it does so.
func TestSessionTakeoverIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		bob.add("alice")
		talk(t, alice, bob)
		if got := alice.changes(bob.addr)[local.ChangeSession]; got != 0 {
			t.Fatalf("%d events before anything happened", got)
		}
		forget := func() {
			t.Helper()
			err := bob.st.Update(t.Context(), func(tx *store.Tx) error {
				peer, err := tx.Peer(bob.account, alice.addr.String())
				if err != nil {
					return err
				}
				return tx.DeletePeerSessions(bob.account, peer)
			})
			if err != nil {
				t.Fatal(err)
			}
			settleDown(5 * time.Minute) // a generation is a minute
			bob.send("alice", "anew", waitFor(waitDelivered))
			talk(t, alice, bob)
		}
		for range 3 {
			forget()
		}
		if got := alice.changes(bob.addr)[local.ChangeSession]; got != 1 {
			t.Errorf("%d events of three takeovers within a day, want 1", got)
		}
		settleDown(25 * time.Hour)
		forget()
		if got := alice.changes(bob.addr)[local.ChangeSession]; got != 2 {
			t.Errorf("%d events a day later, want 2", got)
		}
		if got := bob.changes(alice.addr)[local.ChangeSession]; got != 0 {
			t.Errorf("%d events at the end that began anew", got)
		}
	})
}

// A message that names a newer manifest than the known one has it fetched, although
// nothing is to be sent.
func TestNamedManifestIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		bob.add("alice")
		talk(t, alice, bob)
		alice.link.disconnect()
		settleDown(31 * day) // bob signs his manifest anew
		if m := bob.manifestOf(bob.addr); m.Version != 2 || time.Since(m.Time) > 2*day {
			t.Fatalf("manifest %d of %s", m.Version, m.Time)
		}
		if m := alice.manifestOf(bob.addr); m.Version != 1 {
			t.Fatalf("alice knows version %d already", m.Version)
		}
		bob.send("alice", "hello")
		alice.link.connect()
		settleDown(time.Minute)
		if m := alice.manifestOf(bob.addr); m.Version != 2 {
			t.Errorf("alice knows version %d after a message that names 2", m.Version)
		}
		if got := alice.changes(bob.addr); len(got) != 0 {
			t.Errorf("events of an honest server: %v", got)
		}
	})
}

// A server that does not show the manifest which messages name is told, once a
// day; and what it shows later is taken.
func TestWithheldManifestIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		bob.add("alice")
		talk(t, alice, bob)
		r.mu.Lock()
		r.accounts["bob"].frozen = 1
		r.mu.Unlock()
		settleDown(31 * day)
		for range 5 {
			bob.send("alice", "hello", waitFor(waitDelivered))
			settleDown(time.Minute)
		}
		if got := alice.changes(bob.addr)[local.ChangeWithheld]; got != 1 {
			t.Errorf("%d events, want 1", got)
		}
		settleDown(25 * time.Hour) // it goes on
		if got := alice.changes(bob.addr)[local.ChangeWithheld]; got != 2 {
			t.Errorf("%d events a day later, want 2", got)
		}
		r.mu.Lock()
		r.accounts["bob"].frozen = 0
		r.mu.Unlock()
		settleDown(2 * time.Hour)
		if m := alice.manifestOf(bob.addr); m.Version != 2 {
			t.Errorf("alice knows version %d after the server has shown 2", m.Version)
		}
		settleDown(3 * day)
		if got := alice.changes(bob.addr)[local.ChangeWithheld]; got != 2 {
			t.Errorf("%d events after the server has given in", got)
		}
	})
}

// An owner signs its manifest anew every 30 days; of one that did not for 60, its
// contacts are warned, once in 30 days.
func TestManifestsAreSignedAnewAndStaleOnesTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		bob.add("alice")
		talk(t, alice, bob)
		settleDown(62 * day)
		if m := bob.manifestOf(bob.addr); m.Version != 3 {
			t.Errorf("after two months bob's manifest has version %d, want 3", m.Version)
		}
		if got := alice.changes(bob.addr); len(got) != 0 {
			t.Errorf("events while both are there: %v", got)
		}
		r.mu.Lock()
		r.accounts["bob"].frozen = 1
		r.mu.Unlock()
		settleDown(61 * day)
		if got := alice.changes(bob.addr)[local.ChangeStale]; got != 1 {
			t.Errorf("%d warnings, want 1", got)
		}
		settleDown(20 * day)
		if got := alice.changes(bob.addr)[local.ChangeStale]; got != 1 {
			t.Errorf("%d warnings within the month, want 1", got)
		}
		settleDown(20 * day) // the journal has dropped the first one meanwhile
		if got := alice.changes(bob.addr)[local.ChangeStale]; got != 1 {
			t.Errorf("%d warnings in the next month, want 1", got)
		}
	})
}

// A message that names another manifest than the one that was admitted under its
// version shows two histories.
func TestForkedManifestInAMessageIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		bob.add("alice")
		talk(t, alice, bob)
		err := alice.st.Update(t.Context(), func(tx *store.Tx) error { // what another server would have shown
			peer, err := tx.Peer(alice.account, bob.addr.String())
			if err != nil {
				return err
			}
			if err := tx.ForgetManifests(alice.account, peer); err != nil {
				return err
			}
			return tx.AddManifestHash(alice.account, peer, 1, [32]byte{1}, false)
		})
		if err != nil {
			t.Fatal(err)
		}
		alice.restart() // a running engine remembers what it has compared
		alice.link.connect()
		for range 3 {
			bob.send("alice", "hello", waitFor(waitDelivered))
		}
		if got := alice.changes(bob.addr)[local.ChangeMismatch]; got != 1 {
			t.Errorf("%d events, want 1", got)
		}
	})
}

// A server that was restored from a backup has lost the newest manifest. Its owner
// puts it there again, so that peers who know it are not told of a withheld one.
func TestManifestThatTheServerLostIsPutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		bob.add("alice")
		talk(t, alice, bob)
		settleDown(31 * day)
		talk(t, alice, bob)
		r.mu.Lock()
		a := r.accounts["bob"]
		lost := a.manifests[1]
		a.manifests = a.manifests[:1]
		r.mu.Unlock()
		settleDown(2 * day)
		r.mu.Lock()
		again := len(a.manifests) == 2 && string(a.manifests[1]) == string(lost)
		r.mu.Unlock()
		if !again {
			t.Error("the manifest is not there again")
		}
		bob.send("alice", "hello", waitFor(waitDelivered))
		settleDown(time.Hour)
		if got := alice.changes(bob.addr); len(got) != 0 {
			t.Errorf("events %v", got)
		}
	})
}

// A device whose clock is hours ahead begins sessions that its peers refuse. They
// begin their own and ask for its messages again, so that nothing is lost.
func TestMessagesUnderAFastClockArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		bob.add("alice")
		alice.add("bob")
		settleDown(time.Second)
		if err := bob.st.SetServerTime(t.Context(), time.Now().Add(5*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if d := bob.st.ProfileTime().Sub(alice.st.ProfileTime()); d < 4*time.Hour {
			t.Fatalf("the clocks differ by %s", d)
		}
		var ids []string
		for _, text := range []string{"one", "two"} {
			ids = append(ids, bob.send("alice", text).ID)
		}
		settleDown(time.Hour)
		for _, id := range ids {
			bob.wantState("alice", id, local.StateDelivered)
		}
		if got := alice.texts("bob", "in"); len(got) != 2 {
			t.Errorf("alice has %q", got)
		}
		alice.send("bob", "back", waitFor(waitDelivered))
		if alice.rebuilt(bob) == 0 {
			t.Error("alice has taken bob's session")
		}
	})
}

// A server that told the wrong time for days has moved the clock of lifetimes, which
// never goes back. Once it tells the right time, peers take the sessions of this
// device, and the server its prekeys.
func TestDeviceOutlivesAServerThatToldTheWrongTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		defer stopAll(p...)
		alice, bob := p[0], p[1]
		for range 4 {
			if err := bob.st.SetServerTime(t.Context(), time.Now().AddDate(1, 0, 0)); err != nil {
				t.Fatal(err)
			}
			settleDown(day)
		}
		bob.link.disconnect()
		bob.link.connect()
		settleDown(time.Minute)
		if ahead := time.Until(bob.st.ProfileTime()); ahead < 3*day {
			t.Fatalf("the server has moved profile time by %s only", ahead)
		}
		settleDown(identity.PrekeyReplaceAfter + 2*day)
		r.mu.Lock()
		signed, err := identity.ParsePrekey(r.accounts["bob"].devices[bob.device].signed)
		r.mu.Unlock()
		if err != nil || signed.Expires.Before(time.Now().Add(identity.PrekeyLifetime-identity.PrekeyReplaceAfter-2*day)) {
			t.Errorf("the server's prekey of the device expires at %s: %v", signed.Expires, err)
		}
		id := bob.send("alice", "hello").ID
		settleDown(2 * time.Hour)
		bob.wantState("alice", id, local.StateDelivered)
		if n := alice.rebuilt(bob); n != 0 {
			t.Error("alice did not take bob's session")
		}
		if m := bob.manifestOf(bob.addr); m.Time.After(time.Now()) {
			t.Errorf("a manifest of %s", m.Time)
		}
	})
}

// rebuilt returns when p last began a session because something of other's did not
// open, in Unix milliseconds; 0 if never.
func (p *person) rebuilt(other *person) (ms int64) {
	p.t.Helper()
	err := p.st.View(p.t.Context(), func(tx *store.Tx) error {
		peer, err := tx.FindPeer(p.account, other.addr.String())
		if err != nil {
			return err
		}
		ms, err = tx.Rebuilt(p.account, peer, other.device)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return ms
}
