package ratchet

import (
	"encoding/binary"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// testStart is the time at which every test begins.
func testStart() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// testDevice is a device with all its private keys and a stock of prekeys.
type testDevice struct {
	party    Party
	account  key.SigningPrivate
	signing  key.SigningPrivate
	exchange key.ExchangePrivate
	chain    [][]byte
	root     []byte // of the realm
	manifest []byte

	signedPrekey key.ExchangePrivate // id 1
	lastResort   key.KEMPrivate      // id 2
	oneTime      key.ExchangePrivate // id 3
	oneTimeKEM   key.KEMPrivate      // id 4
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // test material only; the test fails with a trace
	}
	return v
}

func newTestDevice(user string) *testDevice {
	return newTestDeviceIn(must(identity.NewRoot("chat.example.com", testStart().Add(-time.Hour))), user)
}

// testRealmDevices are two devices of one realm.
func testRealmDevices() [2]*testDevice {
	root := must(identity.NewRoot("chat.example.com", testStart().Add(-time.Hour)))
	return [2]*testDevice{newTestDeviceIn(root, "alice"), newTestDeviceIn(root, "bob")}
}

func newTestDeviceIn(root *identity.Authority, user string) *testDevice {
	now := testStart().Add(-time.Hour)
	d := &testDevice{
		account: key.GenerateSigning(), signing: key.GenerateSigning(), exchange: key.GenerateExchange(),
		signedPrekey: key.GenerateExchange(), lastResort: key.GenerateKEM(),
		oneTime: key.GenerateExchange(), oneTimeKEM: key.GenerateKEM(),
	}
	d.party = Party{
		Address: identity.Address{User: user, Domain: "chat.example.com"},
		Device:  key.NewDeviceID(d.signing.Public(), d.exchange.Public()),
	}
	d.root = root.Cert.Raw
	issuing := must(root.NewIssuing("chat.example.com", now))
	leaf := must(issuing.CertifyAccount(d.account.Public(), d.party.Address, now))
	d.chain = [][]byte{leaf, issuing.Cert.Raw}
	m := identity.Manifest{Address: d.party.Address, Version: 1, Time: now, Devices: []identity.Device{{
		ID: d.party.Device, Signing: d.signing.Public(), Exchange: d.exchange.Public(), Name: user + "-laptop", Added: now,
	}}}
	d.manifest = must(m.Sign(d.account))
	return d
}

func (d *testDevice) self() SelfKeys {
	return SelfKeys{
		Party: d.party, Account: d.account.Public(), Signing: d.signing.Public(),
		Exchange: d.exchange, Chain: d.chain, Manifest: d.manifest,
	}
}

func (d *testDevice) sign(p identity.Prekey) identity.Prekey {
	p.Expires = testStart().Add(identity.PrekeyLifetime)
	return must(identity.SignPrekey(d.signing, d.party.Device, d.party.Address, p))
}

// bundle returns the prekey bundle, with one-time keys or without.
func (d *testDevice) bundle(oneTime bool) Bundle {
	b := Bundle{
		Party: d.party, Account: d.account.Public(), Manifest: d.manifest,
		SignedPrekey: d.sign(identity.Prekey{Kind: identity.SignedExchange, ID: 1, Exchange: d.signedPrekey.Public()}),
		KEMPrekey:    d.sign(identity.Prekey{Kind: identity.LastResortKEM, ID: 2, KEM: d.lastResort.Public()}),
	}
	if oneTime {
		p := d.sign(identity.Prekey{Kind: identity.OneTimeExchange, ID: 3, Exchange: d.oneTime.Public()})
		b.OneTime = &p
		b.KEMPrekey = d.sign(identity.Prekey{Kind: identity.OneTimeKEM, ID: 4, KEM: d.oneTimeKEM.Public()})
	}
	return b
}

// keys returns the private prekeys that a header names.
func (d *testDevice) keys(h *InitialHeader) ResponderKeys {
	rk := ResponderKeys{
		SignedPrekey: ExchangePrekey{ID: 1, Private: d.signedPrekey},
		KEM:          KEMPrekey{Kind: identity.LastResortKEM, ID: 2, Private: d.lastResort},
	}
	if h.HasOneTime {
		rk.OneTime = &ExchangePrekey{ID: 3, Private: d.oneTime}
	}
	if h.KEMKind == identity.OneTimeKEM {
		rk.KEM = KEMPrekey{Kind: identity.OneTimeKEM, ID: 4, Private: d.oneTimeKEM}
	}
	return rk
}

func (d *testDevice) verified() VerifiedPeer {
	return VerifiedPeer{Party: d.party, Account: d.account.Public()}
}

// accept opens an initial message of peer.
func (d *testDevice) accept(peer *testDevice, m Meta, ct []byte, now time.Time) (OpenResult, error) {
	h, err := ParseInitial(ct)
	if err != nil {
		return OpenResult{}, err
	}
	return Accept(d.self(), d.keys(h), peer.verified(), m, ct, now)
}

func meta(from, to *testDevice, id uint64) Meta {
	m := Meta{Class: ClassDurable, Sender: from.party, Recipient: to.party}
	binary.BigEndian.PutUint64(m.MessageID[8:], id)
	return m
}

// testOwn is the manifest that senders name.
func testOwn() ManifestRef { return ManifestRef{Version: 7, Hash: [32]byte{1, 2, 3}} }

// testKeys stores skipped message keys like a caller.
type testKeys map[SkippedRef][]byte

func (k testKeys) Lookup(ref SkippedRef) ([]byte, bool) {
	b, ok := k[ref]
	return b, ok
}

func (k testKeys) commit(res OpenResult) {
	if res.Used != nil {
		delete(k, *res.Used)
	}
	for _, s := range res.Skipped {
		k[s.Ref] = s.Key.Bytes()
	}
}

// testPair is an established session seen from both ends.
type testPair struct {
	t      *testing.T
	dev    [2]*testDevice
	s      [2]*Session
	keys   [2]testKeys
	now    time.Time
	nextID uint64
}

// letter is an envelope on its way.
type letter struct {
	from int
	m    Meta
	ct   []byte
	text string
}

// newPair creates a session that both ends have confirmed.
func newPair(t *testing.T) *testPair {
	t.Helper()
	p := newUnansweredPair(t)
	p.roundTrip()
	return p
}

// newUnansweredPair creates a session of which only the first message was opened.
func newUnansweredPair(t *testing.T) *testPair {
	t.Helper()
	p := &testPair{t: t, now: testStart(), keys: [2]testKeys{{}, {}}}
	p.dev = [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")}
	var err error
	if p.s[0], err = Initiate(p.dev[0].self(), p.dev[1].bundle(true), p.now); err != nil {
		t.Fatal(err)
	}
	first := p.seal(0, "first")
	res, err := p.dev[1].accept(p.dev[0], first.m, first.ct, p.now)
	if err != nil {
		t.Fatal(err)
	}
	if string(res.Plaintext) != "first" {
		t.Fatalf("first message opened as %q", res.Plaintext)
	}
	p.s[1] = res.Next
	return p
}

func (p *testPair) seal(from int, text string) letter {
	p.t.Helper()
	p.nextID++
	l := letter{from: from, m: meta(p.dev[from], p.dev[1-from], p.nextID), text: text}
	var err error
	if p.s[from], l.ct, err = p.s[from].Seal(l.m, testOwn(), []byte(text), p.now); err != nil {
		p.t.Fatalf("seal %q: %v", text, err)
	}
	return l
}

// tryOpen opens and commits, or leaves everything as it was.
func (p *testPair) tryOpen(l letter) error {
	to := 1 - l.from
	res, err := p.s[to].Open(l.m, l.ct, p.keys[to], p.now)
	if err != nil {
		return err
	}
	if string(res.Plaintext) != l.text {
		p.t.Fatalf("opened %q as %q", l.text, res.Plaintext)
	}
	p.s[to] = res.Next
	p.keys[to].commit(res)
	return nil
}

func (p *testPair) open(l letter) {
	p.t.Helper()
	if err := p.tryOpen(l); err != nil {
		p.t.Fatalf("open %q: %v", l.text, err)
	}
}

// roundTrip sends one message from end 1 and then one from end 0.
func (p *testPair) roundTrip() {
	p.t.Helper()
	p.open(p.seal(1, "pong"))
	p.open(p.seal(0, "ping"))
}
