package ratchet

import (
	"bytes"
	"errors"
	"testing"

	"secmsg/crypto/seal"
)

// forgeNext seals as the session's own next message, with a changed header: a peer who has every key
// and violates the protocol.
func (p *testPair) forgeNext(from int, change func(s *state, h *header)) letter {
	p.t.Helper()
	st := p.s[from].st.clone()
	if st.turn {
		if err := st.beginChain(); err != nil {
			p.t.Fatal(err)
		}
	}
	h := header{ratchet: st.ratchetPublic, previous: st.sendPrevious, number: st.sendNumber, answer: st.answer}
	change(st, &h)
	_, message := chainStep(st.sendKey)
	l := letter{from: from, m: meta(p.dev[from], p.dev[1-from], 1<<41), text: "forged"}
	var err error
	if l.ct, err = sealEnvelope(l.m, testOwn(), st.prelude, st.sendHeader, message, h, []byte(l.text)); err != nil {
		p.t.Fatal(err)
	}
	return l
}

func TestPeerBreaksTheProtocol(t *testing.T) {
	inChain := func(t *testing.T) *testPair { return newPair(t) }
	newChain := func(t *testing.T) *testPair {
		p := newPair(t)
		p.open(p.seal(1, "turn"))
		return p
	}
	ek := bytes.Repeat([]byte{0}, kemPublicSize) // all zero: a key that parses
	cases := []struct {
		name   string
		pair   func(*testing.T) *testPair
		change func(*state, *header)
		want   error
	}{
		{"nothing, in the chain", inChain, func(*state, *header) {}, nil},
		{"nothing, in a new chain", newChain, func(*state, *header) {}, nil},
		{"ratchet key changes inside a chain", inChain, func(_ *state, h *header) { h.ratchet = [32]byte{9} }, ErrPeer},
		{"previous chain shrinks", newChain, func(_ *state, h *header) { h.previous = 0 }, ErrPeer},
		{"previous chain before the first", newUnopenedPair, func(_ *state, h *header) { h.previous = 1 }, ErrPeer},
		{"offer in an initial message", newUnansweredPair, func(_ *state, h *header) { h.offer = &offer{id: 1, ek: ek} }, ErrPeer},
		{"offer in a regular message", inChain, func(_ *state, h *header) { h.offer = &offer{id: 1, ek: ek} }, nil},
		{"answer in an initial message", newUnansweredPair, func(_ *state, h *header) { h.answer = &answer{id: 1, ct: make([]byte, kemTextSize)} }, ErrPeer},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := c.pair(t)
			before := p.s[1].Marshal()
			l := p.forgeNext(0, c.change)
			if err := p.tryOpen(l); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil {
				if !bytes.Equal(before, p.s[1].Marshal()) {
					t.Fatal("state changed")
				}
				p.open(p.seal(0, "on"))
			}
		})
	}
}

// newUnopenedPair is a pair before the responder has opened the first message.
func newUnopenedPair(t *testing.T) *testPair {
	t.Helper()
	p := &testPair{t: t, now: testStart(), keys: [2]testKeys{{}, {}}}
	p.dev = [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")}
	p.s[0] = must(Initiate(p.dev[0].self(), p.dev[1].bundle(true), p.now))
	m := meta(p.dev[0], p.dev[1], 1)
	next, ct, err := p.s[0].Seal(m, testOwn(), nil, p.now)
	if err != nil {
		t.Fatal(err)
	}
	h := must(ParseInitial(ct))
	st, err := acceptState(p.dev[1].self(), p.dev[1].keys(h), p.dev[0].verified(), m, ct, p.now)
	if err != nil {
		t.Fatal(err)
	}
	p.s[0], p.s[1] = next, &Session{st: st}
	return p
}

// A peer can compute the header key of a second chain without an answer to the first; the receiver does
// not try it.
func TestPeerCannotBeginTwoChainsInARow(t *testing.T) {
	p := newPair(t)
	p.open(p.seal(1, "turn"))
	p.open(p.seal(0, "in turn"))
	evil := p.s[0].st.clone()
	if err := evil.beginChain(); err != nil {
		t.Fatal(err)
	}
	m := meta(p.dev[0], p.dev[1], 7)
	_, ct, err := evil.seal(m, testOwn(), []byte("x"), unix(p.now))
	if err != nil {
		t.Fatal(err)
	}
	// The forgery is valid except for the turn.
	able := p.s[1].st.clone()
	able.turn = false
	if _, _, err := able.open(m, ct, nil, unix(p.now), &work{}); err != nil {
		t.Fatalf("the forged message is invalid for another reason: %v", err)
	}
	if _, err := p.s[1].Open(m, ct, nil, p.now); !errors.Is(err, ErrNoSession) {
		t.Errorf("chain out of turn: %v", err)
	}
	p.roundTrip()
}

// A state that was set back seals again with the same message key; because of the salt, no key and
// nonce recur.
func TestRollbackRepeatsNoNonce(t *testing.T) {
	p := newPair(t)
	m := meta(p.dev[0], p.dev[1], 1)
	seen := map[seal.Salt]bool{}
	bodies := map[string]bool{}
	for range 50 {
		_, ct, err := p.s[0].Seal(m, testOwn(), []byte("the same text"), p.now)
		if err != nil {
			t.Fatal(err)
		}
		e := must(parseEnvelope(ct))
		seen[e.salt] = true
		bodies[string(e.body)] = true
		bodies[string(e.header)] = true
	}
	if len(seen) != 50 || len(bodies) != 100 {
		t.Errorf("%d salts, %d boxes of 50 envelopes", len(seen), len(bodies))
	}
}

func TestHeaderIsStrict(t *testing.T) {
	key := [32]byte{9}
	ek, ct := make([]byte, kemPublicSize), make([]byte, kemTextSize)
	plain := header{ratchet: key, previous: 1, number: 2}
	withOffer, withAnswer, both := plain, plain, plain
	withOffer.offer = &offer{id: 3, ek: ek}
	withAnswer.answer = &answer{id: 4, ct: ct}
	both.offer, both.answer = withOffer.offer, withAnswer.answer
	for name, h := range map[string]header{"plain": plain, "offer": withOffer, "answer": withAnswer, "both": both} {
		b := h.marshal()
		if got, err := parseHeader(b); err != nil || !bytes.Equal(got.marshal(), b) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := parseHeader(append(bytes.Clone(b), 0)); err == nil {
			t.Errorf("%s: lengthened", name)
		}
		if _, err := parseHeader(b[:len(b)-1]); err == nil {
			t.Errorf("%s: cut", name)
		}
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[headerSizeNone-1] ^= 1 << bit
			got, err := parseHeader(bad)
			// Offer and answer have the same length. With exchanged flags the content may be parsed as
			// the other flag says, never as anything else.
			if err == nil && !bytes.Equal(got.marshal(), bad) {
				t.Errorf("%s: flag %d", name, bit)
			}
		}
	}
	if len(withOffer.marshal()) != len(withAnswer.marshal()) {
		t.Error("an offer and an answer differ in length")
	}
	b := withAnswer.marshal()
	b[len(b)-1] = 1
	if _, err := parseHeader(b); err == nil {
		t.Error("filling that is not zero")
	}
}

// A session added to a full set is kept, although it is preferred to none: further messages of it are
// under way.
func TestSetKeepsWhatIsAdded(t *testing.T) {
	alice, bob := newTestDevice("alice"), newTestDevice("bob")
	set := Set{}
	now := testStart()
	for range MaxPrevious + 1 {
		set = must(set.Initiate(alice.self(), bob.bundle(false), now))
	}
	late := must(Initiate(alice.self(), bob.bundle(false), now.Add(-OfferInterval)))
	before := set
	set = must(set.Add(late, now))
	if _, ok := set.ByHandshake(late.HandshakeHash()); !ok || len(set.Entries()) != MaxPrevious+1 {
		t.Fatalf("added session is gone; %d sessions", len(set.Entries()))
	}
	if set.Active().TranscriptHash() != before.Active().TranscriptHash() {
		t.Error("an older generation became active")
	}
}

// States that no sequence of operations produces do not parse, and a parsed state has exactly one
// stored form.
func TestStoredFormIsStrict(t *testing.T) {
	p := newPair(t)
	p.now = p.now.Add(OfferInterval)
	for range 3 {
		p.seal(0, "lost")
		p.open(p.seal(0, "x"))
		p.open(p.seal(1, "y"))
	}
	first := newUnopenedPair(t)
	chain := func(epoch uint32) oldChain { return oldChain{epoch: epoch} }
	good := p.s[1].st
	cases := map[string]func(*state){
		"role":                     func(s *state) { s.role = 3 },
		"session with oneself":     func(s *state) { s.self = s.peer },
		"unanswered":               func(s *state) { s.unanswered = offerPatience + 1 },
		"prelude once confirmed":   func(s *state) { s.prelude = first.s[0].st.prelude },
		"initiator without":        func(s *state) { s.role, s.confirmed = roleInitiator, false },
		"old chains out of order":  func(s *state) { s.old = []oldChain{chain(2), chain(1)} },
		"old chain of the future":  func(s *state) { s.old = []oldChain{chain(s.epoch)} },
		"too many old chains":      func(s *state) { s.old = make([]oldChain, MaxOldHeaderKeys+1) },
		"offers out of order":      func(s *state) { s.offers = []ownOffer{{id: 2}, {id: 1}}; s.offerNext = 9 },
		"offer of the future":      func(s *state) { s.offers = []ownOffer{{id: s.offerNext}} },
		"too many offers":          func(s *state) { s.offers = make([]ownOffer, MaxOffers+1); s.offerNext = 9 },
		"peer's offer is no key":   func(s *state) { s.peerOffer = &offer{id: s.peerSeen, ek: bytes.Repeat([]byte{255}, kemPublicSize)} },
		"peer's offer not noted":   func(s *state) { s.peerOffer = &offer{id: s.peerSeen + 1, ek: make([]byte, kemPublicSize)} },
		"peer's key of low order":  func(s *state) { s.remote = [32]byte{1} },
		"time before 1970":         func(s *state) { s.offerTime = -1 },
		"old chain closed in 1969": func(s *state) { s.old = []oldChain{{epoch: 1, closed: -1}} },
	}
	for name, change := range cases {
		s := good.clone()
		change(s)
		if _, err := ParseSession(s.marshal()); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := good.marshal()
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x82
		s, err := ParseSession(bad)
		if err == nil && !bytes.Equal(s.Marshal(), bad) {
			t.Fatalf("byte %d: two stored forms of one state", i)
		}
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("byte %d: the error wraps none of the package's errors: %v", i, err)
		}
	}
}
