package store

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"secmsg/crypto/key"
)

func testInvites(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	h := invite(t, s, "one", 3)
	want(t, s.CreateInvite(ctx, Invite{ID: "other", TokenHash: h, Uses: 1}), ErrConflict)
	got, err := s.Invite(ctx, h)
	must(t, err)
	equal(t, "invite", got, Invite{ID: "one", TokenHash: h, Uses: 3, Created: epoch(), Expires: epoch().Add(time.Hour)})
	_, err = s.Invite(ctx, hash("guess"))
	want(t, err, ErrInvite)
	must(t, s.RevokeInvite(ctx, "one"))
	want(t, s.RevokeInvite(ctx, "none"), ErrNotFound)
	list, err := s.ListInvites(ctx)
	must(t, err)
	equal(t, "invites", len(list), 1)
	equal(t, "revoked", list[0].Revoked, true)
	_, err = s.Register(ctx, registration(h, "alice", newDevice("alice", "a")))
	want(t, err, ErrInvite)
}

func testRegister(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	d := newDevice("alice", "laptop")
	r := registration(invite(t, s, "one", 1), "alice", d)
	_, err := s.Register(ctx, registration(hash("guess"), "alice", d))
	want(t, err, ErrInvite)
	first, err := s.Register(ctx, r)
	must(t, err)
	// A client that lost the answer asks again, even after the invite has expired.
	r.Now = epoch().Add(48 * time.Hour)
	r.Chain = [][]byte{[]byte("another leaf")}
	again, err := s.Register(ctx, r)
	must(t, err)
	equal(t, "account", fmt.Sprint(again), fmt.Sprint(first))
	// Other keys mean another person.
	other := r
	other.Identity = random(32)
	_, err = s.Register(ctx, other)
	want(t, err, ErrInvite)
	// Neither a taken name nor a used device id uses up the invite.
	h := invite(t, s, "two", 1)
	_, err = s.Register(ctx, registration(h, "alice", newDevice("alice", "x")))
	want(t, err, ErrNameTaken)
	_, err = s.Register(ctx, registration(h, "bob", d))
	want(t, err, ErrConflict)
	_, err = s.Account(ctx, "bob")
	want(t, err, ErrNotFound)
	_, err = s.Register(ctx, registration(h, "bob", newDevice("bob", "x")))
	must(t, err)
	late := registration(invite(t, s, "three", 1), "carol", newDevice("carol", "x"))
	late.Now = epoch().Add(time.Hour)
	_, err = s.Register(ctx, late)
	want(t, err, ErrInvite)
}

func testRegisterConcurrently(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	h := invite(t, s, "single", 1)
	won := 0
	for _, err := range each(100, func(i int) error {
		name := fmt.Sprintf("user%d", i)
		_, err := s.Register(ctx, registration(h, name, newDevice(name, "d")))
		return err
	}) {
		if err == nil {
			won++
		} else {
			want(t, err, ErrInvite)
		}
	}
	equal(t, "registrations by a single-use invite", won, 1)
	list, err := s.ListAccounts(ctx, "", 1000)
	must(t, err)
	equal(t, "accounts", len(list), 1)
}

func testAccounts(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice, bob := account(t, s, "alice"), account(t, s, "bob")
	account(t, s, "carol")
	page, err := s.ListAccounts(ctx, "alice", 1)
	must(t, err)
	equal(t, "page", len(page) == 1 && page[0].Name == "bob", true)
	must(t, s.SetSuspended(ctx, "alice", true))
	must(t, s.SetChain(ctx, "alice", [][]byte{{}, []byte("x"), bytes.Repeat([]byte{1}, 300)}))
	a, err := s.Account(ctx, "alice")
	must(t, err)
	equal(t, "suspended", a.Suspended, true)
	equal(t, "chain", fmt.Sprint(len(a.Chain), len(a.Chain[0]), len(a.Chain[2])), "3 0 300")
	want(t, s.SetSuspended(ctx, "nobody", true), ErrNotFound)
	want(t, s.SetChain(ctx, "nobody", nil), ErrNotFound)
	must(t, s.SetLastSeen(ctx, map[key.DeviceID]time.Time{alice.ID: epoch(), bob.ID: epoch()}))
	must(t, s.SetLastSeen(ctx, map[key.DeviceID]time.Time{alice.ID: epoch().Add(-time.Hour)}))
	d, err := s.Device(ctx, alice.ID)
	must(t, err)
	equal(t, "last seen", d.LastSeen, epoch())

	must(t, s.SetRelation(ctx, "bob", "alice", RelationContact))
	must(t, s.SetRelation(ctx, "alice", "bob", RelationContact))
	must(t, s.DeleteAccount(ctx, "alice"))
	want(t, s.DeleteAccount(ctx, "alice"), ErrNotFound)
	_, err = s.Account(ctx, "alice")
	want(t, err, ErrNotFound)
	_, err = s.Device(ctx, alice.ID)
	want(t, err, ErrNotFound)
	// The next owner of the name inherits no contact.
	r, err := s.Relation(ctx, "bob", "alice")
	must(t, err)
	equal(t, "relation to the deleted", r, RelationNone)
	revoked, err := s.Revocations(ctx, 0)
	must(t, err)
	equal(t, "revocation", len(revoked) == 1 && revoked[0].Device == alice.ID && revoked[0].Account == "alice", true)
}

func testManifests(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	d1 := account(t, s, "alice")
	other := account(t, s, "bob")
	d2 := newDevice("alice", "second")
	next := func(v uint64, devices ...Device) Manifest {
		return Manifest{Version: v, Hash: hash("alice", fmt.Sprint(v)), Signed: fmt.Appendf(nil, "m%d", v), Devices: devices}
	}
	h1 := hash("alice", "1")
	want(t, s.PutManifest(ctx, "nobody", h1, next(2, d1), epoch()), ErrNotFound)
	want(t, s.PutManifest(ctx, "alice", hash("wrong"), next(2, d1), epoch()), ErrConflict)
	want(t, s.PutManifest(ctx, "alice", h1, next(1, d2), epoch()), nil) // the newest again
	stale := next(1, d1)
	stale.Hash = hash("another 1")
	want(t, s.PutManifest(ctx, "alice", h1, stale, epoch()), ErrConflict)
	want(t, s.PutManifest(ctx, "alice", h1, next(2, d1, other), epoch()), ErrConflict)
	a, err := s.Account(ctx, "alice")
	must(t, err)
	equal(t, "version after refusals", a.ManifestVersion, uint64(1))

	renamed := d1
	renamed.Name = "renamed"
	must(t, s.PutManifest(ctx, "alice", h1, next(2, renamed, d2), epoch()))
	must(t, s.PutManifest(ctx, "alice", hash("alice", "2"), next(5, d2), epoch()))
	got, err := s.Device(ctx, d1.ID)
	must(t, err)
	equal(t, "first device", fmt.Sprint(got.Revoked, got.Name), "truerenamed")
	want(t, s.PutManifest(ctx, "alice", hash("alice", "5"), next(6, d1, d2), epoch()), ErrConflict) // revoked ids stay revoked
	list, err := s.Manifests(ctx, "alice", 1, 10)
	must(t, err)
	equal(t, "later manifests", fmt.Sprintf("%d %s %s", len(list), list[0].Signed, list[1].Signed), "2 m2 m5")
	devices, err := s.Devices(ctx, "alice")
	must(t, err)
	equal(t, "devices", len(devices), 2)
	revoked, err := s.Revocations(ctx, 0)
	must(t, err)
	equal(t, "revocations", len(revoked), 1)
	rest, err := s.Revocations(ctx, revoked[0].Row)
	must(t, err)
	equal(t, "later revocations", len(rest), 0)
	// A revoked device accepts no more uploads.
	_, err = s.PutPrekeys(ctx, d1.ID, Prekeys{}, 10, epoch())
	want(t, err, ErrNotFound)
	want(t, s.IssueFence(ctx, d1.ID, []byte("v"), 0), ErrNotFound)
	res, err := s.Append(ctx, []*Mail{mailTo(d1, 1, "x")}, MailboxLimits{})
	must(t, err)
	want(t, res[0], ErrNotFound)
}

func testManifestRace(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	d := account(t, s, "alice")
	won := 0
	for _, err := range each(50, func(i int) error {
		m := Manifest{Version: 2, Hash: hash("race", fmt.Sprint(i)), Signed: fmt.Append(nil, i), Devices: []Device{d}}
		return s.PutManifest(ctx, "alice", hash("alice", "1"), m, epoch())
	}) {
		if err == nil {
			won++
		} else {
			want(t, err, ErrConflict)
		}
	}
	equal(t, "winners of a compare-and-set", won, 1)
	list, err := s.Manifests(ctx, "alice", 0, 100)
	must(t, err)
	equal(t, "manifests", len(list), 2)
}

func keys(from, n int) []Prekey {
	out := make([]Prekey, n)
	for i := range out {
		out[i] = Prekey{ID: uint32(from + i), Public: fmt.Appendf(nil, "key %d", from+i), Expires: epoch().Add(time.Hour)}
	}
	return out
}

// put uploads prekeys and returns the stored ids.
func put(t *testing.T, s Store, d key.DeviceID, p Prekeys, most int, now time.Time) string {
	t.Helper()
	kept, err := s.PutPrekeys(ctxOf(t), d, p, most, now)
	must(t, err)
	return fmt.Sprint(kept.OneTimeExchange, kept.OneTimeKEM)
}

func testPrekeys(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	d := account(t, s, "alice")
	one := func() Bundle {
		t.Helper()
		b, err := s.TakeBundles(ctx, []key.DeviceID{d.ID, key.DeviceID(random(16))}, epoch())
		must(t, err)
		equal(t, "bundles", len(b), 1)
		return b[0]
	}
	up := Prekeys{OneTimeExchange: keys(1, 3), OneTimeKEM: keys(1, 1)}
	equal(t, "kept", put(t, s, d.ID, up, 2, epoch()), "[1 2] [1]")
	equal(t, "kept when it comes again", put(t, s, d.ID, up, 2, epoch()), "[1 2] [1]")
	other := keys(1, 2)
	other[1].Public = []byte("another key")
	equal(t, "kept of others with the same ids", put(t, s, d.ID, Prekeys{OneTimeExchange: other}, 10, epoch()), "[1] []")
	b, err := s.TakeBundles(ctx, []key.DeviceID{d.ID}, epoch())
	must(t, err)
	equal(t, "bundles without a signed prekey", len(b), 0)
	put(t, s, d.ID, Prekeys{Signed: &keys(70, 1)[0], LastResort: &keys(80, 1)[0]}, 2, epoch())
	c, err := s.CountPrekeys(ctx, d.ID, epoch())
	must(t, err)
	equal(t, "count", c, PrekeyCount{SignedExpires: epoch().Add(time.Hour), LastResortExpires: epoch().Add(time.Hour), OneTimeExchange: 2, OneTimeKEM: 1})

	first := one()
	equal(t, "first", fmt.Sprint(first.Signed.ID, first.KEM.ID, first.OneTimeExchange.ID), "70 1 1")
	equal(t, "public", string(first.OneTimeExchange.Public), "key 1")
	// After a repeated upload, used keys do not come back.
	again := Prekeys{OneTimeExchange: keys(1, 2), OneTimeKEM: keys(1, 1), Signed: &keys(71, 1)[0]}
	equal(t, "kept when some were used", put(t, s, d.ID, again, 10, epoch()), "[1 2] [1]")
	second := one()
	equal(t, "second", fmt.Sprint(second.Signed.ID, second.KEM.ID, second.OneTimeExchange.ID), "71 80 2")
	third := one()
	equal(t, "third", fmt.Sprint(third.KEM.ID, third.OneTimeExchange == nil), "80 true")
	c, err = s.CountPrekeys(ctx, d.ID, epoch().Add(2*time.Hour))
	must(t, err)
	equal(t, "count when expired", c, PrekeyCount{})
	// Keys that expired before anybody fetched them do not take the place of new ones.
	put(t, s, d.ID, Prekeys{OneTimeExchange: keys(10, 2)}, 2, epoch())
	later := keys(20, 2)
	for i := range later {
		later[i].Expires = epoch().Add(5 * time.Hour)
	}
	put(t, s, d.ID, Prekeys{OneTimeExchange: later}, 2, epoch().Add(2*time.Hour))
	c, err = s.CountPrekeys(ctx, d.ID, epoch().Add(2*time.Hour))
	must(t, err)
	equal(t, "stock after all had expired", c.OneTimeExchange, 2)
	b, err = s.TakeBundles(ctx, []key.DeviceID{d.ID}, epoch().Add(2*time.Hour))
	must(t, err)
	equal(t, "bundles when expired", len(b), 0)
}

func testPrekeysConcurrently(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	d := account(t, s, "alice")
	put(t, s, d.ID, Prekeys{Signed: &keys(1, 1)[0], LastResort: &keys(1, 1)[0], OneTimeExchange: keys(1, 40), OneTimeKEM: keys(1, 40)}, 100, epoch())
	got := make([]Bundle, 60)
	for _, err := range each(len(got), func(i int) error {
		b, err := s.TakeBundles(ctx, []key.DeviceID{d.ID}, epoch())
		if err == nil && len(b) != 1 {
			return errors.New("no bundle")
		}
		if err == nil {
			got[i] = b[0]
		}
		return err
	}) {
		must(t, err)
	}
	seen := make(map[uint32]bool)
	for _, b := range got {
		if b.OneTimeExchange == nil {
			continue
		}
		if seen[b.OneTimeExchange.ID] {
			t.Fatalf("one-time key %d handed out twice", b.OneTimeExchange.ID)
		}
		seen[b.OneTimeExchange.ID] = true
	}
	equal(t, "one-time keys handed out", len(seen), 40)
}

func testContacts(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	account(t, s, "alice")
	must(t, s.SetRelation(ctx, "alice", "bob", RelationContact))
	must(t, s.SetRelation(ctx, "alice", "carol", RelationBlocked))
	must(t, s.SetRelation(ctx, "alice", "bob", RelationBlocked))
	must(t, s.SetRelation(ctx, "alice", "carol", RelationNone))
	must(t, s.SetRelation(ctx, "alice", "carol", RelationNone))
	all, err := s.Relations(ctx, "alice")
	must(t, err)
	equal(t, "relations", fmt.Sprint(all), "map[bob:blocked]")
	r, err := s.Relation(ctx, "bob", "alice")
	must(t, err)
	equal(t, "the other way", r, RelationNone)
}

func testFences(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	d := account(t, s, "alice")
	show := func() string {
		t.Helper()
		f, err := s.Fence(ctx, d.ID)
		must(t, err)
		return fmt.Sprintf("%s/%s/%d", f.Confirmed, f.Issued, f.Steps)
	}
	equal(t, "none", show(), "//0")
	want(t, s.ConfirmFence(ctx, d.ID), ErrNotFound)
	must(t, s.IssueFence(ctx, d.ID, []byte("a"), 3))
	equal(t, "issued", show(), "/a/3")
	must(t, s.ConfirmFence(ctx, d.ID))
	want(t, s.ConfirmFence(ctx, d.ID), ErrNotFound)
	must(t, s.IssueFence(ctx, d.ID, []byte("b"), 1))
	must(t, s.RaiseSteps(ctx, map[key.DeviceID]uint64{d.ID: 9, key.DeviceID(random(16)): 1}))
	must(t, s.RaiseSteps(ctx, map[key.DeviceID]uint64{d.ID: 8}))
	equal(t, "raised", show(), "a/b/9")
	must(t, s.RaiseSteps(ctx, map[key.DeviceID]uint64{d.ID: 1<<64 - 1}))
	equal(t, "highest", show(), "a/b/9223372036854775807")
	want(t, s.IssueFence(ctx, key.DeviceID(random(16)), []byte("x"), 0), ErrNotFound)
}
