package keyring

import (
	"errors"
	"testing"
	"time"

	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
)

func TestExchange(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	before := alice.steps()
	alice.startWith(bob, bob.bundle(true))
	first := alice.seal(bob, 1, "hi")
	if got := alice.steps(); got < before+2 {
		t.Errorf("%d steps after a session and a message, %d before", got, before)
	}
	if out := bob.mustOpen(alice, 1, first, "hi"); !out.New {
		t.Error("a first message began no session")
	}
	for i := 2; i < 40; i += 2 {
		if out := alice.mustOpen(bob, i, bob.seal(alice, i, "pong"), "pong"); out.New {
			t.Error("an answer began a session")
		}
		bob.mustOpen(alice, i+1, alice.seal(bob, i+1, "ping"), "ping")
		if i == 20 {
			alice.restart()
			bob.restart()
		}
	}
	if alice.sessions(bob) != 1 || bob.sessions(alice) != 1 {
		t.Errorf("%d and %d sessions", alice.sessions(bob), bob.sessions(alice))
	}
}

func TestNoSession(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	err := alice.st.Update(t.Context(), func(tx *store.Tx) error {
		target, err := alice.target(tx, bob)
		if err != nil {
			return err
		}
		if has, err := alice.keys.HasSession(tx, alice.account, target.Peer, target.Device.ID); has || err != nil {
			t.Errorf("has a session: %t, %v", has, err)
		}
		_, err = alice.keys.Seal(tx, target, ratchet.ClassDurable, messageID(1), []byte("x"), w.now)
		return err
	})
	wants(t, err, ErrNoSession)
}

// TestRollback undoes the transactions of a seal and of an open: neither session advances,
// and a later message still works.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	ct := alice.seal(bob, 1, "one")
	full := errors.New("disk full")

	// Opening the first message is undone, including its one-time keys.
	for range 2 {
		err := bob.st.Update(t.Context(), func(tx *store.Tx) error {
			in, err := bob.incoming(tx, alice, 1, ct)
			if err != nil {
				return err
			}
			if _, err := bob.keys.Open(tx, in, bob.trust, w.now); err != nil {
				return err
			}
			return full
		})
		wants(t, err, full)
	}
	if bob.sessions(alice) != 0 {
		t.Error("a session survived its transaction")
	}
	bob.mustOpen(alice, 1, ct, "one")

	// Sealing is undone: the same chain position is used again, with a fresh salt.
	var lost []byte
	steps := bob.steps()
	err := bob.st.Update(t.Context(), func(tx *store.Tx) error {
		target, err := bob.target(tx, alice)
		if err != nil {
			return err
		}
		if lost, err = bob.keys.Seal(tx, target, ratchet.ClassDurable, messageID(2), []byte("lost"), w.now); err != nil {
			return err
		}
		return full
	})
	wants(t, err, full)
	if bob.steps() != steps {
		t.Error("a step was counted that did not happen")
	}
	alice.mustOpen(bob, 3, bob.seal(alice, 3, "kept"), "kept")
	if _, err := alice.tryOpen(bob, 2, lost); err == nil {
		t.Error("a message of an undone transaction opened beside the one in its place")
	}
	alice.mustOpen(bob, 4, bob.seal(alice, 4, "next"), "next")
}

func TestSkippedKeys(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "a"), "a")
	alice.mustOpen(bob, 2, bob.seal(alice, 2, "b"), "b")
	var cts [][]byte
	for i := range 6 {
		cts = append(cts, alice.seal(bob, 10+i, "late"))
	}
	bob.mustOpen(alice, 15, cts[5], "late")
	bob.restart()
	bob.mustOpen(alice, 12, cts[2], "late")
	_, err := bob.tryOpen(alice, 12, cts[2])
	wants(t, err, ErrReplay)
	bob.mustOpen(alice, 10, cts[0], "late")
	// Expired data is deleted.
	w.now = w.now.Add(ratchet.SkippedLifetime)
	bob.update(func(tx *store.Tx) error { return bob.keys.Sweep(tx, bob.account, w.now) })
	if _, err := bob.tryOpen(alice, 11, cts[1]); err == nil {
		t.Error("a message opened whose key had expired")
	}
}

// TestSkippedBound lets a peer skip as much as possible.
func TestSkippedBound(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "a"), "a")
	alice.mustOpen(bob, 2, bob.seal(alice, 2, "b"), "b")
	device := alice.device()
	for round := range 3 {
		var last []byte
		alice.update(func(tx *store.Tx) error {
			target, err := alice.target(tx, bob)
			if err != nil {
				return err
			}
			before, err := loadSet(tx, target.ref())
			if err != nil {
				return err
			}
			after := before
			for i := range ratchet.MaxSkip { // in memory, for speed
				m := ratchet.Meta{Class: ratchet.ClassDurable, MessageID: messageID(1000*(round+1) + i),
					Sender:    ratchet.Party{Address: alice.addr, Device: device},
					Recipient: ratchet.Party{Address: bob.addr, Device: target.Device.ID}}
				if after, last, err = after.Seal(m, ratchet.ManifestRef{Version: 1}, []byte("x"), w.now); err != nil {
					return err
				}
			}
			return saveSet(tx, target.ref(), before, after)
		})
		bob.mustOpen(alice, 1000*(round+1)+ratchet.MaxSkip-1, last, "x")
	}
	bob.update(func(tx *store.Tx) error {
		peer, err := tx.Peer(bob.account, alice.addr.String())
		if err != nil {
			return err
		}
		ref := store.DeviceRef{Account: bob.account, Peer: peer, Device: device}
		list, err := tx.Sessions(ref)
		if err != nil {
			return err
		}
		refs, err := tx.SkippedRefs(ref, list[0].ID)
		if len(refs) != ratchet.MaxStoredKeys {
			t.Errorf("%d message keys are stored, expected %d", len(refs), ratchet.MaxStoredKeys)
		}
		return err
	})
}

// TestReplayedFirstMessage is A6 in crypto/ATTACKS.md: one session and one message,
// whatever is replayed.
func TestReplayedFirstMessage(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	ct := alice.seal(bob, 1, "hi")
	bob.mustOpen(alice, 1, ct, "hi")
	steps := bob.steps()
	for i := range 100 {
		if i == 50 {
			bob.restart()
		}
		_, err := bob.tryOpen(alice, 1, ct)
		wants(t, err, ErrReplay)
	}
	if bob.sessions(alice) != 1 || bob.steps() != steps {
		t.Errorf("%d sessions, %d steps more", bob.sessions(alice), bob.steps()-steps)
	}
	// With another message id it is another message, which cannot be opened.
	if _, err := bob.tryOpen(alice, 2, ct); err == nil {
		t.Error("opened under another message id")
	}
	alice.mustOpen(bob, 3, bob.seal(alice, 3, "still fine"), "still fine")
}

// TestReplayWithLastResort is A7 in crypto/ATTACKS.md: without one-time keys only the kept
// hash prevents a replay from starting a second session.
func TestReplayWithLastResort(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(false))
	ct := alice.seal(bob, 1, "hi")
	bob.mustOpen(alice, 1, ct, "hi")
	begin := w.now
	for _, after := range []time.Duration{time.Hour, 8 * 24 * time.Hour, 44 * 24 * time.Hour, 60 * 24 * time.Hour} {
		w.now = begin.Add(after)
		bob.upload(Stock{OneTimeExchange: 100, OneTimeKEM: 100}) // the weekly replacement
		bob.restart()
		if _, err := bob.tryOpen(alice, 1, ct); !errors.Is(err, ErrReplay) {
			t.Errorf("after %s: %v", after, err)
		}
	}
	// Also after the session was deleted.
	w.now = begin.Add(44 * 24 * time.Hour)
	carol, dave := w.user("carol", ""), w.user("dave", "")
	carol.startWith(dave, dave.bundle(false))
	ct = carol.seal(dave, 1, "hi")
	dave.mustOpen(carol, 1, ct, "hi")
	device := carol.device()
	dave.update(func(tx *store.Tx) error {
		peer, err := tx.Peer(dave.account, carol.addr.String())
		if err != nil {
			return err
		}
		return tx.DeleteSessions(store.DeviceRef{Account: dave.account, Peer: peer, Device: device})
	})
	begin = w.now
	for _, after := range []time.Duration{time.Hour, 8 * 24 * time.Hour, 51 * 24 * time.Hour, 53 * 24 * time.Hour} {
		w.now = begin.Add(after)
		dave.upload(Stock{OneTimeExchange: 100, OneTimeKEM: 100})
		_, err := dave.tryOpen(carol, 1, ct)
		wants(t, err, ErrUndecryptable)
		if dave.sessions(carol) != 0 {
			t.Fatalf("after %s a replay began a session", after)
		}
	}
}

func TestOneTimeKeyTwice(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.user("alice", ""), w.user("bob", ""), w.user("carol", "")
	b := bob.bundle(true) // a server that hands it out twice
	alice.startWith(bob, b)
	carol.startWith(bob, b)
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "first"), "first")
	_, err := bob.tryOpen(carol, 2, carol.seal(bob, 2, "second"))
	wants(t, err, ErrUndecryptable)
	if bob.sessions(carol) != 0 {
		t.Error("a session with a used one-time key")
	}
}

func TestSimultaneousInitiation(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	bob.startWith(alice, alice.bundle(true))
	a, b := alice.seal(bob, 1, "from alice"), bob.seal(alice, 2, "from bob")
	bob.mustOpen(alice, 1, a, "from alice")
	alice.mustOpen(bob, 2, b, "from bob")
	for i := 3; i < 10; i += 2 {
		bob.mustOpen(alice, i, alice.seal(bob, i, "x"), "x")
		alice.mustOpen(bob, i+1, bob.seal(alice, i+1, "y"), "y")
	}
	// The session that lost is deleted a day later.
	w.now = w.now.Add(25 * time.Hour)
	for _, u := range []*user{alice, bob} {
		u.update(func(tx *store.Tx) error { return u.keys.Sweep(tx, u.account, w.now) })
	}
	if alice.sessions(bob) != 1 || bob.sessions(alice) != 1 {
		t.Errorf("%d and %d sessions a day later", alice.sessions(bob), bob.sessions(alice))
	}
	bob.mustOpen(alice, 20, alice.seal(bob, 20, "z"), "z")
}

func TestGarbage(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	good := alice.seal(bob, 1, "hi")
	for name, x := range map[string]struct {
		ct   []byte
		want error
	}{
		"empty":         {nil, ErrMalformed},
		"other version": {append([]byte{9}, good[1:]...), ErrMalformed},
		"cut":           {good[:len(good)/2], ErrMalformed},
		"flipped":       {append(append([]byte(nil), good[:len(good)-1]...), good[len(good)-1]^1), ErrUndecryptable},
	} {
		if _, err := bob.tryOpen(alice, 1, x.ct); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if bob.sessions(alice) != 0 {
		t.Error("garbage began a session")
	}
	// An invalid first message does not even pin its sender.
	bob.update(func(tx *store.Tx) error {
		peer, err := tx.Peer(bob.account, alice.addr.String())
		if err != nil {
			return err
		}
		c, err := tx.Contact(bob.account, peer)
		if len(c.Pin) != 0 {
			t.Error("pinned")
		}
		return err
	})
	bob.mustOpen(alice, 1, good, "hi")
	// A relay that names another sender.
	carol := w.user("carol", "")
	if _, err := bob.tryOpen(carol, 2, alice.seal(bob, 2, "x")); err == nil {
		t.Error("opened as somebody else's")
	}
}

func TestProbe(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "")
	alice.update(func(tx *store.Tx) error {
		ct, content, err := alice.keys.ProbeSeal(tx, alice.account, messageID(1))
		if err != nil {
			return err
		}
		got, err := alice.keys.ProbeOpen(tx, alice.account, messageID(1), ct)
		if err != nil || string(got) != string(content) {
			t.Errorf("probe came back as %x, %v", got, err)
		}
		if _, err := alice.keys.ProbeOpen(tx, alice.account, messageID(2), ct); !errors.Is(err, ErrUndecryptable) {
			t.Errorf("under another id: %v", err)
		}
		return nil
	})
}

// TestTakeoverIsReported: a device begins a session in addition to a working one, less
// preferred, and asks for messages in it. However the other session comes to be used for
// sending, the caller learns about it.
func TestTakeoverIsReported(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "a"), "a")
	alice.mustOpen(bob, 2, bob.seal(alice, 2, "b"), "b")
	bob.mustOpen(alice, 3, alice.seal(bob, 3, "c"), "c")
	forget := func() {
		alice.update(func(tx *store.Tx) error {
			peer, err := tx.Peer(alice.account, bob.addr.String())
			if err != nil {
				return err
			}
			return tx.DeletePeerSessions(alice.account, peer)
		})
	}
	forget()
	w.now = w.now.Add(-time.Hour) // the other clock is slow, so its session is not preferred
	alice.startWith(bob, bob.bundle(false))
	ct := alice.seal(bob, 4, "d")
	w.now = w.now.Add(time.Hour)
	opened := bob.mustOpen(alice, 4, ct, "d")
	if !opened.New || !opened.Beside {
		t.Errorf("a session that is not preferred: new %v, told %v", opened.New, opened.Beside)
	}
	device := alice.device()
	activate := func(session [32]byte) (replaced bool) {
		bob.update(func(tx *store.Tx) error {
			peer, err := tx.Peer(bob.account, alice.addr.String())
			if err != nil {
				return err
			}
			replaced, err = bob.keys.Activate(tx, bob.account, peer, device, session, w.now)
			return err
		})
		return replaced
	}
	if !activate(opened.Session) {
		t.Error("a request that makes it send is not reported")
	}
	if activate(opened.Session) {
		t.Error("a second request is reported as another takeover")
	}
	forget()
	w.now = w.now.Add(2 * time.Hour)
	alice.startWith(bob, bob.bundle(false))
	if opened := bob.mustOpen(alice, 5, alice.seal(bob, 5, "e"), "e"); !opened.Beside {
		t.Error("a preferred session that takes over is not reported")
	}
}
