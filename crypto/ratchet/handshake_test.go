package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

func TestHandshakeBothWays(t *testing.T) {
	for _, oneTime := range []bool{true, false} {
		t.Run(fmt.Sprintf("oneTime=%v", oneTime), func(t *testing.T) {
			alice, bob := newTestDevice("alice"), newTestDevice("bob")
			now := testStart()
			a, err := Initiate(alice.self(), bob.bundle(oneTime), now)
			if err != nil {
				t.Fatal(err)
			}
			m := meta(alice, bob, 1)
			a, ct, err := a.Seal(m, testOwn(), []byte("hello"), now)
			if err != nil {
				t.Fatal(err)
			}
			h, err := ParseInitial(ct)
			if err != nil {
				t.Fatal(err)
			}
			if h.HasOneTime != oneTime || h.Device != alice.party.Device || h.ResponderVersion != 1 ||
				h.ResponderHash != identity.ManifestHash(bob.manifest) || !bytes.Equal(h.Manifest, alice.manifest) ||
				!bytes.Equal(h.Chain[0], alice.chain[0]) || !bytes.Equal(h.Chain[1], alice.chain[1]) {
				t.Fatalf("the header differs from the given values: %+v", h)
			}
			res, err := bob.accept(alice, m, ct, now)
			if err != nil {
				t.Fatal(err)
			}
			b := res.Next
			if string(res.Plaintext) != "hello" || a.TranscriptHash() != b.TranscriptHash() || a.HandshakeHash() != b.HandshakeHash() {
				t.Fatal("ends disagree")
			}
			if hash, err := HandshakeHash(m, ct); err != nil || hash != b.HandshakeHash() {
				t.Fatalf("handshake hash of the message: %v", err)
			}
			if a.Confirmed() || b.Confirmed() || !a.Initiator() || b.Initiator() {
				t.Fatal("the session is confirmed before a reply")
			}
			reply := meta(bob, alice, 2)
			b, ct, err = b.Seal(reply, testOwn(), []byte("hi"), now)
			if err != nil || IsInitial(ct) {
				t.Fatalf("reply: %v", err)
			}
			res, err = a.Open(reply, ct, nil, now)
			if err != nil || string(res.Plaintext) != "hi" || !res.Next.Confirmed() {
				t.Fatalf("reply: %v", err)
			}
			m = meta(alice, bob, 3)
			_, ct, err = res.Next.Seal(m, testOwn(), nil, now)
			if err != nil || IsInitial(ct) {
				t.Fatalf("after the reply: initial %v, %v", IsInitial(ct), err)
			}
			res, err = b.Open(m, ct, nil, now)
			if err != nil || len(res.Plaintext) != 0 || !res.Next.Confirmed() {
				t.Fatalf("after the reply: %v", err)
			}
		})
	}
}

// The prelude repeats until the first reply, and the existing session opens such messages in any order,
// also after the responder has replied.
func TestInitialMessagesRepeat(t *testing.T) {
	p := newUnansweredPair(t)
	var list []letter
	for i := range 5 {
		l := p.seal(0, fmt.Sprint("repeat ", i))
		if !IsInitial(l.ct) || len(l.ct) > 12<<10 {
			t.Fatalf("message %d: initial %v, %d bytes", i, IsInitial(l.ct), len(l.ct))
		}
		if h, err := HandshakeHash(l.m, l.ct); err != nil || h != p.s[1].HandshakeHash() {
			t.Fatalf("handshake hash differs: %v", err)
		}
		list = append(list, l)
	}
	reply := p.seal(1, "reply")
	for _, i := range []int{3, 0, 4, 2, 1} {
		p.open(list[i])
	}
	p.open(reply)
	p.roundTrip()
}

// Fits identifies the session of an envelope without opening it.
func TestFits(t *testing.T) {
	p, q := newPair(t), newPair(t)
	l := p.seal(0, "x")
	if !p.s[1].Fits(l.m, l.ct) {
		t.Error("does not fit its own session")
	}
	if q.s[1].Fits(l.m, l.ct) || p.s[0].Fits(l.m, l.ct) || p.s[1].Fits(l.m, l.ct[:40]) {
		t.Error("fits a session that is not its own")
	}
}

func TestAcceptChecksWhatItIsGiven(t *testing.T) {
	alice, bob, eve := newTestDevice("alice"), newTestDevice("bob"), newTestDevice("eve")
	now := testStart()
	a := must(Initiate(alice.self(), bob.bundle(true), now))
	m := meta(alice, bob, 1)
	_, ct, err := a.Seal(m, testOwn(), []byte("x"), now)
	if err != nil {
		t.Fatal(err)
	}
	h := must(ParseInitial(ct))
	good := func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
		return bob.self(), bob.keys(h), alice.verified(), m
	}
	cases := []struct {
		name string
		want error
		run  func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta)
	}{
		{"pin of another account key", ErrParty, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			p.Account = eve.account.Public()
			return s, rk, p, m
		}},
		{"another peer than the envelope says", ErrParty, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, _, m := good()
			return s, rk, eve.verified(), m
		}},
		{"another device of the peer", ErrParty, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			p.Party.Device = eve.party.Device
			m.Sender = p.Party
			return s, rk, p, m
		}},
		{"another user with the same key", ErrParty, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			p.Party.Address.User = "alicia"
			m.Sender = p.Party
			return s, rk, p, m
		}},
		{"not for this device", ErrParty, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			s.Party.Device = eve.party.Device
			return s, rk, p, m
		}},
		{"wrong signed prekey id", ErrBundle, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			rk.SignedPrekey.ID = 9
			return s, rk, p, m
		}},
		{"missing one-time prekey", ErrBundle, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			rk.OneTime = nil
			return s, rk, p, m
		}},
		{"KEM prekey of the other kind", ErrBundle, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			rk.KEM = KEMPrekey{Kind: identity.LastResortKEM, ID: 2, Private: bob.lastResort}
			return s, rk, p, m
		}},
		{"wrong KEM key under the right id", ErrNoSession, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			rk.KEM.Private = bob.lastResort
			return s, rk, p, m
		}},
		{"another account key of one's own", ErrNoSession, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			s.Account = eve.account.Public()
			return s, rk, p, m
		}},
		{"other message id", ErrOpen, func() (SelfKeys, ResponderKeys, VerifiedPeer, Meta) {
			s, rk, p, m := good()
			m.MessageID[0]++
			return s, rk, p, m
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, rk, p, m := c.run()
			if _, err := Accept(s, rk, p, m, ct, now); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	s, rk, p, m := good()
	if _, err := Accept(s, rk, p, m, ct, now); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
}

// Every byte of the clear part is authenticated: no changed message opens.
func TestPreludeIsBound(t *testing.T) {
	alice, bob := newTestDevice("alice"), newTestDevice("bob")
	now := testStart()
	self := alice.self()
	self.Extensions = []Extension{{Type: ExtensionChainProof, Data: []byte("proof")}, {Type: 77, Data: []byte("later")}}
	a := must(Initiate(self, bob.bundle(true), now))
	m := meta(alice, bob, 1)
	_, ct, err := a.Seal(m, testOwn(), []byte("x"), now)
	if err != nil {
		t.Fatal(err)
	}
	e := must(parseEnvelope(ct))
	for i := envelopeFixed; i < envelopeFixed+2+len(e.prelude); i += 3 * raceDivisor {
		bad := bytes.Clone(ct)
		bad[i] ^= 0x01
		if _, err := bob.accept(alice, m, bad, now); err == nil {
			t.Fatalf("the message opens with byte %d of the clear part changed", i)
		}
	}
	res, err := bob.accept(alice, m, ct, now)
	if err != nil || string(res.Plaintext) != "x" {
		t.Fatalf("unknown extensions that may be skipped: %v", err)
	}
	h := must(ParseInitial(ct))
	if len(h.Extensions) != 2 || string(h.Extensions[1].Data) != "later" {
		t.Fatalf("extensions: %v", h.Extensions)
	}
	self.Extensions = []Extension{{Type: extensionCritical}}
	if _, err := Initiate(self, bob.bundle(true), now); !errors.Is(err, ErrFormat) {
		t.Errorf("critical extension: %v", err)
	}
	self.Extensions = []Extension{{Type: 2}, {Type: 1}}
	if _, err := Initiate(self, bob.bundle(true), now); !errors.Is(err, ErrFormat) {
		t.Errorf("extensions out of order: %v", err)
	}
}

func TestNothingSecretPrints(t *testing.T) {
	p := newPair(t)
	p.seal(0, "lost")
	l := p.seal(0, "canary text")
	res, err := p.s[1].Open(l.m, l.ct, p.keys[1], p.now)
	if err != nil {
		t.Fatal(err)
	}
	set := must(Set{}.Add(p.s[0], p.now))
	values := []any{
		p.s[0], *p.s[0], res, &res, res.Skipped, res.Skipped[0], res.Skipped[0].Key, set, set.Entries(),
		p.dev[0].self(), p.dev[0].keys(&InitialHeader{HasOneTime: true}),
	}
	st := p.s[0].st
	secrets := [][]byte{
		st.root[:], st.sendKey[:], st.recvKey[:], st.sendHeader[:], st.ratchetPrivate[:],
		res.Skipped[0].Key.Bytes(), p.dev[0].exchange.Seed(), []byte("canary text"),
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			checkClean(t, fmt.Sprintf(verb, v), secrets)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		checkClean(t, log.String(), secrets)
	}
}

func checkClean(t *testing.T, text string, secrets [][]byte) {
	t.Helper()
	for _, s := range secrets {
		part := s[:8]
		for _, form := range []string{
			string(part), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part),
			strings.Trim(fmt.Sprint(part), "[]"), strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
		} {
			if strings.Contains(text, form) {
				t.Fatalf("prints a secret: %.120q", text)
			}
		}
	}
}

func TestInitiateRefusesBadBundles(t *testing.T) {
	alice, bob, eve := newTestDevice("alice"), newTestDevice("bob"), newTestDevice("eve")
	now := testStart()
	change := func(f func(*Bundle)) Bundle {
		b := bob.bundle(true)
		f(&b)
		return b
	}
	cases := map[string]struct {
		b    Bundle
		at   time.Time
		want error
	}{
		"expired":               {bob.bundle(true), now.Add(91 * 24 * time.Hour), ErrBundle},
		"manifest of another":   {change(func(b *Bundle) { b.Manifest = eve.manifest }), now, ErrBundle},
		"pin of another":        {change(func(b *Bundle) { b.Account = eve.account.Public() }), now, ErrBundle},
		"device not listed":     {change(func(b *Bundle) { b.Party.Device = eve.party.Device }), now, ErrBundle},
		"no KEM prekey":         {change(func(b *Bundle) { b.KEMPrekey = identity.Prekey{} }), now, ErrBundle},
		"no signed prekey":      {change(func(b *Bundle) { b.SignedPrekey = identity.Prekey{} }), now, ErrBundle},
		"empty one-time prekey": {change(func(b *Bundle) { b.OneTime = &identity.Prekey{} }), now, ErrBundle},
		"oneself":               {alice.bundle(true), now, ErrParty},
	}
	for name, c := range cases {
		if _, err := Initiate(alice.self(), c.b, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	self := alice.self()
	self.Exchange = key.GenerateExchange()
	if _, err := Initiate(self, bob.bundle(true), now); !errors.Is(err, ErrParty) {
		t.Errorf("own key that the manifest does not list: %v", err)
	}
	self = alice.self()
	self.Chain = self.Chain[:1]
	if _, err := Initiate(self, bob.bundle(true), now); !errors.Is(err, ErrFormat) {
		t.Errorf("chain without issuer: %v", err)
	}
}
