package keyring

import (
	"bytes"
	"errors"
	"testing"

	"secmsg/daemon/store"
)

// A transaction that is running when the profile is locked gets ErrLocked. The database is
// not reported as damaged, and nothing is looked up with an empty key.
func TestLockDuringTransaction(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "correct horse")
	check(t, alice.st.View(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Account(alice.account); err != nil {
			return err
		}
		check(t, alice.keys.Lock())
		_, err := tx.Account(alice.account)
		if !errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrCorrupt) {
			t.Errorf("sealed value: %v", err)
		}
		if _, err = tx.FindAccount(alice.addr.String()); !errors.Is(err, store.ErrLocked) {
			t.Errorf("look-up: %v", err)
		}
		if _, err = alice.keys.device(tx, alice.account); err == nil {
			t.Error("device keys after the lock")
		}
		return nil
	}))
	if d, _ := alice.keys.devices.get(alice.account); d != nil {
		t.Error("a locked keyring keeps device keys")
	}
}

// The keys used up by a handshake are no longer on disk: neither the sealed rows of its
// one-time keys nor any unencrypted seed.
func TestOneTimeKeysAreGone(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	before := bob.blobs(`SELECT private FROM prekeys WHERE kind > 2 ORDER BY kind, id`)
	check(t, bob.st.Checkpoint(t.Context()))
	if !bytes.Contains(bob.everything(), before[0]) {
		t.Fatal("this test does not find what it looks for")
	}
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "hi"), "hi")
	check(t, bob.st.Checkpoint(t.Context()))
	disk := bob.everything()
	gone := 0
	for _, sealed := range before {
		if !bytes.Contains(disk, sealed) {
			gone++
		}
	}
	if gone != 2 {
		t.Errorf("%d one-time keys are gone from disk, expected 2", gone)
	}
}
