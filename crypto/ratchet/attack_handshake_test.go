package ratchet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// lowOrderPoints are encodings for which X25519 yields zero, canonical or not (RFC 7748, section 6.1;
// the list at cr.yp.to/ecdh.html).
func lowOrderPoints(t *testing.T) [][]byte {
	t.Helper()
	var list [][]byte
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// forge signs an arbitrary body in the way of crypto/identity.
func forge(priv key.SigningPrivate, label string, body []byte) []byte {
	input := append([]byte{byte(len(label))}, label...)
	return priv.Sign(append(input, body...))
}

func TestA1_NonContributoryDH(t *testing.T) {
	alice, bob := newTestDevice("alice"), newTestDevice("bob")
	now := testStart()
	for _, point := range lowOrderPoints(t) {
		// Identity key: a correctly signed manifest that lists the point.
		body := bytes.Clone(bob.manifest[:len(bob.manifest)-key.SignatureSize])
		body = bytes.Replace(body, bob.exchange.Public().Bytes(), point, 1)
		b := bob.bundle(true)
		b.Manifest = append(body, forge(bob.account, "secmsg v1 device manifest", body)...)
		if _, err := Initiate(alice.self(), b, now); !errors.Is(err, ErrBundle) {
			t.Errorf("%x as identity key: %v", point, err)
		}
		// Prekeys arrive through ParsePrekey, which must refuse the point.
		for _, p := range []identity.Prekey{bob.bundle(true).SignedPrekey, *bob.bundle(true).OneTime} {
			raw := must(p.Marshal())
			if !bytes.Contains(raw, p.Exchange.Bytes()) {
				t.Fatal("the parsed prekey has another key")
			}
			if _, err := identity.ParsePrekey(bytes.Replace(raw, p.Exchange.Bytes(), point, 1)); err == nil {
				t.Errorf("%x as prekey parses", point)
			}
		}
		if _, err := key.ParseExchangePublic(point); err == nil {
			t.Errorf("%x parses", point)
		}
	}
	// An empty key, which is the zero point.
	b := bob.bundle(true)
	b.SignedPrekey.Exchange = key.ExchangePublic{}
	if _, err := Initiate(alice.self(), b, now); !errors.Is(err, ErrBundle) {
		t.Errorf("empty signed prekey: %v", err)
	}
	if _, err := exchangeAll([]dhPair{{alice.exchange, key.ExchangePublic{}}}); err == nil {
		t.Error("exchange with the zero point gives a secret")
	}
	// Ephemeral key and ratchet key.
	for _, point := range lowOrderPoints(t) {
		a := must(Initiate(alice.self(), bob.bundle(true), now))
		m := meta(alice, bob, 1)
		_, ct, err := a.Seal(m, testOwn(), []byte("x"), now)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Replace(ct, must(ParseInitial(ct)).Ephemeral.Bytes(), point, 1)
		if _, err := bob.accept(alice, m, bad, now); !errors.Is(err, ErrFormat) {
			t.Errorf("%x as ephemeral: %v", point, err)
		}
		p := newPair(t)
		p.open(p.seal(1, "turn"))
		evil := p.s[0].st.clone()
		if err := evil.beginChain(); err != nil {
			t.Fatal(err)
		}
		evil.ratchetPublic = [32]byte(point)
		m = meta(p.dev[0], p.dev[1], 9)
		_, ct, err = evil.seal(m, testOwn(), []byte("x"), unix(now))
		if err != nil {
			t.Fatal(err)
		}
		before := p.s[1].Marshal()
		if _, err := p.s[1].Open(m, ct, nil, now); !errors.Is(err, ErrPeer) {
			t.Errorf("%x as ratchet key: %v", point, err)
		}
		if !bytes.Equal(before, p.s[1].Marshal()) {
			t.Errorf("%x as ratchet key: state changed", point)
		}
		p.roundTrip()
	}
}

func TestA3_PrekeyInWrongContext(t *testing.T) {
	alice, bob, eve := newTestDevice("alice"), newTestDevice("bob"), newTestDevice("eve")
	now := testStart()
	later := now.Add(identity.PrekeyLifetime)
	signed := func(signer *testDevice, addr identity.Address, p identity.Prekey) identity.Prekey {
		p.Expires = later
		return must(identity.SignPrekey(signer.signing, signer.party.Device, addr, p))
	}
	spk := identity.Prekey{Kind: identity.SignedExchange, ID: 1, Exchange: bob.signedPrekey.Public()}
	asOneTime := identity.Prekey{Kind: identity.OneTimeExchange, ID: 1, Exchange: bob.signedPrekey.Public()}
	cases := map[string]func(*Bundle){
		"one-time prekey as signed prekey": func(b *Bundle) { b.SignedPrekey = *b.OneTime },
		"signed prekey as one-time prekey": func(b *Bundle) { p := b.SignedPrekey; b.OneTime = &p },
		"KEM prekey as signed prekey":      func(b *Bundle) { b.SignedPrekey = b.KEMPrekey },
		"signed prekey as KEM prekey":      func(b *Bundle) { b.KEMPrekey = b.SignedPrekey },
		"signed as one-time, kind changed": func(b *Bundle) {
			p := signed(bob, bob.party.Address, asOneTime)
			p.Kind = identity.SignedExchange
			b.SignedPrekey = p
		},
		"last-resort KEM key, kind changed": func(b *Bundle) {
			p := bob.bundle(false).KEMPrekey
			p.Kind = identity.OneTimeKEM
			b.KEMPrekey = p
		},
		"signed by another device":     func(b *Bundle) { b.SignedPrekey = signed(eve, bob.party.Address, spk) },
		"signed for another user":      func(b *Bundle) { b.SignedPrekey = signed(bob, eve.party.Address, spk) },
		"id changed":                   func(b *Bundle) { b.SignedPrekey.ID++ },
		"expiry changed":               func(b *Bundle) { b.SignedPrekey.Expires = later.Add(time.Hour) },
		"key changed":                  func(b *Bundle) { b.SignedPrekey.Exchange = eve.signedPrekey.Public() },
		"KEM key changed":              func(b *Bundle) { b.KEMPrekey.KEM = eve.lastResort.Public() },
		"signature changed":            func(b *Bundle) { b.SignedPrekey.Signature[3] ^= 1 },
		"no signature":                 func(b *Bundle) { b.SignedPrekey.Signature = nil },
		"whole bundle of another user": func(b *Bundle) { e := eve.bundle(true); e.Party = bob.party; *b = e },
	}
	for name, change := range cases {
		b := bob.bundle(true)
		change(&b)
		if _, err := Initiate(alice.self(), b, now); !errors.Is(err, ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Initiate(alice.self(), bob.bundle(true), now); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
}

// replayed returns an accepted first message, and both ends after it.
func replayed(t *testing.T, oneTime bool) (*testEnd, letter) {
	t.Helper()
	alice, bob := newTestDevice("alice"), newTestDevice("bob")
	a, b := newTestEnd(t, alice, bob), newTestEnd(t, bob, alice)
	a.initiate(oneTime, testStart())
	l := a.seal(1, "once", testStart())
	if err := b.open(l, 1, testStart()); err != nil {
		t.Fatal(err)
	}
	return b, l
}

func TestA6_InitialMessageReplay(t *testing.T) {
	b, l := replayed(t, true)
	id := b.set.Active().TranscriptHash()
	for i := range 100 {
		if i%10 == 5 {
			b.restart()
		}
		if err := b.open(l, 1, testStart()); !errors.Is(err, ErrReplay) {
			t.Fatalf("replay %d: %v", i, err)
		}
	}
	// Also after the session itself is gone.
	b.set = Set{}
	if err := b.open(l, 1, testStart()); !errors.Is(err, errNotAgain) {
		t.Fatalf("replay without session: %v", err)
	}
	if b.shown[1] != 1 || b.accepts != 1 || id == [32]byte{} {
		t.Fatalf("shown %d times, %d sessions", b.shown[1], b.accepts)
	}
}

// A set refuses a second session of one handshake, whatever its caller does.
func TestA6_SetRefusesSecondSession(t *testing.T) {
	b, l := replayed(t, false)
	res, err := b.dev.accept(b.peer, l.m, l.ct, testStart())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.set.Add(res.Next, testStart()); !errors.Is(err, ErrReplay) {
		t.Fatalf("second session of one handshake: %v", err)
	}
}

func TestA7_LastResortReplay(t *testing.T) {
	b, l := replayed(t, false)
	before := b.set.Active().Marshal()
	for _, after := range []time.Duration{time.Hour, 8 * 24 * time.Hour, 60 * 24 * time.Hour} {
		b.set = b.set.Sweep(testStart().Add(after))
		b.restart()
		if err := b.open(l, 1, testStart().Add(after)); !errors.Is(err, ErrReplay) {
			t.Fatalf("replay after %v: %v", after, err)
		}
	}
	if b.shown[1] != 1 || b.accepts != 1 || !bytes.Equal(before, b.set.Active().Marshal()) {
		t.Fatal("a replay changed something")
	}
}

func TestA19_Downgrade(t *testing.T) {
	alice, bob := newTestDevice("alice"), newTestDevice("bob")
	now := testStart()
	b := bob.bundle(true)
	b.KEMPrekey = identity.Prekey{}
	if _, err := Initiate(alice.self(), b, now); !errors.Is(err, ErrBundle) {
		t.Errorf("KEM prekey stripped: %v", err)
	}
	if _, err := Initiate(alice.self(), bob.bundle(true), now.Add(91*24*time.Hour)); !errors.Is(err, ErrBundle) {
		t.Errorf("old bundle: %v", err)
	}
	p := newPair(t)
	a := must(Initiate(alice.self(), bob.bundle(true), now))
	m := meta(alice, bob, 1)
	_, initial, err := a.Seal(m, testOwn(), []byte("x"), now)
	if err != nil {
		t.Fatal(err)
	}
	regular := p.seal(0, "x")
	for _, v := range []byte{0, 2, 255} {
		bad := bytes.Clone(initial)
		bad[0] = v
		if _, err := bob.accept(alice, m, bad, now); !errors.Is(err, ErrVersion) || IsInitial(bad) {
			t.Errorf("initial message of version %d: %v", v, err)
		}
		bad = bytes.Clone(regular.ct)
		bad[0] = v
		if _, err := p.s[1].Open(regular.m, bad, nil, now); !errors.Is(err, ErrVersion) {
			t.Errorf("message of version %d: %v", v, err)
		}
	}
	// An initial message cannot be turned into a regular one, nor the reverse.
	for _, ct := range [][]byte{initial, regular.ct} {
		bad := bytes.Clone(ct)
		bad[1] ^= kindInitial ^ kindRegular
		if _, err := p.s[1].Open(regular.m, bad, nil, now); err == nil {
			t.Error("the message opens with another kind")
		}
	}
	// A bundle without one-time keys is no downgrade: the KEM key is still used.
	if _, err := Initiate(alice.self(), bob.bundle(false), now); err != nil {
		t.Errorf("last resort: %v", err)
	}
}
