package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"secmsg/crypto/key"
)

// opener opens the backend under test; the same handle reopened shows the same data.
type opener func(t *testing.T, dir string) Store

// testStore is the conformance suite that every backend passes.
func testStore(t *testing.T, open opener) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, opener)
	}{
		{"Invites", testInvites},
		{"Register", testRegister},
		{"RegisterConcurrently", testRegisterConcurrently},
		{"Accounts", testAccounts},
		{"Manifests", testManifests},
		{"ManifestRace", testManifestRace},
		{"Prekeys", testPrekeys},
		{"PrekeysConcurrently", testPrekeysConcurrently},
		{"Contacts", testContacts},
		{"Fences", testFences},
		{"Mailbox", testMailbox},
		{"MailboxLimits", testMailboxLimits},
		{"MailboxAcks", testMailboxAcks},
		{"MailboxConcurrently", testMailboxConcurrently},
		{"Requests", testRequests},
		{"Expiry", testExpiry},
		{"DeviceGone", testDeviceGone},
		{"DropMail", testDropMail},
		{"Isolation", testIsolation},
		{"Reopen", testReopen},
		{"Clock", testClock},
		{"Blobs", testBlobs},
		{"BlobLimits", testBlobLimits},
		{"BlobSweep", testBlobSweep},
		{"BlobUsage", testBlobUsage},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

// epoch is the tests' time: whole milliseconds, like times in a store.
func epoch() time.Time { return time.UnixMilli(1_900_000_000_000).UTC() }

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func hash(parts ...string) [32]byte { return sha256.Sum256(fmt.Append(nil, parts)) }

func newDevice(account, name string) Device {
	return Device{ID: key.DeviceID(random(16)), Account: account, Signing: random(32), Name: name, Added: epoch()}
}

func invite(t *testing.T, s Store, token string, uses int) [32]byte {
	t.Helper()
	h := hash("token", token)
	must(t, s.CreateInvite(ctxOf(t), Invite{ID: token, TokenHash: h, Uses: uses, Created: epoch(), Expires: epoch().Add(time.Hour)}))
	return h
}

func registration(token [32]byte, name string, devices ...Device) Registration {
	return Registration{
		TokenHash: token, Name: name, Identity: random(32), Chain: [][]byte{[]byte("leaf of " + name), []byte("issuing")},
		Manifest: Manifest{Version: 1, Hash: hash(name, "1"), Signed: []byte("manifest 1 of " + name), Devices: devices},
		Now:      epoch(),
	}
}

// account registers an account with one device and returns the device.
func account(t *testing.T, s Store, name string) Device {
	t.Helper()
	d := newDevice(name, "first")
	if _, err := s.Register(ctxOf(t), registration(invite(t, s, "for "+name, 1), name, d)); err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// each runs n calls at once and returns their errors.
func each(n int, call func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	done := make(chan struct{})
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			<-start
			errs[i] = call(i)
		}()
	}
	close(start)
	for range n {
		<-done
	}
	return errs
}

func testIsolation(t *testing.T, open opener) {
	s := open(t, t.TempDir())
	alice := account(t, s, "alice")
	ctx := ctxOf(t)
	// Every other call fails; those in between must be kept.
	errs := each(100, func(i int) error {
		if i%2 == 0 {
			return s.SetSuspended(ctx, "nobody", true)
		}
		_, err := s.Append(ctx, []*Mail{mailTo(alice, 1, "x")}, MailboxLimits{})
		return err
	})
	for i, err := range errs {
		if i%2 == 0 {
			want(t, err, ErrNotFound)
		} else {
			must(t, err)
		}
	}
	n, _, err := s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "envelopes", n, 50)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	want(t, s.Ping(cancelled), context.Canceled)
	must(t, s.Ping(ctx))
}

func testReopen(t *testing.T, open opener) {
	dir := t.TempDir()
	s := open(t, dir)
	alice, bob := account(t, s, "alice"), account(t, s, "bob")
	ctx := ctxOf(t)
	must(t, s.SetRelation(ctx, "alice", "bob", RelationBlocked))
	must(t, s.IssueFence(ctx, alice.ID, []byte("v1"), 7))
	must(t, s.ConfirmFence(ctx, alice.ID))
	must(t, s.IssueFence(ctx, alice.ID, []byte("v2"), 5))
	m := mailFrom(bob, alice, 1, "kept")
	_, err := s.Append(ctx, []*Mail{m}, MailboxLimits{})
	must(t, err)
	must(t, s.Delete(ctx, map[key.DeviceID][]int64{alice.ID: {m.Row}}))
	kept := mailFrom(bob, alice, 2, "kept")
	_, err = s.Append(ctx, []*Mail{kept}, MailboxLimits{})
	must(t, err)
	must(t, s.Close())

	s = open(t, dir)
	f, err := s.Fence(ctx, alice.ID)
	must(t, err)
	equal(t, "fence", fmt.Sprintf("%s %s %d", f.Confirmed, f.Issued, f.Steps), "v1 v2 7")
	r, err := s.Relation(ctx, "alice", "bob")
	must(t, err)
	equal(t, "relation", r, RelationBlocked)
	mails, err := s.Read(ctx, alice.ID, 0, 10, 1<<20)
	must(t, err)
	equal(t, "mails", len(mails), 1)
	got := mails[0]
	equal(t, "mail", fmt.Sprint(got), fmt.Sprint(*kept))
	must(t, s.Delete(ctx, map[key.DeviceID][]int64{alice.ID: {got.Row}}))
	must(t, s.Close())

	// A row number is never reused, even if the highest was deleted before a restart.
	s = open(t, dir)
	next := mailFrom(bob, alice, 3, "next")
	_, err = s.Append(ctx, []*Mail{next}, MailboxLimits{})
	must(t, err)
	if next.Row <= got.Row {
		t.Fatalf("row %d after %d", next.Row, got.Row)
	}
	must(t, s.Close())
	want(t, s.Ping(ctx), errClosed)
}

func testClock(t *testing.T, open opener) {
	dir := t.TempDir()
	s, ctx := open(t, dir), ctxOf(t)
	none, err := s.ClockState(ctx)
	must(t, err)
	equal(t, "at first", none, ClockState{})
	for _, c := range []ClockState{{At: epoch(), Held: true}, {At: epoch().Add(-time.Hour)}} {
		must(t, s.SetClockState(ctx, c))
		got, err := s.ClockState(ctx)
		must(t, err)
		equal(t, "state", got, c)
	}
	must(t, s.Close())
	got, err := open(t, dir).ClockState(ctx)
	must(t, err)
	equal(t, "reopened", got, ClockState{At: epoch().Add(-time.Hour)})
}
