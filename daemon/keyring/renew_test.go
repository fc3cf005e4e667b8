package keyring

import (
	"bytes"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
)

// renewal returns the result of RenewManifest when it is due.
func (u *user) renewal(shown []byte) (next []byte) {
	u.w.t.Helper()
	u.update(func(tx *store.Tx) (err error) {
		_, next, err = u.keys.RenewManifest(tx, u.account, shown, u.w.now)
		return err
	})
	return next
}

// A first message may name a renewed manifest before this device has received the server's
// confirmation.
func TestFirstMessageForARenewalOnItsWay(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	w.now = w.now.Add(identity.ManifestRenewAfter)
	known := alice.row().Manifest
	next := alice.renewal(known)
	alice.restart()
	if again := alice.renewal(known); next == nil || !bytes.Equal(again, next) {
		t.Fatal("two renewals of one manifest")
	}
	bundle := alice.bundle(true)
	bob.update(func(tx *store.Tx) error {
		adm, err := bob.trust.Admit(tx, bob.account, alice.addr, alice.row().Chain, [][]byte{known, next}, w.now)
		if err != nil {
			return err
		}
		return bob.keys.Start(tx, Target{Account: bob.account, Peer: adm.Peer, Address: alice.addr, Device: adm.Devices[0]}, bundle, w.now)
	})
	alice.mustOpen(bob, 1, bob.seal(alice, 1, "hi"), "hi")
}

// A device that is replaced while an unconfirmed renewal may be on the server sends the
// renewal first: if an account signed two manifests with one version, the server could show
// different ones to different peers.
func TestReplacementAfterARenewalOnItsWay(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "")
	w.now = w.now.Add(identity.ManifestRenewAfter + time.Hour)
	known := alice.row().Manifest
	next := alice.renewal(known)
	prepare := func(shown []byte) (r Replacement) {
		t.Helper()
		alice.update(func(tx *store.Tx) (err error) {
			r, err = alice.keys.PrepareReplacement(tx, alice.account, shown, w.now)
			return err
		})
		return r
	}
	first := prepare(known)
	if !first.Renewal || !bytes.Equal(first.Manifest, next) || first.Previous != identity.ManifestHash(known) {
		t.Fatal("the renewal is not sent first")
	}
	second := prepare(next)
	version, err := identity.ManifestVersion(second.Manifest)
	if err != nil || second.Renewal || version != 3 || second.Previous != identity.ManifestHash(next) {
		t.Errorf("renewal %t, version %d: %v", second.Renewal, version, err)
	}
}
