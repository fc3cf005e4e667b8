package ratchet

import (
	"bytes"
	"errors"
	"testing"
)

// fuzzPair is a session with every kind of state: skipped messages, an outstanding offer, an answer in
// the chain.
func fuzzPair() *testPair {
	t := &testing.T{}
	p := newPair(t)
	p.now = p.now.Add(OfferInterval)
	p.open(p.seal(1, "offer"))
	p.open(p.seal(0, "answer and offer"))
	p.seal(1, "lost")
	p.open(p.seal(1, "x"))
	return p
}

func FuzzParseInitial(f *testing.F) {
	alice, bob := newTestDevice("alice"), newTestDevice("bob")
	for _, oneTime := range []bool{true, false} {
		self := alice.self()
		if oneTime {
			self.Extensions = []Extension{{Type: 1, Data: []byte("x")}, {Type: 9}}
		}
		a := must(Initiate(self, bob.bundle(oneTime), testStart()))
		_, ct, err := a.Seal(meta(alice, bob, 1), testOwn(), []byte("seed"), testStart())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ct)
		f.Add(ct[:200])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseInitial(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
				t.Fatalf("the error wraps none of the package's errors: %v", err)
			}
			return
		}
		prelude, err := h.marshal()
		if err != nil {
			t.Fatalf("what was parsed cannot be written: %v", err)
		}
		if !bytes.Equal(prelude, must(parseEnvelope(b)).prelude) {
			t.Fatal("a prelude with two encodings")
		}
		if _, err := HandshakeHash(meta(alice, bob, 1), b); err != nil {
			t.Fatalf("no handshake hash: %v", err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	p := fuzzPair()
	for from := range 2 {
		f.Add(p.seal(from, "seed").ct)
	}
	good := p.seal(0, "good")
	before := p.s[1].Marshal()
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &work{}
		_, _, err := p.s[1].st.open(good.m, b, p.keys[1], unix(p.now), w)
		if err == nil && !bytes.Equal(b, good.ct) {
			t.Fatal("a forgery opens")
		}
		if w.steps > MaxSkip+1 || w.trials > MaxOldHeaderKeys+2 {
			t.Fatalf("%d steps, %d trials", w.steps, w.trials)
		}
		if !bytes.Equal(before, p.s[1].Marshal()) {
			t.Fatal("state changed")
		}
	})
}

func FuzzParseSession(f *testing.F) {
	p := fuzzPair()
	f.Add(p.s[0].Marshal())
	f.Add(p.s[1].Marshal())
	u := newUnansweredPair(&testing.T{})
	f.Add(u.s[0].Marshal())
	f.Add(u.s[1].Marshal())
	l := p.seal(0, "x")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSession(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("the error wraps none of the package's errors: %v", err)
			}
			return
		}
		if !bytes.Equal(s.Marshal(), b) {
			t.Fatal("a state with two stored forms")
		}
		// Every state that was parsed works without a panic and without producing envelopes that are
		// too long.
		m := Meta{Class: ClassDurable, Sender: s.Self(), Recipient: s.Peer()}
		if _, ct, err := s.Seal(m, testOwn(), []byte("x"), p.now); err == nil && len(ct) > MaxEnvelope {
			t.Fatalf("envelope of %d bytes", len(ct))
		}
		m.Sender, m.Recipient = m.Recipient, m.Sender
		if _, err := s.Open(m, l.ct, nil, p.now); err == nil && !bytes.Equal(b, p.s[1].Marshal()) {
			t.Log("opened by another state")
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	h := header{ratchet: [32]byte{9}, previous: 1, number: 2}
	f.Add(h.marshal())
	h.offer = &offer{id: 3, ek: make([]byte, kemPublicSize)}
	f.Add(h.marshal())
	h.answer = &answer{id: 4, ct: make([]byte, kemTextSize)}
	f.Add(h.marshal())
	h.offer = nil
	f.Add(h.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err == nil && !bytes.Equal(h.marshal(), b) {
			t.Fatal("a header with two encodings")
		}
	})
}

// A body from an authenticated peer has exactly one interpretation.
func FuzzUnframe(f *testing.F) {
	f.Add(frame(testOwn(), []byte("content")))
	f.Add(make([]byte, manifestRefSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		ref, content, err := unframe(b)
		if err == nil && (!ref.valid() || !bytes.Equal(frame(ref, content), b)) {
			t.Errorf("%x is encoded differently again", b)
		}
	})
}
