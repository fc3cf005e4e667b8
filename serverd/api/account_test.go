package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/rpc/wire"
	"secmsg/serverd/api"
	"secmsg/serverd/limit"
)

func TestManifestRules(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	token := alice.token(wire.RoleAPI)
	phone := newDevice("phone")
	put := func(p wire.PutManifest) reply { return r.call("PUT", "/v1/manifest", token, p, nil) }
	malformed := func(what string, p wire.PutManifest) {
		t.Helper()
		want(t, what, put(p), http.StatusBadRequest, wire.CodeMalformed)
	}
	conflict := func(what string, p wire.PutManifest) {
		t.Helper()
		want(t, what, put(p), http.StatusConflict, wire.CodeConflict)
	}

	// A12: only the identity key can sign a manifest; bob's key and the server's cannot.
	ghost := alice.next(alice.device, phone)
	m := identity.Manifest{Address: alice.addr, Version: 2, Previous: identity.ManifestHash(alice.manifest), Time: r.clock.Now(),
		Devices: []identity.Device{alice.device.entry(r.clock.Now()), phone.entry(r.clock.Now())}}
	signed, err := m.Sign(bob.identity)
	if err != nil {
		t.Fatal(err)
	}
	malformed("signed by another key", wire.PutManifest{Previous: ghost.Previous, Manifest: signed})
	malformed("a device of another account", alice.next(alice.device, bob.device))
	malformed("previous of another length", wire.PutManifest{Previous: []byte{1}, Manifest: ghost.Manifest})
	conflict("previous of another manifest", wire.PutManifest{Previous: make([]byte, 32), Manifest: ghost.Manifest})
	h := identity.ManifestHash(alice.manifest)
	conflict("a version that is skipped", wire.PutManifest{Previous: h[:], Manifest: alice.sign(identity.Manifest{Version: 3, Previous: h}, alice.device)})
	conflict("another previous inside", wire.PutManifest{Previous: h[:], Manifest: alice.sign(identity.Manifest{Version: 2, Previous: [32]byte{9}}, alice.device)})

	want(t, "two devices", put(ghost), http.StatusNoContent, "")
	want(t, "the same again", put(ghost), http.StatusNoContent, "")
	if n := r.manifests.Load(); n != 1 {
		t.Errorf("the relay was notified of %d newer manifests, but not of the one that links a device", n)
	}
	conflict("a fork", wire.PutManifest{Previous: ghost.Previous, Manifest: alice.sign(identity.Manifest{Version: 2, Previous: h}, alice.device)})
	alice.manifest, alice.version = ghost.Manifest, 2

	// E20: a revoked device's token is invalid at once, and the relay is informed.
	phoneToken := alice.tokenFor(phone, wire.RoleAPI)
	want(t, "phone", r.call("GET", "/v1/contacts", phoneToken, nil, nil), http.StatusOK, "")
	revoke := alice.next(alice.device)
	want(t, "revoke", put(revoke), http.StatusNoContent, "")
	want(t, "phone afterwards", r.call("GET", "/v1/contacts", phoneToken, nil, nil), http.StatusUnauthorized, wire.CodeUnauthorized)
	want(t, "login of the phone", r.call("POST", "/v1/tokens", "", alice.tokenRequest(phone, wire.RoleContact), nil), http.StatusForbidden, wire.CodeRevoked)
	forged := alice.tokenRequest(phone, wire.RoleContact)
	forged.Signature[0] ^= 1
	want(t, "its name without its key", r.call("POST", "/v1/tokens", "", forged, nil), http.StatusUnauthorized, wire.CodeUnauthorized)
	select {
	case ids := <-r.revoked:
		if len(ids) != 1 || ids[0] != phone.id() {
			t.Errorf("hook got %v", ids)
		}
	default:
		t.Error("the hook was not called")
	}
	alice.manifest, alice.version = revoke.Manifest, 3
	malformed("a device that comes back", alice.next(alice.device, phone))

	var list wire.Manifests
	want(t, "list", r.call("GET", "/v1/accounts/alice/manifests?after=1", bob.token(wire.RoleAPI), nil, &list), http.StatusOK, "")
	if len(list.Manifests) != 2 || string(list.Manifests[0]) != string(ghost.Manifest) {
		t.Errorf("%d manifests", len(list.Manifests))
	}
}

// Linking a device is limited by address like registration, and new manifests are limited per account.
// The first limit does not delay the removal of a device.
func TestLinkingIsLimited(t *testing.T) {
	limits := wide()
	limits.Registration = limit.Rate{Burst: 3, Every: time.Hour}
	limits.Manifests = limit.Rate{Burst: 4, Every: time.Hour}
	r := newRealm(t, limits)
	alice := r.join("alice") // the first of the three
	token := alice.token(wire.RoleAPI)
	put := func(devices ...device) reply {
		p := alice.next(append([]device{alice.device}, devices...)...)
		rep := r.call("PUT", "/v1/manifest", token, p, nil)
		if rep.status == http.StatusNoContent {
			alice.manifest, alice.version = p.Manifest, alice.version+1
		}
		return rep
	}
	a, b, c := newDevice("a"), newDevice("b"), newDevice("c")
	want(t, "second", put(a), http.StatusNoContent, "")
	want(t, "third", put(a, b), http.StatusNoContent, "")
	want(t, "one too many", put(a, b, c), http.StatusTooManyRequests, wire.CodeRateLimited)
	want(t, "dropping", put(), http.StatusNoContent, "")
	want(t, "a manifest too many", put(), http.StatusTooManyRequests, wire.CodeRateLimited)
	r.clock.Advance(time.Hour)
	token = alice.token(wire.RoleAPI)
	want(t, "later", put(c), http.StatusNoContent, "")
}

func TestCertificateIsRenewedWhenDue(t *testing.T) {
	r := newRealm(t, wide())
	alice := r.join("alice")
	read := func() identity.AccountCert {
		t.Helper()
		var c wire.Certificate
		want(t, "certificate", r.call("POST", "/v1/certificate", alice.token(wire.RoleAPI), nil, &c), http.StatusOK, "")
		cert, err := identity.VerifyAccount(r.ca.Root(), c.Chain, alice.addr, r.clock.Now())
		if err != nil || cert.Key != alice.identity.Public() {
			t.Fatalf("chain: %v", err)
		}
		return cert
	}
	first := read()
	r.clock.Advance(59 * 24 * time.Hour)
	if again := read(); !again.NotAfter.Equal(first.NotAfter) {
		t.Error("renewed too early")
	}
	r.clock.Advance(2 * 24 * time.Hour)
	if again := read(); !again.NotAfter.After(first.NotAfter) {
		t.Error("not renewed")
	}
	if err := r.store.SetSuspended(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(3 * time.Second) // past the device cache
	want(t, "suspended", r.call("POST", "/v1/tokens", "", alice.tokenRequest(alice.device, wire.RoleAPI), nil), http.StatusForbidden, wire.CodeSuspended)
}

func TestPrekeyUploads(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	token := alice.token(wire.RoleAPI)
	put := func(what string, p wire.PutPrekeys, status int, code wire.Code) {
		t.Helper()
		want(t, what, r.call("PUT", "/v1/prekeys", token, p, nil), status, code)
	}
	bad := func(what string, p wire.PutPrekeys) {
		t.Helper()
		put(what, p, http.StatusBadRequest, wire.CodeMalformed)
	}
	otk := func(id uint32) []byte { return alice.prekey(identity.OneTimeExchange, id, time.Hour) }
	flipped := otk(1)
	flipped[len(flipped)-1] ^= 1
	bad("flipped signature", wire.PutPrekeys{OneTimeExchange: [][]byte{flipped}})
	bad("another kind", wire.PutPrekeys{SignedPrekey: otk(1)})
	bad("KEM as exchange", wire.PutPrekeys{OneTimeExchange: [][]byte{alice.prekey(identity.OneTimeKEM, 1, time.Hour)}})
	bad("signed as last resort", wire.PutPrekeys{LastResortKEM: alice.prekey(identity.OneTimeKEM, 1, time.Hour)})
	bad("another device's", wire.PutPrekeys{OneTimeExchange: [][]byte{bob.prekey(identity.OneTimeExchange, 1, time.Hour)}})
	bad("an id twice", wire.PutPrekeys{OneTimeExchange: [][]byte{otk(1), otk(1)}})
	bad("an empty one", wire.PutPrekeys{OneTimeExchange: [][]byte{{}}})
	bad("expired", wire.PutPrekeys{SignedPrekey: alice.prekey(identity.SignedExchange, 1, -time.Hour)})
	bad("signed for too long", wire.PutPrekeys{SignedPrekey: alice.prekey(identity.SignedExchange, 1, 92*24*time.Hour)})
	bad("one-time for too long", wire.PutPrekeys{OneTimeKEM: [][]byte{alice.prekey(identity.OneTimeKEM, 1, 137*24*time.Hour)}})
	// One invalid key makes the server refuse the whole upload.
	half := alice.stock(3)
	half.OneTimeKEM[2] = flipped
	bad("half good", half)
	var n wire.PrekeyCount
	want(t, "count", r.call("GET", "/v1/prekeys", token, nil, &n), http.StatusOK, "")
	if n != (wire.PrekeyCount{}) {
		t.Errorf("something was kept: %+v", n)
	}
	many := wire.PutPrekeys{}
	for i := range 101 {
		many.OneTimeExchange = append(many.OneTimeExchange, otk(uint32(i+1)))
	}
	put("101 keys", many, http.StatusTooManyRequests, wire.CodeQuota)

	if err := r.store.IssueFence(t.Context(), alice.device.id(), []byte("value"), 3); err != nil {
		t.Fatal(err)
	}
	up := alice.stock(2)
	up.Steps = 17
	want(t, "good", r.call("PUT", "/v1/prekeys", token, up, &n), http.StatusOK, "")
	if n.OneTimeExchange != 2 || n.OneTimeKEM != 2 || n.SignedExpiresMS != r.clock.Now().Add(identity.PrekeyLifetime).UnixMilli() || n.LastResortExpiresMS == 0 {
		t.Errorf("count %+v", n)
	}
	fence, err := r.store.Fence(t.Context(), alice.device.id())
	if err != nil || fence.Steps != 17 {
		t.Errorf("steps %d %v", fence.Steps, err)
	}
}

// A8: one account asks in a loop. The limiter triggers after six, most of the stock remains, and
// without one-time keys the last-resort key still allows a session.
func TestBundlesAreLimited(t *testing.T) {
	l := wide()
	l.Bundles = api.DefaultLimits().Bundles
	r := newRealm(t, l)
	alice, bob := r.join("alice"), r.join("bob")
	if rep := r.call("PUT", "/v1/prekeys", alice.token(wire.RoleAPI), alice.stock(4), nil); rep.status != 200 {
		t.Fatal(rep.status)
	}
	token := bob.token(wire.RoleAPI)
	fetch := func() (wire.Bundles, reply) {
		var b wire.Bundles
		return b, r.call("POST", "/v1/accounts/alice/bundles", token, wire.BundlesRequest{}, &b)
	}
	seen := map[string]bool{}
	for i := range 6 {
		var b wire.Bundles
		rep := r.call("POST", "/v1/accounts/alice/bundles", token, wire.BundlesRequest{}, &b)
		want(t, "fetch", rep, http.StatusOK, "")
		if len(b.Devices) != 1 {
			t.Fatalf("%d devices", len(b.Devices))
		}
		d := b.Devices[0]
		if i < 4 && (seen[string(d.OneTimeExchange)] || seen[string(d.KEMPrekey)] || len(d.OneTimeExchange) == 0) {
			t.Error("a one-time key was handed out twice, or none at all")
		}
		if i >= 4 && len(d.OneTimeExchange) != 0 {
			t.Error("a one-time key was handed out although none was left")
		}
		seen[string(d.OneTimeExchange)], seen[string(d.KEMPrekey)] = true, true
		for kind, raw := range map[identity.PrekeyKind][]byte{identity.SignedExchange: d.SignedPrekey} {
			p, err := identity.ParsePrekey(raw)
			if err != nil || p.Kind != kind || p.Verify(alice.device.signing.Public(), alice.device.id(), alice.addr, r.clock.Now()) != nil {
				t.Errorf("%v: %v", kind, err)
			}
		}
		kem, err := identity.ParsePrekey(d.KEMPrekey)
		if err != nil || kem.Kind.OneTime() != (i < 4) || kem.Verify(alice.device.signing.Public(), alice.device.id(), alice.addr, r.clock.Now()) != nil {
			t.Errorf("KEM of fetch %d: %v %v", i, kem.Kind, err)
		}
	}
	_, rep := fetch()
	want(t, "seventh", rep, http.StatusTooManyRequests, wire.CodeRateLimited)
	if rep.header.Get("Retry-After") != "600" {
		t.Errorf("Retry-After %q", rep.header.Get("Retry-After"))
	}
	r.clock.Advance(10 * time.Minute)
	_, rep = fetch()
	want(t, "ten minutes later", rep, http.StatusOK, "")
	_, rep = fetch()
	want(t, "and again", rep, http.StatusTooManyRequests, wire.CodeRateLimited)
	want(t, "another requester", r.call("POST", "/v1/accounts/alice/bundles", r.join("carol").token(wire.RoleAPI), wire.BundlesRequest{}, nil), http.StatusOK, "")
}

func TestBundlesOfOwnDevicesAndBlocks(t *testing.T) {
	r := newRealm(t, wide())
	alice, bob := r.join("alice"), r.join("bob")
	token := alice.token(wire.RoleAPI)
	phone := newDevice("phone")
	two := alice.next(alice.device, phone)
	want(t, "phone", r.call("PUT", "/v1/manifest", token, two, nil), http.StatusNoContent, "")
	want(t, "stock", r.call("PUT", "/v1/prekeys", token, alice.stock(2), nil), http.StatusOK, "")
	laptop := alice.device
	alice.device = phone
	phoneToken := alice.token(wire.RoleAPI)
	want(t, "phone's stock", r.call("PUT", "/v1/prekeys", phoneToken, alice.stock(2), nil), http.StatusOK, "")
	var b wire.Bundles
	want(t, "own", r.call("POST", "/v1/accounts/alice/bundles", phoneToken, wire.BundlesRequest{}, &b), http.StatusOK, "")
	if len(b.Devices) != 1 || b.Devices[0].Device != laptop.id().String() {
		t.Errorf("own devices: %+v", b.Devices)
	}
	bobToken := bob.token(wire.RoleAPI)
	b = wire.Bundles{}
	want(t, "all", r.call("POST", "/v1/accounts/alice/bundles", bobToken, wire.BundlesRequest{}, &b), http.StatusOK, "")
	if len(b.Devices) != 2 {
		t.Errorf("%d devices", len(b.Devices))
	}
	b = wire.Bundles{}
	want(t, "one", r.call("POST", "/v1/accounts/alice/bundles", bobToken, wire.BundlesRequest{Devices: []string{phone.id().String()}}, &b), http.StatusOK, "")
	if len(b.Devices) != 1 || b.Devices[0].Device != phone.id().String() {
		t.Errorf("devices: %+v", b.Devices)
	}
	b = wire.Bundles{}
	want(t, "somebody else's device", r.call("POST", "/v1/accounts/alice/bundles", bobToken, wire.BundlesRequest{Devices: []string{bob.device.id().String()}}, &b), http.StatusOK, "")
	if len(b.Devices) != 0 {
		t.Errorf("devices: %+v", b.Devices)
	}
	want(t, "block", r.call("PUT", "/v1/contacts/bob", token, wire.PutContact{Relation: wire.RelationBlocked}, nil), http.StatusNoContent, "")
	blocked := r.call("POST", "/v1/accounts/alice/bundles", bobToken, wire.BundlesRequest{}, nil)
	want(t, "blocked", blocked, http.StatusNotFound, wire.CodeNotFound)
	if unknown := r.call("POST", "/v1/accounts/nobody/bundles", bobToken, wire.BundlesRequest{}, nil); string(unknown.body) != string(blocked.body) {
		t.Errorf("the answers reveal the block: %s and %s", unknown.body, blocked.body)
	}
}

// A24: an authenticated look-up answers "not found", and new names are counted on every route that
// reveals whether a name exists.
func TestLookupsAreLimited(t *testing.T) {
	l := wide()
	l.Lookups = api.DefaultLimits().Lookups
	r := newRealm(t, l)
	alice := r.join("alice")
	r.join("bob")
	r.join("carol")
	token := alice.token(wire.RoleAPI)
	want(t, "contact", r.call("PUT", "/v1/contacts/carol", token, wire.PutContact{Relation: wire.RelationContact}, nil), http.StatusNoContent, "")
	want(t, "bob", r.call("GET", "/v1/accounts/bob", token, nil, nil), http.StatusOK, "")
	for i := range 58 {
		path := []string{"/v1/accounts/guess%d", "/v1/accounts/guess%d/manifests"}[i%2]
		want(t, "guess", r.call("GET", fmt.Sprintf(path, i), token, nil, nil), http.StatusNotFound, wire.CodeNotFound)
	}
	want(t, "one too many", r.call("GET", "/v1/accounts/guess60", token, nil, nil), http.StatusTooManyRequests, wire.CodeRateLimited)
	want(t, "by bundles", r.call("POST", "/v1/accounts/guess61/bundles", token, wire.BundlesRequest{}, nil), http.StatusTooManyRequests, wire.CodeRateLimited)
	want(t, "by contacts", r.call("PUT", "/v1/contacts/guess62", token, wire.PutContact{Relation: wire.RelationBlocked}, nil), http.StatusTooManyRequests, wire.CodeRateLimited)
	want(t, "a known name", r.call("GET", "/v1/accounts/bob", token, nil, nil), http.StatusOK, "")
	r.clock.Advance(25 * time.Hour)
	token = alice.token(wire.RoleAPI)
	want(t, "a contact is never new", r.call("GET", "/v1/accounts/carol", token, nil, nil), http.StatusOK, "")
	want(t, "oneself", r.call("GET", "/v1/accounts/alice", token, nil, nil), http.StatusOK, "")
}

func TestContacts(t *testing.T) {
	l := wide()
	l.Contacts = 2
	r := newRealm(t, l)
	alice := r.join("alice")
	token := alice.token(wire.RoleAPI)
	for _, n := range []string{"bob", "carol", "dave"} {
		r.join(n)
	}
	put := func(name string, rel wire.Relation) reply {
		return r.call("PUT", "/v1/contacts/"+name, token, wire.PutContact{Relation: rel}, nil)
	}
	want(t, "bob", put("bob", wire.RelationContact), http.StatusNoContent, "")
	want(t, "carol", put("carol", wire.RelationBlocked), http.StatusNoContent, "")
	want(t, "full", put("dave", wire.RelationContact), http.StatusTooManyRequests, wire.CodeQuota)
	want(t, "change", put("bob", wire.RelationBlocked), http.StatusNoContent, "")
	want(t, "oneself", put("alice", wire.RelationContact), http.StatusBadRequest, wire.CodeMalformed)
	want(t, "unknown", put("nobody", wire.RelationContact), http.StatusNotFound, wire.CodeNotFound)
	want(t, "another relation", put("bob", "friend"), http.StatusBadRequest, wire.CodeMalformed)
	want(t, "delete", r.call("DELETE", "/v1/contacts/bob", token, nil, nil), http.StatusNoContent, "")
	want(t, "delete again", r.call("DELETE", "/v1/contacts/bob", token, nil, nil), http.StatusNoContent, "")
	var list wire.Contacts
	want(t, "list", r.call("GET", "/v1/contacts", token, nil, &list), http.StatusOK, "")
	if len(list.Contacts) != 1 || list.Contacts[0] != (wire.ContactEntry{Name: "carol", Relation: wire.RelationBlocked}) {
		t.Errorf("list %+v", list)
	}
	if len(r.contact) != 5 || <-r.contact != [2]string{"alice", "bob"} {
		t.Errorf("%d hooks", len(r.contact))
	}
}
