package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/rand"
	"slices"
	"testing"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// vectorRun is a vector under construction.
type vectorRun struct {
	v    vector
	p    *testPair
	t    *testing.T
	held []int
	last int // the last message that was sent
}

// drawn returns 32 random bytes.
func drawn() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// encapsulate is ML-KEM.Encaps_internal.
func encapsulate(ek, m []byte) (shared, ct []byte) {
	pub := must(mlkem.NewEncapsulationKey768(ek))
	shared, ct, err := mlkemtest.Encapsulate768(pub, m)
	if err != nil {
		panic(err)
	}
	return shared, ct
}

func makeVector(t *testing.T, comment, script string, oneTime bool) vector {
	t.Helper()
	p := &testPair{t: t, now: testStart(), keys: [2]testKeys{{}, {}}}
	p.dev = testRealmDevices()
	r := &vectorRun{p: p, t: t, v: vector{Comment: comment, Initiator: describe(p.dev[0]), Responder: describe(p.dev[1])}}
	alice, bob := p.dev[0], p.dev[1]
	d := &r.v.Responder
	d.SignedPrekeyID, d.SignedPrekey = 1, bob.signedPrekey.Seed()
	d.KEMKind, d.KEMPrekeyID, d.KEMPrekeySeed = uint8(identity.LastResortKEM), 2, bob.lastResort.Seed()
	if oneTime {
		d.OneTimePrekeyID, d.OneTimePrekey = 3, bob.oneTime.Seed()
		d.KEMKind, d.KEMPrekeyID, d.KEMPrekeySeed = uint8(identity.OneTimeKEM), 4, bob.oneTimeKEM.Seed()
	}
	v := &r.v
	v.RealmRoot, v.Begun, v.Generation = alice.root, unix(p.now), generationAt(unix(p.now))
	v.Ephemeral, v.Encapsulation = drawn(), drawn()
	st := v.begin(t, bob.bundle(oneTime), alice.chain)
	v.Prelude, v.Handshake, v.RootKey = st.prelude, st.handshake[:], st.root[:]
	v.FirstKey, v.NextKey = st.sendHeaderNext[:], st.recvHeaderNext[:]
	transcript := vectorTranscript(t, *v)
	v.Transcript = transcript[:]
	p.s[0] = &Session{st: st}
	for _, op := range script {
		r.do(op)
	}
	return r.v
}

func (r *vectorRun) do(op rune) {
	switch op {
	case 'a', 'A', 'L':
		r.send(0, op, true)
	case 'b', 'B', 'M':
		r.send(1, op, true)
	case 'm':
		for range OfferMessages - 1 {
			r.send(0, 'L', false)
		}
	case 'x':
		r.refuse(r.v.Messages[r.last], "a duplicate", "replay")
	case 'd':
		r.p.now = r.p.now.Add(OfferInterval)
	case 'r', 'f':
		if op == 'r' {
			slices.Reverse(r.held)
		}
		for _, i := range r.held {
			r.open(i)
		}
		r.held = nil
	case 'z':
		r.refuseForged()
	}
}

// send seals a message with drawn secrets. The stored form is omitted where many follow each other.
func (r *vectorRun) send(from int, op rune, stored bool) {
	r.t.Helper()
	r.p.nextID++
	m, own := meta(r.p.dev[from], r.p.dev[1-from], r.p.nextID), testOwn()
	msg := vectorMessage{
		From: from, Class: uint8(m.Class), MessageID: m.MessageID[:], Content: []byte("message " + string(op)),
		Manifest: own.Version, Hash: own.Hash[:],
	}
	e := vectorEvent{Op: "seal", Message: len(r.v.Messages), Time: unix(r.p.now), Salt: drawn()[:16]}
	if st := r.p.s[from].st; st.turn {
		e.RatchetPrivate = drawn()
		if st.peerOffer != nil {
			e.Encapsulation = drawn()
		}
	}
	before := r.p.s[from].st.offerNext
	st, envelope := sealDrawn(r.t, r.p.s[from].st, m, own, msg.Content, &e)
	if st.offerNext > before {
		e.OfferSeed = st.offers[len(st.offers)-1].seed[:]
	}
	r.p.s[from] = &Session{st: st}
	msg.Envelope = envelope
	if stored {
		e.Session = st.marshal()
	}
	r.last = len(r.v.Messages)
	r.v.Messages = append(r.v.Messages, msg)
	r.v.Events = append(r.v.Events, e)
	switch op {
	case 'a', 'b':
		r.open(r.last)
	case 'A', 'B':
		r.held = append(r.held, r.last)
	}
}

// sealDrawn is state.seal with the secrets of an event.
func sealDrawn(t *testing.T, s *state, m Meta, own ManifestRef, content []byte, e *vectorEvent) (*state, []byte) {
	t.Helper()
	next := s.clone()
	if next.turn {
		var kem *kemSecret
		var a *answer
		if next.peerOffer != nil {
			shared, ct := encapsulate(next.peerOffer.ek, e.Encapsulation)
			kem, a = newKEMSecret(shared, next.peerOffer.ek, ct), &answer{id: next.peerOffer.id, ct: ct}
		}
		if err := next.sendStep([32]byte(e.RatchetPrivate), kem, a); err != nil {
			t.Fatal(err)
		}
	}
	h := header{ratchet: next.ratchetPublic, previous: next.sendPrevious, number: next.sendNumber, answer: next.answer}
	fresh := next.offerNext
	var err error
	if h.offer, err = next.offer(e.Time); err != nil {
		t.Fatal(err)
	}
	if next.offerNext > fresh && e.OfferSeed != nil { // the one of the vector instead of the one just drawn
		own := &next.offers[len(next.offers)-1]
		own.seed = [kemSeedSize]byte(e.OfferSeed)
		h.offer.ek = must(key.ParseKEMSeed(e.OfferSeed)).Public().Bytes()
	}
	var message secret
	next.sendKey, message = chainStep(next.sendKey)
	next.sendNumber++
	out, err := sealSalted(m, own, next.prelude, next.sendHeader, message, h, content, [16]byte(e.Salt))
	if err != nil {
		t.Fatal(err)
	}
	return next, out
}

func (r *vectorRun) open(i int) {
	r.t.Helper()
	if r.p.s[1] == nil {
		r.p.s[1] = &Session{st: r.v.accept(r.t)}
	}
	m := r.v.Messages[i]
	if name := r.v.try(m, unix(r.p.now), r.p.s, r.p.keys); name != "" { // too late: this is the point of the script
		r.v.Events = append(r.v.Events, vectorEvent{Op: "refuse", Message: i, Time: unix(r.p.now), Note: "too late", Error: name})
		return
	}
	r.v.Events = append(r.v.Events, r.v.open(r.t, i, unix(r.p.now), &r.p.s, r.p.keys))
}

// refuse adds an envelope that must not open.
func (r *vectorRun) refuse(m vectorMessage, note, want string) {
	r.t.Helper()
	if name := r.v.try(m, unix(r.p.now), r.p.s, r.p.keys); name != want {
		r.t.Fatalf("%s: %q, want %q", note, name, want)
	}
	m.Manifest, m.Hash, m.Content = 0, nil, nil
	r.v.Messages = append(r.v.Messages, m)
	r.v.Events = append(r.v.Events, vectorEvent{Op: "refuse", Message: len(r.v.Messages) - 1, Time: unix(r.p.now), Note: note, Error: want,
		Fresh: m.From == 0 && r.p.s[1] == nil})
}

// refuseForged adds envelopes that a network, a server or a peer could create.
func (r *vectorRun) refuseForged() {
	first := r.v.Messages[0]
	change := func(m vectorMessage, fn func(m *vectorMessage)) vectorMessage {
		m.Envelope = bytes.Clone(m.Envelope)
		m.MessageID = bytes.Clone(m.MessageID)
		fn(&m)
		return m
	}
	flip := func(at int) func(*vectorMessage) {
		return func(m *vectorMessage) {
			if at < 0 {
				at += len(m.Envelope)
			}
			m.Envelope[at] ^= 1
		}
	}
	fresh := r.forge(0, func(*state, *header) {}, nil)
	r.refuse(change(fresh, flip(0)), "another version", "version")
	r.refuse(change(fresh, func(m *vectorMessage) { m.Envelope[1] = 3 }), "another kind", "format")
	r.refuse(change(fresh, func(m *vectorMessage) { m.Envelope = m.Envelope[:200] }), "cut", "format")
	r.refuse(change(fresh, flip(5)), "another salt", "no session")
	r.refuse(change(fresh, flip(21)), "header changed", "no session")
	r.refuse(change(fresh, flip(-1)), "tag of the body changed", "open")
	r.refuse(change(fresh, flip(-200)), "commitment changed", "open")
	r.refuse(change(fresh, func(m *vectorMessage) { m.MessageID[0] ^= 1 }), "another message id", "open")
	r.refuse(change(fresh, func(m *vectorMessage) { m.Class = 2 }), "another class", "open")
	r.refuse(change(fresh, func(m *vectorMessage) { m.Class = 3 }), "class 3, which is no session's", "party")
	r.refuse(change(first, flip(30)), "a prelude that is changed is another handshake's", "no session")
	r.refuse(r.forge(0, func(_ *state, h *header) { h.number += MaxSkip + 1 }, nil), "1,001 messages skipped", "skip")
	r.refuse(r.forge(0, func(_ *state, h *header) { h.ratchet[0] ^= 1 }, nil), "the ratchet key changes inside a chain", "peer")
	r.refuse(r.forge(0, func(_ *state, h *header) { h.offer = &offer{id: 9, ek: bytes.Repeat([]byte{0xff}, kemPublicSize)} }, nil),
		"an offer that FIPS 203 does not admit", "peer")
	r.refuse(r.forge(0, func(*state, *header) {}, make([]byte, manifestRefSize)), "manifest version 0", "peer")
	r.refuse(r.forge(0, func(*state, *header) {}, bytes.Repeat([]byte{0xff}, manifestRefSize)), "manifest version 2^64 - 1", "peer")
	r.refuse(r.forge(0, func(*state, *header) {}, make([]byte, manifestRefSize-1)), "a body that is too short for a manifest", "peer")
	// A new chain of the responder, at the initiator.
	r.refuse(r.forge(1, func(_ *state, h *header) { h.previous = 0 }, nil), "the previous chain shrinks", "peer")
	r.refuse(r.forge(1, func(s *state, h *header) {
		h.answer = &answer{id: 7, ct: make([]byte, kemTextSize)}
	}, nil), "an answer to an offer that is not out", "peer")
	// First messages to a responder without a session.
	ends := r.p.s
	r.p.s[1] = nil
	r.refuse(r.initial(func(h *InitialHeader) { h.Generation = latestGeneration(unix(r.p.now)) + 1 }), "121 minutes ahead of the receiver", "generation")
	r.refuse(r.initial(func(h *InitialHeader) { h.Generation = 1<<32 - 1 }), "the largest generation", "generation")
	r.refuse(r.initial(func(h *InitialHeader) { h.SignedPrekey++ }), "a prekey that the receiver has not", "bundle")
	r.refuse(r.initial(func(h *InitialHeader) { h.KEMKind = 3 }), "a KEM prekey of a kind for X25519", "format")
	r.refuse(r.initial(func(h *InitialHeader) { h.Extensions = []Extension{{Type: 128}} }), "a critical extension", "format")
	r.refuse(r.initial(func(h *InitialHeader) { h.Manifest = flipped(h.Manifest, -1) }), "a manifest that is not signed", "party")
	r.refuse(r.initial(func(h *InitialHeader) { h.KEMCiphertext = flipped(h.KEMCiphertext, 0) }), "another KEM ciphertext", "no session")
	r.refuse(change(first, func(m *vectorMessage) { m.From = 1 }), "sent back to its sender", "no session")
	r.p.s = ends
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	return b
}

// initial is the first message with another prelude than the one from which its keys were derived. It
// contains even what the parser would refuse.
func (r *vectorRun) initial(change func(h *InitialHeader)) vectorMessage {
	r.t.Helper()
	h := must(parsePrelude(r.v.Prelude))
	change(h)
	prelude, err := h.marshal()
	if err != nil { // written by hand: marshal refuses it
		prelude = bytes.Clone(r.v.Prelude)
		switch {
		case h.KEMKind == 3:
			prelude[4+16+32+40+4] = 3
		case len(h.Extensions) > 0:
			prelude = append(prelude[:len(prelude)-2], 0, 3, 128, 0, 0)
		default:
			r.t.Fatal(err)
		}
	}
	m := r.v.Messages[0]
	old := m.Envelope
	out := append(bytes.Clone(old[:18]), byte(len(prelude)>>8), byte(len(prelude)))
	out = append(out, prelude...)
	m.Envelope = append(out, old[20+len(r.v.Prelude):]...)
	return m
}

// forge seals the next message of an end with a changed header or frame, which only the peer itself can
// create.
func (r *vectorRun) forge(from int, change func(*state, *header), frame []byte) vectorMessage {
	r.t.Helper()
	st := r.p.s[from].st.clone()
	if st.turn {
		if err := st.sendStep([32]byte(drawn()), nil, nil); err != nil {
			r.t.Fatal(err)
		}
	}
	h := header{ratchet: st.ratchetPublic, previous: st.sendPrevious, number: st.sendNumber, answer: st.answer}
	change(st, &h)
	_, message := chainStep(st.sendKey)
	m := meta(r.p.dev[from], r.p.dev[1-from], 1<<40)
	own, content := testOwn(), []byte("forged")
	var out []byte
	var err error
	if frame == nil {
		out, err = sealSalted(m, own, st.prelude, st.sendHeader, message, h, content, [16]byte(drawn()))
	} else {
		out, err = sealFramed(m, st.prelude, st.sendHeader, message, h, frame, [16]byte(drawn()))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return vectorMessage{From: from, Class: uint8(m.Class), MessageID: m.MessageID[:], Envelope: out}
}
