package ratchet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
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
