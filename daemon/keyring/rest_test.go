package keyring

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// blobs returns a sealed column of a table as stored on disk.
func (u *user) blobs(query string) [][]byte {
	u.w.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(u.dir, "secmsg.db"))
	check(u.w.t, err)
	defer db.Close()
	rows, err := db.Query(query)
	check(u.w.t, err)
	defer rows.Close()
	var out [][]byte
	for rows.Next() {
		var b []byte
		check(u.w.t, rows.Scan(&b))
		out = append(out, b)
	}
	check(u.w.t, rows.Err())
	return out
}

// TestForwardSecrecyAtRest is B10 in crypto/ATTACKS.md: deleted values are nowhere in the
// files, and nothing is stored in clear.
func TestForwardSecrecyAtRest(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "canary in a plaintext"), "canary in a plaintext")
	alice.mustOpen(bob, 2, bob.seal(alice, 2, "b"), "b")
	var cts [][]byte
	for i := range 4 {
		cts = append(cts, alice.seal(bob, 10+i, "canary in a plaintext"))
	}
	oneTimes := len(bob.blobs(`SELECT private FROM prekeys WHERE kind > 2`))
	if oneTimes != 6 {
		t.Errorf("%d one-time keys after one handshake", oneTimes)
	}
	bob.mustOpen(alice, 13, cts[3], "canary in a plaintext")
	skipped := bob.blobs(`SELECT message_key FROM skipped`)
	sessions := bob.blobs(`SELECT body FROM sessions`)
	if len(skipped) != 3 {
		t.Fatalf("%d skipped keys", len(skipped))
	}
	if !bytes.Contains(bob.everything(), skipped[0]) {
		t.Fatal("this test does not find what it looks for")
	}
	for i := range 3 {
		bob.mustOpen(alice, 10+i, cts[i], "canary in a plaintext")
	}
	check(t, bob.st.Checkpoint(context.Background()))
	disk := bob.everything()
	for _, gone := range append(skipped, sessions...) {
		if bytes.Contains(disk, gone) {
			t.Error("a deleted message key or session state is still on disk")
		}
	}
	seeds := [][]byte{[]byte("canary"), []byte("alice"), []byte("laptop"), []byte(testDomain)}
	bob.update(func(tx *store.Tx) error {
		for _, kind := range []string{store.KeyIdentity, store.KeySigning, store.KeyExchange} {
			seed, err := tx.Key(bob.account, kind)
			if err != nil {
				return err
			}
			seeds = append(seeds, seed)
		}
		return nil
	})
	for _, secret := range seeds {
		if bytes.Contains(disk, secret) {
			t.Errorf("%q stands in the database in clear", secret)
		}
	}
}

func TestLocked(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "correct horse")
	if alice.keys.Locked() || !alice.keys.Protected() || alice.keys.New() {
		t.Fatal("state after Create")
	}
	wants(t, alice.keys.Create([]byte("again")), ErrExists)
	alice.restart()
	if !alice.keys.Locked() {
		t.Fatal("a protected profile is open after a restart")
	}
	_, err := alice.keys.SignChallenge(t.Context(), alice.account, "api", make([]byte, identity.ChallengeNonceSize))
	wants(t, err, ErrLocked)
	wants(t, alice.st.View(t.Context(), func(tx *store.Tx) error { _, err := tx.Accounts(); return err }), store.ErrLocked)

	// Sends are still queued, and only the unlocked profile can read them.
	var queued []byte
	alice.update(func(tx *store.Tx) (err error) {
		refs, err := tx.AccountRefs()
		if err != nil || len(refs) != 1 {
			t.Errorf("accounts while locked: %v, %v", refs, err)
		}
		queued, err = alice.keys.QueueSeal(tx, alice.account, []byte("queued canary"))
		return err
	})
	open := func(account store.AccountID) (out []byte, err error) {
		err = alice.st.Update(context.Background(), func(tx *store.Tx) (err error) {
			out, err = alice.keys.QueueOpen(tx, account, queued)
			return err
		})
		return out, err
	}
	_, err = open(alice.account)
	wants(t, err, store.ErrLocked)
	wants(t, alice.keys.Unlock([]byte("wrong horse")), ErrPassphrase)
	if !alice.keys.Locked() {
		t.Fatal("open after a wrong passphrase")
	}
	check(t, alice.keys.Unlock([]byte("correct horse")))
	got, err := open(alice.account)
	check(t, err)
	if string(got) != "queued canary" {
		t.Errorf("queued %q", got)
	}
	if _, err := open(alice.account + 1); err == nil {
		t.Error("opened for another account")
	}
	_, err = alice.keys.SignChallenge(t.Context(), alice.account, "api", make([]byte, identity.ChallengeNonceSize))
	check(t, err)

	check(t, alice.keys.Lock())
	if !alice.keys.Locked() {
		t.Error("not locked")
	}
	wants(t, alice.st.View(t.Context(), func(tx *store.Tx) error { _, err := tx.Accounts(); return err }), store.ErrLocked)
	if bytes.Contains(alice.everything(), []byte("queued canary")) {
		t.Error("a queued text stands in clear")
	}
}

func TestNoPassphrase(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "")
	wants(t, alice.keys.Lock(), ErrNoPassphrase)
	wants(t, alice.keys.Unlock([]byte("x")), ErrNoPassphrase)
	info, err := os.Stat(filepath.Join(alice.dir, plainFile))
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	alice.restart()
	if alice.keys.Locked() {
		t.Error("locked without a passphrase")
	}
}

func TestKeyFile(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"missing":  func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, plainFile))) },
		"readable": func(t *testing.T, dir string) { check(t, os.Chmod(filepath.Join(dir, plainFile), 0o640)) },
		"cut":      func(t *testing.T, dir string) { check(t, os.Truncate(filepath.Join(dir, plainFile), 31)) },
		"another's": func(t *testing.T, dir string) {
			check(t, os.WriteFile(filepath.Join(dir, plainFile), make([]byte, 32), 0o600))
		},
		"both kinds": func(t *testing.T, dir string) {
			check(t, os.WriteFile(filepath.Join(dir, wrappedFile), make([]byte, 300), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			alice := newWorld(t).user("alice", "")
			check(t, alice.st.Close())
			damage(t, alice.dir)
			var err error
			alice.st, err = store.Open(t.Context(), filepath.Join(alice.dir, "secmsg.db"), store.Options{})
			check(t, err)
			_, err = Open(alice.st, alice.dir, cheap())
			wants(t, err, ErrKeyFile)
		})
	}
}

func TestDiscard(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "one")
	wants(t, alice.keys.Discard(), ErrExists)
	alice.update(func(tx *store.Tx) error { return tx.DeleteAccount(alice.account) })
	check(t, alice.keys.Discard())
	if !alice.keys.New() {
		t.Fatal("not new")
	}
	check(t, alice.keys.Create([]byte("two")))
	alice.restart()
	wants(t, alice.keys.Unlock([]byte("one")), ErrPassphrase)
	check(t, alice.keys.Unlock([]byte("two")))
}

func TestPrekeyStock(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "")
	alice.keys.stock = stockLimits()
	alice.upload(Stock{})
	parse := func(b []byte) identity.Prekey {
		t.Helper()
		p, err := identity.ParsePrekey(b)
		check(t, err)
		return p
	}
	signed, last := parse(alice.server[identity.SignedExchange][0]), parse(alice.server[identity.LastResortKEM][0])
	if len(alice.server[identity.OneTimeExchange]) != 100 || len(alice.server[identity.OneTimeKEM]) != 100 {
		t.Fatal("first upload is not 100 + 100")
	}
	full := Stock{SignedExpires: signed.Expires, LastResortExpires: last.Expires, OneTimeExchange: 25, OneTimeKEM: 25}
	if up := alice.upload(full); up != nil {
		t.Errorf("uploads although nothing is due: %+v", up)
	}
	low := full
	low.OneTimeKEM = 24
	steps := alice.steps()
	up := alice.upload(low)
	if up == nil || up.SignedPrekey != nil || len(up.OneTimeExchange) != 0 || len(up.OneTimeKEM) != 76 || up.Steps != steps+1 {
		t.Errorf("refill %+v", up)
	}
	// The upload's answer was lost: the same keys are sent again, not new ones.
	up = alice.upload(Stock{LastResortExpires: last.Expires, OneTimeExchange: 50, OneTimeKEM: 50})
	if up == nil || !bytes.Equal(up.SignedPrekey, alice.server[identity.SignedExchange][0]) || parse(up.SignedPrekey).ID != signed.ID {
		t.Errorf("another signed prekey after a lost answer")
	}
	w.now = w.now.Add(7 * 24 * time.Hour)
	up = alice.upload(full)
	if up == nil || up.SignedPrekey == nil || up.LastResortKEM == nil || parse(up.SignedPrekey).ID == signed.ID {
		t.Fatalf("no replacement after a week: %+v", up)
	}
	has := func(kind identity.PrekeyKind, id uint32) bool {
		err := alice.st.View(t.Context(), func(tx *store.Tx) error { _, err := tx.Prekey(alice.account, uint8(kind), id); return err })
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	w.now = w.now.Add(44 * 24 * time.Hour)
	alice.upload(full)
	if !has(identity.SignedExchange, signed.ID) || !has(identity.LastResortKEM, last.ID) {
		t.Error("a private half is gone before its 45 days")
	}
	w.now = w.now.Add(2 * 24 * time.Hour)
	alice.upload(full)
	if has(identity.SignedExchange, signed.ID) || has(identity.LastResortKEM, last.ID) {
		t.Error("a private half is kept over 45 days after its replacement")
	}
	oneTime := parse(alice.server[identity.OneTimeKEM][0])
	w.now = w.now.Add((89 - 53) * 24 * time.Hour)
	alice.upload(full)
	if !has(identity.OneTimeKEM, oneTime.ID) {
		t.Error("an unused one-time key is gone before its 90 days")
	}
	w.now = w.now.Add(2 * 24 * time.Hour)
	alice.upload(full)
	if has(identity.OneTimeKEM, oneTime.ID) {
		t.Error("an unused one-time key is kept over 90 days")
	}
}

// TestPrekeyIsNotSignedBeyondItsPrivateHalf replaces keys immediately, on time and late:
// while a bundle is valid, its private half exists and can open messages.
func TestPrekeyIsNotSignedBeyondItsPrivateHalf(t *testing.T) {
	for _, replaced := range []time.Duration{time.Hour, 7 * 24 * time.Hour, 60 * 24 * time.Hour} {
		w := newWorld(t)
		alice := w.user("alice", "")
		alice.keys.renewal = replaced
		alice.upload(Stock{})
		var first []identity.Prekey
		for _, list := range alice.server {
			p, err := identity.ParsePrekey(list[0])
			if err != nil {
				t.Fatal(err)
			}
			first = append(first, p)
		}
		w.now = w.now.Add(replaced)
		alice.upload(Stock{})
		for _, p := range first {
			at := w.now
			if p.Expires.After(at) {
				at = p.Expires
			}
			alice.update(func(tx *store.Tx) error {
				if err := alice.keys.Sweep(tx, alice.account, at); err != nil {
					return err
				}
				if _, err := tx.Prekey(alice.account, uint8(p.Kind), p.ID); err != nil {
					t.Errorf("replaced after %s: the private half of a %s prekey is gone at the end of its signed life: %v", replaced, p.Kind, err)
				}
				return nil
			})
		}
	}
}

// TestPrekeyPile lets every upload fail: private halves do not accumulate.
func TestPrekeyPile(t *testing.T) {
	alice := newWorld(t).user("alice", "")
	for range 11 {
		alice.upload(Stock{})
	}
	n := 0
	alice.update(func(tx *store.Tx) (err error) {
		n, err = tx.CountPrekeys(alice.account, uint8(identity.OneTimeKEM))
		return err
	})
	if n != 12 {
		t.Errorf("%d private halves", n)
	}
}

// TestReplacement makes an outdated copy a new device.
func TestReplacement(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice", ""), w.user("bob", "")
	alice.startWith(bob, bob.bundle(true))
	bob.mustOpen(alice, 1, alice.seal(bob, 1, "hi"), "hi")
	old := alice.row()
	var first, again Replacement
	prepare := func(r *Replacement) {
		t.Helper()
		alice.update(func(tx *store.Tx) (err error) {
			*r, err = alice.keys.PrepareReplacement(tx, alice.account, old.Manifest, w.now)
			return err
		})
	}
	prepare(&first)
	alice.restart()
	prepare(&again)
	if !bytes.Equal(first.Manifest, again.Manifest) {
		t.Error("asked again, it made another device")
	}
	if alice.device() != old.Device {
		t.Error("replaced before the server has answered")
	}
	alice.update(func(tx *store.Tx) error { return alice.keys.FinishReplacement(tx, alice.account) })
	now := alice.row()
	if now.Device == old.Device || alice.steps() != 0 || alice.sessions(bob) != 0 {
		t.Errorf("old device: %t, %d steps, %d sessions", now.Device == old.Device, alice.steps(), alice.sessions(bob))
	}
	m, err := identity.ParseManifest(now.Manifest)
	check(t, err)
	if _, v := m.Claims(); v != 2 {
		t.Errorf("manifest version %d", v)
	}
	// Peers follow: the old device is removed, and messages go to the new one.
	alice.server = map[identity.PrekeyKind][][]byte{}
	alice.upload(Stock{})
	bob.startWith(alice, alice.bundle(true))
	alice.mustOpen(bob, 2, bob.seal(alice, 2, "welcome back"), "welcome back")
	if _, err := bob.tryOpen(alice, 3, alice.seal(bob, 3, "thanks")); err != nil {
		t.Error(err)
	}
	// A device that the account has removed never enrols itself.
	err = alice.st.Update(t.Context(), func(tx *store.Tx) error {
		id, err := signingKey(tx, alice.account, store.KeyIdentity)
		if err != nil {
			return err
		}
		omitted := identity.Manifest{Address: alice.addr, Version: 3, Previous: identity.ManifestHash(now.Manifest), Time: w.now,
			Devices: []identity.Device{deviceEntry(key.GenerateSigning(), key.GenerateExchange(), "another", w.now)}}
		signed, err := omitted.Sign(id)
		if err != nil {
			return err
		}
		_, err = alice.keys.PrepareReplacement(tx, alice.account, signed, w.now)
		return err
	})
	wants(t, err, ErrRevoked)
}

// TestReplacementFollowsTheNewestManifest: nothing is signed as the successor of a server's
// manifest that is older than the known one or has another history. The hashes needed to
// detect this are kept.
func TestReplacementFollowsTheNewestManifest(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice", "")
	row := alice.row()
	tablet := deviceEntry(key.GenerateSigning(), key.GenerateExchange(), "stolen tablet", w.now)
	next := func(after []byte, more ...identity.Device) (signed []byte) {
		t.Helper()
		alice.update(func(tx *store.Tx) error {
			id, err := signingKey(tx, alice.account, store.KeyIdentity)
			if err != nil {
				return err
			}
			m, err := identity.VerifyManifest(row.Manifest, alice.addr, id.Public())
			if err != nil {
				return err
			}
			was, err := identity.VerifyManifest(after, alice.addr, id.Public())
			if err != nil {
				return err
			}
			m.Version, m.Previous, m.Devices = was.Version+1, identity.ManifestHash(after), append(m.Devices, more...)
			slices.SortFunc(m.Devices, func(a, b identity.Device) int { return bytes.Compare(a.ID[:], b.ID[:]) })
			signed, err = m.Sign(id)
			return err
		})
		return signed
	}
	two := next(row.Manifest, tablet)
	three := next(two) // the tablet is removed
	fork := next(two, deviceEntry(key.GenerateSigning(), key.GenerateExchange(), "other", w.now))
	alice.update(func(tx *store.Tx) error {
		for i, m := range [][]byte{two, three} {
			if err := tx.AddManifestHash(alice.account, 0, uint64(i+2), identity.ManifestHash(m), true); err != nil {
				return err
			}
		}
		row.Manifest = three
		return tx.SaveAccount(row)
	})
	prepare := func(shown []byte) (r Replacement, err error) {
		err = alice.st.Update(t.Context(), func(tx *store.Tx) (err error) {
			r, err = alice.keys.PrepareReplacement(tx, alice.account, shown, w.now)
			return err
		})
		return r, err
	}
	for _, shown := range [][]byte{two, fork} {
		_, err := prepare(shown)
		wants(t, err, ErrOlder)
	}
	if len(alice.row().Pending) > 0 {
		t.Error("a manifest was made all the same")
	}
	r, err := prepare(three)
	check(t, err)
	if r.Previous != identity.ManifestHash(three) {
		t.Error("it does not follow the newest manifest")
	}
	// The server was rolled back between the two steps, or this profile has learned a newer
	// manifest: the newest known one remains the minimum.
	four := next(three)
	now := alice.row()
	now.Manifest = four
	alice.update(func(tx *store.Tx) error { return tx.SaveAccount(now) })
	err = alice.st.Update(t.Context(), func(tx *store.Tx) error { return alice.keys.FinishReplacement(tx, alice.account) })
	wants(t, err, ErrOlder)
	now.Manifest = three
	alice.update(func(tx *store.Tx) error { return tx.SaveAccount(now) })
	alice.update(func(tx *store.Tx) error { return alice.keys.FinishReplacement(tx, alice.account) })
	alice.update(func(tx *store.Tx) error {
		for version, want := range map[uint64]bool{2: false, 3: false, 4: true} {
			hash, listed, err := tx.ManifestHash(alice.account, 0, version)
			if err != nil || listed != want || version == 3 && hash != identity.ManifestHash(three) {
				t.Errorf("version %d: listed %t, %v", version, listed, err)
			}
		}
		return nil
	})
}
