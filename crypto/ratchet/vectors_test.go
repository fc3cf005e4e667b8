package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// update rewrites crypto/testdata/ratchet. The vectors are the protocol: changing their contents means
// a new version. crypto/testdata/README.md describes their format.
var update = flag.Bool("update", false, "write new vectors")

// vectorDir is the directory of this package's vectors.
func vectorDir() string { return filepath.Join("..", "testdata", "ratchet") }

// hexBytes is a byte string that is hexadecimal in a vector.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// vectorDevice is one end with every private key.
type vectorDevice struct {
	Address         string   `json:"address"`
	Device          hexBytes `json:"device"`
	AccountSeed     hexBytes `json:"account_seed"`
	SigningSeed     hexBytes `json:"signing_seed"`
	ExchangePrivate hexBytes `json:"exchange_private"`
	Manifest        hexBytes `json:"manifest"`
	SignedPrekeyID  uint32   `json:"signed_prekey_id,omitempty"`
	SignedPrekey    hexBytes `json:"signed_prekey_private,omitempty"`
	KEMKind         uint8    `json:"kem_prekey_kind,omitempty"`
	KEMPrekeyID     uint32   `json:"kem_prekey_id,omitempty"`
	KEMPrekeySeed   hexBytes `json:"kem_prekey_seed,omitempty"`
	OneTimePrekeyID uint32   `json:"one_time_prekey_id,omitempty"`
	OneTimePrekey   hexBytes `json:"one_time_prekey_private,omitempty"`
}

// vectorMessage is an envelope and the data outside of it. One that appears only in a refusal has no
// content.
type vectorMessage struct {
	From      int      `json:"from"` // 0: initiator, 1: responder
	Class     uint8    `json:"class"`
	MessageID hexBytes `json:"message_id"`
	Manifest  uint64   `json:"manifest_version,omitempty"`
	Hash      hexBytes `json:"manifest_hash,omitempty"`
	Content   hexBytes `json:"content,omitempty"`
	Envelope  hexBytes `json:"envelope"`
}

// vectorEvent is one Seal, Open or refused Open.
type vectorEvent struct {
	Op      string `json:"op"`      // seal, open, refuse
	Message int    `json:"message"` // index
	Time    int64  `json:"time"`    // Unix seconds
	Note    string `json:"note,omitempty"`
	Error   string `json:"error,omitempty"` // of a refusal
	Fresh   bool   `json:"fresh,omitempty"` // the refusing responder has no session yet

	// The random values of a Seal.
	Salt           hexBytes `json:"salt,omitempty"`
	RatchetPrivate hexBytes `json:"ratchet_private,omitempty"` // if a chain begins
	Encapsulation  hexBytes `json:"encapsulation,omitempty"`   // if it answers an offer
	OfferSeed      hexBytes `json:"offer_seed,omitempty"`      // if a new key is offered

	Session hexBytes        `json:"session,omitempty"` // stored form afterwards
	Skipped []vectorSkipped `json:"skipped,omitempty"`
	Used    *vectorSkipped  `json:"used,omitempty"`
}

type vectorSkipped struct {
	Epoch uint32   `json:"epoch"`
	N     uint32   `json:"n"`
	Key   hexBytes `json:"key,omitempty"`
}

type vector struct {
	Comment       string          `json:"comment"`
	RealmRoot     hexBytes        `json:"realm_root"` // of both; DER
	Initiator     vectorDevice    `json:"initiator"`
	Responder     vectorDevice    `json:"responder"`
	Begun         int64           `json:"begun"` // Unix seconds
	Generation    uint32          `json:"generation"`
	Ephemeral     hexBytes        `json:"ephemeral_private"` // EK_A
	Encapsulation hexBytes        `json:"encapsulation"`     // the 32 bytes m of ML-KEM.Encaps_internal
	Prelude       hexBytes        `json:"prelude"`
	Transcript    hexBytes        `json:"transcript_hash"` // all 64 bytes, the salt
	Handshake     hexBytes        `json:"handshake_hash"`
	RootKey       hexBytes        `json:"root_key"`
	FirstKey      hexBytes        `json:"first_header_key"`
	NextKey       hexBytes        `json:"next_header_key"`
	Messages      []vectorMessage `json:"messages"`
	Events        []vectorEvent   `json:"events"`
}

// vectorErrors names the errors of refusals.
func vectorErrors() map[string]error {
	return map[string]error{
		"format": ErrFormat, "version": ErrVersion, "party": ErrParty, "no session": ErrNoSession, "replay": ErrReplay,
		"skip": ErrSkip, "open": ErrOpen, "peer": ErrPeer, "generation": ErrGeneration, "bundle": ErrBundle,
	}
}

// vectorClasses are the files: what each shows, and its script.
//
//	a b   a message of the initiator, the responder, opened at once
//	A B   one that is held back until r opens them, the newest first, or f, the oldest
//	L M   one that is lost
//	m     49 messages of the initiator that are lost
//	x     the last message is delivered again
//	d     a day passes, after which a key is offered
//	z     envelopes that the end which received last must refuse
func vectorClasses() []struct {
	name, comment, script string
	oneTime               bool
} {
	return []struct {
		name, comment, script string
		oneTime               bool
	}{
		{"handshake_one_time", "handshake with one-time prekeys, a message that repeats the prelude, a reply; changed and forged first messages", "aaxbabaz", true},
		{"handshake_last_resort", "handshake with the last-resort KEM prekey and no one-time prekey", "aba", false},
		{"skipped", "messages out of order within a chain and across chains, lost ones, a duplicate; forged messages", "abAALaxBMbarbabaz", true},
		{"kem_ratchet", "both ends offer an encapsulation key, and answer the other's", "abadbaAarba", true},
		{"offer_at_50", "an offer after 50 messages since the handshake, and its answer", "abmaaba", true},
		{"offer_repeated", "an offer that is lost is made again, under its id, after two of the peer's chains without an answer", "abadLbababababa", true},
		{"offer_third", "with two own offers out, the newest is offered again instead of a third; its answer drops both", "abadLdLdaba", true},
		{"offer_order", "two offers arrive in the other order: the older is ignored", "abadAdArba", true},
		{"offer_kept", "an answer to the first of two offers keeps the second", "abadaBdLfbaba", true},
		{"eviction", "more than five old chains: one that misses nothing is dropped first, then the oldest; what came too late is refused", "abAababAabAabAabAabAabAabfba", true},
	}
}

func TestVectors(t *testing.T) {
	for i, class := range vectorClasses() {
		t.Run(class.name, func(t *testing.T) {
			path := filepath.Join(vectorDir(), class.name+".json")
			if *update {
				cryptotest.SetGlobalRandom(t, uint64(i+1))
				v := makeVector(t, class.comment, class.script, class.oneTime)
				b := append(must(json.MarshalIndent(v, "", " ")), '\n')
				if err := os.WriteFile(path, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			checkVector(t, readVector(t, path))
		})
	}
}

func readVector(t *testing.T, path string) vector {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

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

func (m vectorMessage) meta(v vector) Meta {
	out := Meta{Class: Class(m.Class), Sender: v.Initiator.party(), Recipient: v.Responder.party(), MessageID: [16]byte(m.MessageID)}
	if m.From == 1 {
		out.Sender, out.Recipient = out.Recipient, out.Sender
	}
	return out
}

// begin creates the initiator's state from the secrets of the vector.
func (v vector) begin(t *testing.T, b Bundle, chain [][]byte) *state {
	t.Helper()
	self := v.Initiator.self()
	self.Chain, self.Manifest = chain, v.Initiator.Manifest
	shared, ct := encapsulate(b.KEMPrekey.KEM.Bytes(), v.Encapsulation)
	st, err := initiateWith(self, b, v.Generation, time.Unix(v.Begun, 0), must(key.ParseExchangePrivate(v.Ephemeral)), shared, ct)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// accept creates the responder's state before the first message is opened.
func (v vector) accept(t *testing.T) *state {
	t.Helper()
	first := v.Messages[0]
	st, err := acceptState(v.Responder.self(), v.Responder.prekeys(), v.verified(), first.meta(v), first.Envelope, time.Unix(v.Begun, 0))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (v vector) verified() VerifiedPeer {
	return VerifiedPeer{Party: v.Initiator.party(), Account: must(key.ParseSigningSeed(v.Initiator.AccountSeed)).Public()}
}

// try opens a message at its receiver without changing anything, and returns the name of the error, or
// "" if it opens. A responder without a session accepts.
func (v vector) try(m vectorMessage, now int64, ends [2]*Session, keys [2]testKeys) string {
	to := 1 - m.From
	var err error
	if to == 1 && ends[1] == nil {
		_, err = Accept(v.Responder.self(), v.Responder.prekeys(), v.verified(), m.meta(v), m.Envelope, time.Unix(now, 0))
	} else {
		_, err = ends[to].Open(m.meta(v), m.Envelope, keys[to], time.Unix(now, 0))
	}
	if err == nil {
		return ""
	}
	// Some errors wrap a cause in addition to their meaning; the meaning takes precedence.
	for _, name := range []string{"generation", "bundle", "peer", "open", "skip", "replay", "no session", "party", "version", "format"} {
		if errors.Is(err, vectorErrors()[name]) {
			return name
		}
	}
	return err.Error()
}

// open opens a message at its receiver and returns the resulting event.
func (v vector) open(t *testing.T, i int, now int64, ends *[2]*Session, keys [2]testKeys) vectorEvent {
	t.Helper()
	m := v.Messages[i]
	to := 1 - m.From
	res, err := ends[to].Open(m.meta(v), m.Envelope, keys[to], time.Unix(now, 0))
	if err != nil {
		t.Fatalf("message %d: %v", i, err)
	}
	if !bytes.Equal(res.Plaintext, m.Content) || res.Manifest.Version != m.Manifest || !bytes.Equal(res.Manifest.Hash[:], m.Hash) {
		t.Fatalf("message %d: content %q, manifest %+v", i, res.Plaintext, res.Manifest)
	}
	ends[to] = res.Next
	keys[to].commit(res)
	e := vectorEvent{Op: "open", Message: i, Time: now, Session: res.Next.Marshal()}
	for _, k := range res.Skipped {
		e.Skipped = append(e.Skipped, vectorSkipped{Epoch: k.Ref.Epoch, N: k.Ref.N, Key: k.Key.Bytes()})
	}
	if res.Used != nil {
		e.Used = &vectorSkipped{Epoch: res.Used.Epoch, N: res.Used.N}
	}
	return e
}

// checkVector runs a vector from its secrets at both ends and compares everything: envelopes, contents
// and stored forms.
func checkVector(t *testing.T, v vector) {
	prelude := must(parsePrelude(v.Prelude))
	a := v.begin(t, v.bundle(), prelude.Chain)
	b := v.accept(t)
	transcript := vectorTranscript(t, v)
	for _, x := range []struct {
		name      string
		got, want []byte
	}{
		{"prelude", a.prelude, v.Prelude},
		{"transcript hash", transcript[:], v.Transcript},
		{"session id", a.transcript[:], v.Transcript[:32]}, {"session id", b.transcript[:], v.Transcript[:32]},
		{"handshake hash", a.handshake[:], v.Handshake}, {"handshake hash", b.handshake[:], v.Handshake},
		{"root key", a.root[:], v.RootKey}, {"root key", b.root[:], v.RootKey},
		{"first header key", a.sendHeaderNext[:], v.FirstKey}, {"first header key", b.recvHeaderNext[:], v.FirstKey},
		{"next header key", a.recvHeaderNext[:], v.NextKey}, {"next header key", b.sendHeaderNext[:], v.NextKey},
	} {
		if !bytes.Equal(x.got, x.want) {
			t.Errorf("%s: %x, want %x", x.name, x.got, x.want)
		}
	}
	root := must(identity.ParseRoot(v.RealmRoot))
	cert := must(identity.VerifyAccount(root, prelude.Chain, v.Initiator.party().Address, time.Unix(v.Begun, 0)))
	if !cert.Key.Equal(v.verified().Account) {
		t.Error("the chain certifies another key")
	}
	ends, keys := [2]*Session{{st: a}, {st: b}}, [2]testKeys{{}, {}}
	for i, e := range v.Events {
		m := v.Messages[e.Message]
		switch e.Op {
		case "seal":
			own := ManifestRef{Version: m.Manifest, Hash: [32]byte(m.Hash)}
			st, envelope := sealDrawn(t, ends[m.From].st, m.meta(v), own, m.Content, &e)
			if !bytes.Equal(envelope, m.Envelope) {
				t.Errorf("event %d: another envelope", i)
			}
			if e.Session != nil && !bytes.Equal(st.marshal(), e.Session) {
				t.Errorf("event %d: stored form", i)
			}
			ends[m.From] = must(ParseSession(st.marshal()))
		case "open":
			got := v.open(t, e.Message, e.Time, &ends, keys)
			got.Note = e.Note
			if x, want := must(json.Marshal(got)), must(json.Marshal(e)); !bytes.Equal(x, want) {
				t.Errorf("event %d: %s, want %s", i, x, want)
			}
		case "refuse":
			at := ends
			if e.Fresh {
				at[1] = nil
			}
			if name := v.try(m, e.Time, at, keys); name != e.Error {
				t.Errorf("event %d, %s: %q, want %q", i, e.Note, name, e.Error)
			}
		default:
			t.Fatalf("event %d: %q", i, e.Op)
		}
	}
}

func describe(d *testDevice) vectorDevice {
	return vectorDevice{
		Address: d.party.Address.String(), Device: d.party.Device[:], AccountSeed: d.account.Seed(), SigningSeed: d.signing.Seed(),
		ExchangePrivate: d.exchange.Seed(), Manifest: d.manifest,
	}
}

func (d vectorDevice) self() SelfKeys {
	return SelfKeys{
		Party: d.party(), Account: must(key.ParseSigningSeed(d.AccountSeed)).Public(),
		Signing: must(key.ParseSigningSeed(d.SigningSeed)).Public(), Exchange: must(key.ParseExchangePrivate(d.ExchangePrivate)),
	}
}

func (d vectorDevice) party() Party {
	return Party{Address: must(identity.ParseAddress(d.Address)), Device: must(key.DeviceIDFromBytes(d.Device))}
}

func (d vectorDevice) prekeys() ResponderKeys {
	rk := ResponderKeys{
		SignedPrekey: ExchangePrekey{ID: d.SignedPrekeyID, Private: must(key.ParseExchangePrivate(d.SignedPrekey))},
		KEM:          KEMPrekey{Kind: identity.PrekeyKind(d.KEMKind), ID: d.KEMPrekeyID, Private: must(key.ParseKEMSeed(d.KEMPrekeySeed))},
	}
	if d.OneTimePrekeyID != 0 {
		rk.OneTime = &ExchangePrekey{ID: d.OneTimePrekeyID, Private: must(key.ParseExchangePrivate(d.OneTimePrekey))}
	}
	return rk
}

// bundle signs the responder's prekeys again.
func (v vector) bundle() Bundle {
	d, rk := v.Responder, v.Responder.prekeys()
	sign := func(p identity.Prekey) identity.Prekey {
		p.Expires = time.Unix(v.Begun, 0).Add(identity.PrekeyLifetime)
		return must(identity.SignPrekey(must(key.ParseSigningSeed(d.SigningSeed)), d.party().Device, d.party().Address, p))
	}
	b := Bundle{
		Party: d.party(), Account: must(key.ParseSigningSeed(d.AccountSeed)).Public(), Manifest: d.Manifest,
		SignedPrekey: sign(identity.Prekey{Kind: identity.SignedExchange, ID: d.SignedPrekeyID, Exchange: rk.SignedPrekey.Private.Public()}),
		KEMPrekey:    sign(identity.Prekey{Kind: rk.KEM.Kind, ID: rk.KEM.ID, KEM: rk.KEM.Private.Public()}),
	}
	if rk.OneTime != nil {
		p := sign(identity.Prekey{Kind: identity.OneTimeExchange, ID: rk.OneTime.ID, Exchange: rk.OneTime.Private.Public()})
		b.OneTime = &p
	}
	return b
}

// vectorTranscript computes the transcript hash from the vector alone.
func vectorTranscript(t *testing.T, v vector) [64]byte {
	t.Helper()
	h := must(parsePrelude(v.Prelude))
	rk := v.Responder.prekeys()
	a, b := v.Initiator.self(), v.Responder.self()
	hs := handshake{
		initiator: a.Party, responder: b.Party, initiatorAccount: a.Account, responderAccount: b.Account,
		initiatorSigning: a.Signing, responderSigning: b.Signing,
		initiatorKey: a.Exchange.Public(), responderKey: b.Exchange.Public(),
		signedPrekey: rk.SignedPrekey.Private.Public(), kemPrekey: rk.KEM.Private.Public(),
		header: h, prelude: v.Prelude,
	}
	if rk.OneTime != nil {
		hs.oneTime = rk.OneTime.Private.Public()
	}
	return hs.transcript()
}

// The vectors contain the cases that their comments name, so that no later change of a script loses
// one.
func TestVectorsShowWhatTheySay(t *testing.T) {
	type shown struct {
		offers, keys, answers, refused int // the initiator's offers, new keys among them, chains that answer one
		most                           int // most own offers outstanding at once
		old                            int // most old chains at once
		ignored, kept                  bool
		dropped                        int // own offers ended by one answer
	}
	look := func(name string) (s shown) {
		v := readVector(t, filepath.Join(vectorDir(), name+".json"))
		var last [2]*state
		for _, e := range v.Events {
			if e.Op == "refuse" {
				s.refused++
			}
			if from := v.Messages[e.Message].From; e.Encapsulation != nil && from == 1 {
				s.answers++
			} else if e.OfferSeed != nil && from == 0 {
				s.keys++
			}
			if e.Session == nil {
				continue
			}
			st := must(parseState(e.Session))
			end := int(st.role) - 1
			if e.Op == "seal" && st.offerSent == 1 && st.offerTime == e.Time && st.offerNext > 1 && end == 0 {
				s.offers++
			}
			if was := last[end]; was != nil && e.Op == "open" {
				s.dropped = max(s.dropped, len(was.offers)-len(st.offers))
				s.kept = s.kept || len(was.offers) == 2 && len(st.offers) == 1
				if m := v.Messages[e.Message]; len(m.Envelope) > 1400 && st.peerSeen == was.peerSeen && was.peerSeen > 0 {
					s.ignored = true // an offer whose id is not larger
				}
			}
			s.most, s.old = max(s.most, len(st.offers)), max(s.old, len(st.old))
			last[end] = st
		}
		return s
	}
	if s := look("offer_at_50"); s.offers != 1 || s.keys != 1 || s.answers != 1 {
		t.Errorf("offer_at_50: %+v", s)
	}
	if s := look("offer_repeated"); s.offers != 2 || s.keys != 1 || s.answers != 1 {
		t.Errorf("offer_repeated: %+v", s)
	}
	if s := look("offer_third"); s.offers != 3 || s.keys != 2 || s.most != 2 || s.dropped != 2 {
		t.Errorf("offer_third: %+v", s)
	}
	if s := look("offer_order"); s.keys != 2 || !s.ignored {
		t.Errorf("offer_order: %+v", s)
	}
	if s := look("offer_kept"); s.keys < 2 || !s.kept {
		t.Errorf("offer_kept: %+v", s)
	}
	if s := look("eviction"); s.old != MaxOldHeaderKeys || s.refused == 0 {
		t.Errorf("eviction: %+v", s)
	}
	for _, name := range []string{"handshake_one_time", "skipped"} {
		if s := look(name); s.refused < 20 {
			t.Errorf("%s: %d refusals", name, s.refused)
		}
	}
}
