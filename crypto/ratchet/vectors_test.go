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

// update rewrites testdata/vectors. They are the protocol: a change of what
// they hold is a new version.
var update = flag.Bool("update", false, "write new vectors")

// hexBytes is a byte string that stands in hexadecimal in a vector.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// vectorDevice is one end with everything that a second implementation needs.
type vectorDevice struct {
	Address         string   `json:"address"`
	Device          hexBytes `json:"device"`
	AccountPublic   hexBytes `json:"account_public"`
	SigningPublic   hexBytes `json:"signing_public"`
	ExchangePrivate hexBytes `json:"exchange_private"`
	ManifestSigned  hexBytes `json:"manifest"`
	SignedPrekeyID  uint32   `json:"signed_prekey_id,omitempty"`
	SignedPrekey    hexBytes `json:"signed_prekey_private,omitempty"`
	KEMKind         uint8    `json:"kem_prekey_kind,omitempty"`
	KEMPrekeyID     uint32   `json:"kem_prekey_id,omitempty"`
	KEMPrekeySeed   hexBytes `json:"kem_prekey_seed,omitempty"`
	OneTimePrekeyID uint32   `json:"one_time_prekey_id,omitempty"`
	OneTimePrekey   hexBytes `json:"one_time_prekey_private,omitempty"`
}

// vectorMessage is an envelope and what is known outside it.
type vectorMessage struct {
	From      int      `json:"from"` // 0: initiator, 1: responder
	Class     uint8    `json:"class"`
	MessageID hexBytes `json:"message_id"`
	Manifest  uint64   `json:"manifest_version"` // of the sender, in the body
	Hash      hexBytes `json:"manifest_hash"`
	Plaintext hexBytes `json:"plaintext"`
	Envelope  hexBytes `json:"envelope"`
}

// vectorEvent is one Seal or Open. The stored form after it says everything
// that was derived or drawn.
type vectorEvent struct {
	Op      string          `json:"op"`      // seal, open, or duplicate: an open that fails
	Message int             `json:"message"` // index
	Time    int64           `json:"time"`    // Unix seconds
	Session hexBytes        `json:"session,omitempty"`
	Skipped []vectorSkipped `json:"skipped,omitempty"`
	Used    *vectorSkipped  `json:"used,omitempty"`
}

type vectorSkipped struct {
	Epoch uint32   `json:"epoch"`
	N     uint32   `json:"n"`
	Key   hexBytes `json:"key,omitempty"`
}

type vector struct {
	Comment    string          `json:"comment"`
	Initiator  vectorDevice    `json:"initiator"`
	Responder  vectorDevice    `json:"responder"`
	Transcript hexBytes        `json:"transcript_hash"` // all 64 bytes, the salt
	Handshake  hexBytes        `json:"handshake_hash"`
	RootKey    hexBytes        `json:"root_key"`
	FirstKey   hexBytes        `json:"first_header_key"`
	NextKey    hexBytes        `json:"next_header_key"`
	Messages   []vectorMessage `json:"messages"`
	Events     []vectorEvent   `json:"events"`
}

// vectorClasses are the files: what each shows, and its script. 'a' is a
// message of the initiator, 'b' one of the responder, opened at once; 'A' and
// 'B' are held back until 'r' opens them, the newest first; 'L' and 'M' are
// messages of either that are lost; 'x' delivers the last message again; 'd'
// lets a day pass, after which keys are offered.
func vectorClasses() []struct{ name, comment, script string } {
	return []struct{ name, comment, script string }{
		{"handshake_one_time", "handshake with one-time prekeys, a message that repeats the prelude, a reply", "aabab"},
		{"handshake_last_resort", "handshake with the last-resort KEM prekey and no one-time prekey", "aba"},
		{"skipped", "messages out of order within a chain and across chains, lost ones, a duplicate", "abAALaxBMbarbab"},
		{"kem_ratchet", "both ends offer an encapsulation key, and answer the other's", "abadbaAarba"},
	}
}

func TestVectors(t *testing.T) {
	for i, class := range vectorClasses() {
		t.Run(class.name, func(t *testing.T) {
			path := filepath.Join("testdata", "vectors", class.name+".json")
			if *update {
				cryptotest.SetGlobalRandom(t, uint64(i+1))
				v := makeVector(t, class.comment, class.script, class.name != "handshake_last_resort")
				b := append(must(json.MarshalIndent(v, "", "  ")), '\n')
				if err := os.WriteFile(path, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
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
			checkVector(t, v)
		})
	}
}

// vectorRun is a vector being made.
type vectorRun struct {
	v    vector
	p    *testPair
	t    *testing.T
	held []int
}

func makeVector(t *testing.T, comment, script string, oneTime bool) vector {
	t.Helper()
	p := &testPair{t: t, now: testStart(), keys: [2]testKeys{{}, {}}}
	p.dev = [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")}
	r := &vectorRun{p: p, t: t, v: vector{Comment: comment, Initiator: describe(p.dev[0]), Responder: describe(p.dev[1])}}
	bob := p.dev[1]
	p.s[0] = must(Initiate(p.dev[0].self(), bob.bundle(oneTime), p.now))
	d := &r.v.Responder
	d.SignedPrekeyID, d.SignedPrekey = 1, bob.signedPrekey.Seed()
	d.KEMKind, d.KEMPrekeyID, d.KEMPrekeySeed = uint8(identity.LastResortKEM), 2, bob.lastResort.Seed()
	if oneTime {
		d.OneTimePrekeyID, d.OneTimePrekey = 3, bob.oneTime.Seed()
		d.KEMKind, d.KEMPrekeyID, d.KEMPrekeySeed = uint8(identity.OneTimeKEM), 4, bob.oneTimeKEM.Seed()
	}
	for _, op := range script {
		switch op {
		case 'a', 'A', 'L':
			r.seal(0, op)
		case 'b', 'B', 'M':
			r.seal(1, op)
		case 'x':
			r.v.Events = append(r.v.Events, vectorEvent{Op: "duplicate", Message: len(r.v.Messages) - 1, Time: unix(p.now)})
		case 'd':
			p.now = p.now.Add(OfferInterval)
		case 'r':
			for len(r.held) > 0 {
				r.open(r.held[len(r.held)-1])
				r.held = r.held[:len(r.held)-1]
			}
		}
	}
	return r.v
}

func (r *vectorRun) seal(from int, op rune) {
	r.t.Helper()
	l, own := r.p.seal(from, "message "+string(op)), testOwn()
	i := len(r.v.Messages)
	r.v.Messages = append(r.v.Messages, vectorMessage{
		From: from, Class: uint8(l.m.Class), MessageID: l.m.MessageID[:], Plaintext: []byte(l.text), Envelope: l.ct,
		Manifest: own.Version, Hash: own.Hash[:],
	})
	r.v.Events = append(r.v.Events, vectorEvent{Op: "seal", Message: i, Time: unix(r.p.now), Session: r.p.s[from].Marshal()})
	switch op {
	case 'a', 'b':
		r.open(i)
	case 'A', 'B':
		r.held = append(r.held, i)
	}
}

func (r *vectorRun) open(i int) {
	r.t.Helper()
	if r.p.s[1] == nil {
		st, transcript := r.v.accept(r.t)
		r.v.Transcript, r.v.Handshake, r.v.RootKey = transcript[:], st.handshake[:], st.root[:]
		r.v.FirstKey, r.v.NextKey = st.recvHeaderNext[:], st.sendHeaderNext[:]
		r.p.s[1] = &Session{st: st}
	}
	r.v.Events = append(r.v.Events, r.v.open(r.t, i, unix(r.p.now), &r.p.s, r.p.keys))
}

func (m vectorMessage) meta(v vector) Meta {
	out := Meta{Class: Class(m.Class), Sender: v.Initiator.party(), Recipient: v.Responder.party(), MessageID: [16]byte(m.MessageID)}
	if m.From == 1 {
		out.Sender, out.Recipient = out.Recipient, out.Sender
	}
	return out
}

// accept makes the responder's state before the first message is opened.
func (v vector) accept(t *testing.T) (*state, [64]byte) {
	t.Helper()
	peer := VerifiedPeer{Party: v.Initiator.party(), Account: must(key.ParseSigningPublic(v.Initiator.AccountPublic))}
	first := v.Messages[0]
	st, err := acceptState(v.Responder.self(), v.Responder.prekeys(), peer, first.meta(v), first.Envelope, time.Unix(v.Events[0].Time, 0))
	if err != nil {
		t.Fatal(err)
	}
	return st, vectorTranscript(t, v)
}

// open opens a message at its receiver and returns the event that this is.
func (v vector) open(t *testing.T, i int, now int64, ends *[2]*Session, keys [2]testKeys) vectorEvent {
	t.Helper()
	m := v.Messages[i]
	to := 1 - m.From
	res, err := ends[to].Open(m.meta(v), m.Envelope, keys[to], time.Unix(now, 0))
	if err != nil {
		t.Fatalf("message %d: %v", i, err)
	}
	if !bytes.Equal(res.Plaintext, m.Plaintext) {
		t.Fatalf("message %d: plaintext %q", i, res.Plaintext)
	}
	if res.Manifest.Version != m.Manifest || !bytes.Equal(res.Manifest.Hash[:], m.Hash) {
		t.Fatalf("message %d: manifest %+v", i, res.Manifest)
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

// checkVector runs a vector from its secrets: what is opened is computed and
// compared, what is sealed is taken over, as it holds new randomness, and is
// computed at the other end.
func checkVector(t *testing.T, v vector) {
	st, transcript := v.accept(t)
	for _, x := range []struct {
		name      string
		got, want []byte
	}{
		{"transcript hash", transcript[:], v.Transcript},
		{"session id", st.transcript[:], v.Transcript[:32]},
		{"handshake hash", st.handshake[:], v.Handshake},
		{"root key", st.root[:], v.RootKey},
		{"first header key", st.recvHeaderNext[:], v.FirstKey},
		{"next header key", st.sendHeaderNext[:], v.NextKey},
	} {
		if !bytes.Equal(x.got, x.want) {
			t.Errorf("%s: %x, want %x", x.name, x.got, x.want)
		}
	}
	ends, keys := [2]*Session{nil, {st: st}}, [2]testKeys{{}, {}}
	for i, e := range v.Events {
		m := v.Messages[e.Message]
		switch e.Op {
		case "seal":
			ends[m.From] = must(ParseSession(e.Session))
			if id := ends[m.From].TranscriptHash(); !bytes.Equal(id[:], v.Transcript[:32]) {
				t.Errorf("event %d: session of another id", i)
			}
		case "open":
			got := must(json.Marshal(v.open(t, e.Message, e.Time, &ends, keys)))
			if want := must(json.Marshal(e)); !bytes.Equal(got, want) {
				t.Errorf("event %d: %s, want %s", i, got, want)
			}
		case "duplicate":
			to := 1 - m.From
			if _, err := ends[to].Open(m.meta(v), m.Envelope, keys[to], time.Unix(e.Time, 0)); !errors.Is(err, ErrReplay) {
				t.Errorf("event %d: %v", i, err)
			}
		default:
			t.Fatalf("event %d: %q", i, e.Op)
		}
	}
}

func describe(d *testDevice) vectorDevice {
	return vectorDevice{
		Address: d.party.Address.String(), Device: d.party.Device[:],
		AccountPublic: d.account.Public().Bytes(), SigningPublic: d.signing.Public().Bytes(),
		ExchangePrivate: d.exchange.Seed(), ManifestSigned: d.manifest,
	}
}

func (d vectorDevice) self() SelfKeys {
	return SelfKeys{
		Party: d.party(), Account: must(key.ParseSigningPublic(d.AccountPublic)),
		Signing: must(key.ParseSigningPublic(d.SigningPublic)), Exchange: must(key.ParseExchangePrivate(d.ExchangePrivate)),
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

// vectorTranscript computes the transcript hash from the vector alone.
func vectorTranscript(t *testing.T, v vector) [64]byte {
	t.Helper()
	e := must(parseEnvelope(v.Messages[0].Envelope))
	h := must(parsePrelude(e.prelude))
	rk := v.Responder.prekeys()
	a, b := v.Initiator.self(), v.Responder.self()
	hs := handshake{
		initiator: a.Party, responder: b.Party, initiatorAccount: a.Account, responderAccount: b.Account,
		initiatorSigning: a.Signing, responderSigning: b.Signing,
		initiatorKey: a.Exchange.Public(), responderKey: b.Exchange.Public(),
		signedPrekey: rk.SignedPrekey.Private.Public(), kemPrekey: rk.KEM.Private.Public(),
		header: h, prelude: e.prelude,
	}
	if rk.OneTime != nil {
		hs.oneTime = rk.OneTime.Private.Public()
	}
	return hs.transcript()
}
