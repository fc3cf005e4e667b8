package ratchet_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/bits"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// A second implementation, written from SPEC.md "Session" alone. It uses nothing of this module: if it
// cannot compute something from a vector, the specification is incomplete; if the code differs from it,
// the code violates the protocol.

type hexText []byte

func (h *hexText) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type specDevice struct {
	Address         string  `json:"address"`
	Device          hexText `json:"device"`
	AccountSeed     hexText `json:"account_seed"`
	SigningSeed     hexText `json:"signing_seed"`
	ExchangePrivate hexText `json:"exchange_private"`
	SignedPrekeyID  uint32  `json:"signed_prekey_id"`
	SignedPrekey    hexText `json:"signed_prekey_private"`
	KEMKind         uint8   `json:"kem_prekey_kind"`
	KEMPrekeyID     uint32  `json:"kem_prekey_id"`
	KEMPrekeySeed   hexText `json:"kem_prekey_seed"`
	OneTimePrekeyID uint32  `json:"one_time_prekey_id"`
	OneTimePrekey   hexText `json:"one_time_prekey_private"`
}

type specVector struct {
	Initiator  specDevice `json:"initiator"`
	Responder  specDevice `json:"responder"`
	Transcript hexText    `json:"transcript_hash"`
	Handshake  hexText    `json:"handshake_hash"`
	RootKey    hexText    `json:"root_key"`
	FirstKey   hexText    `json:"first_header_key"`
	NextKey    hexText    `json:"next_header_key"`
	Messages   []struct {
		From      int     `json:"from"`
		Class     uint8   `json:"class"`
		MessageID hexText `json:"message_id"`
		Manifest  uint64  `json:"manifest_version"`
		Hash      hexText `json:"manifest_hash"`
		Content   hexText `json:"content"`
		Envelope  hexText `json:"envelope"`
	} `json:"messages"`
	Events []struct {
		Op      string  `json:"op"`
		Message int     `json:"message"`
		Private hexText `json:"ratchet_private"`
		Offer   hexText `json:"offer_seed"`
		Session hexText `json:"session"`
		Skipped []struct {
			Epoch uint32  `json:"epoch"`
			N     uint32  `json:"n"`
			Key   hexText `json:"key"`
		} `json:"skipped"`
	} `json:"events"`
}

func be16(n int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func lp16(b []byte) []byte { return cat(be16(len(b)), b) }
func lp32(b []byte) []byte { return cat(be32(uint32(len(b))), b) }

func specSigning(seed []byte) []byte {
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
}

func (d specDevice) partyBytes() []byte { return cat(lp16([]byte(d.Address)), d.Device) }

// cursor reads fields from a structure.
type cursor struct {
	t *testing.T
	b []byte
}

func (c *cursor) take(n int) []byte {
	c.t.Helper()
	if n > len(c.b) {
		c.t.Fatalf("a field of %d bytes where %d are left", n, len(c.b))
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}
func (c *cursor) u8() uint8     { return c.take(1)[0] }
func (c *cursor) u32() uint32   { return binary.BigEndian.Uint32(c.take(4)) }
func (c *cursor) sized() []byte { return c.take(int(binary.BigEndian.Uint16(c.take(2)))) }

func (c *cursor) end() {
	c.t.Helper()
	if len(c.b) != 0 {
		c.t.Fatalf("%d bytes after the end", len(c.b))
	}
}

func specDH(t *testing.T, private, public []byte) []byte {
	t.Helper()
	priv, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	out, err := priv.ECDH(pub)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func specPublic(t *testing.T, private []byte) []byte {
	t.Helper()
	priv, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return priv.PublicKey().Bytes()
}

func specHKDF(t *testing.T, ikm, salt []byte, info string, n int) []byte {
	t.Helper()
	out, err := hkdf.Key(sha512.New, ikm, salt, info, n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func specStep(chain []byte) (next, message []byte) {
	mac := func(b byte) []byte {
		m := hmac.New(sha512.New, chain)
		m.Write([]byte{b})
		return m.Sum(nil)[:32]
	}
	return mac(2), mac(1)
}

// specStored is the stored form of a session.
type specStored struct {
	turn, sending, confirmed      uint8
	generation                    uint32
	id, handshake                 []byte
	rk, cks, hks, nhks, ckr, hkr  []byte
	nhkr, private, public, remote []byte
	ns, pn, nr, missing, epoch    uint32
	sent, nextOffer, seen         uint32
	offers                        map[uint32][]byte // id: seed
	prelude                       []byte
	peerOffer, answer             []byte
	old                           int
}

func specParseStored(t *testing.T, v specVector, end int, b []byte) specStored {
	t.Helper()
	c := &cursor{t, b}
	var s specStored
	if c.u8() != 1 || c.u8() != uint8(end+1) {
		t.Fatal("version or role")
	}
	s.turn, s.sending, s.confirmed = c.u8(), c.u8(), c.u8()
	self, peer := v.Initiator.partyBytes(), v.Responder.partyBytes()
	if end == 1 {
		self, peer = peer, self
	}
	if !bytes.Equal(c.take(len(self)), self) || !bytes.Equal(c.take(len(peer)), peer) {
		t.Fatal("parties")
	}
	s.id, s.handshake, s.generation = c.take(32), c.take(32), c.u32()
	for _, k := range []*[]byte{&s.rk, &s.cks, &s.hks, &s.nhks, &s.ckr, &s.hkr, &s.nhkr, &s.private, &s.public, &s.remote} {
		*k = c.take(32)
	}
	for _, n := range []*uint32{&s.ns, &s.pn, &s.nr, &s.missing, &s.epoch, &s.sent, &s.nextOffer, &s.seen} {
		*n = c.u32()
	}
	s.old = int(c.u8())
	c.take(s.old * 48)
	s.prelude = c.sized()
	c.take(8 + 1)
	s.offers = map[uint32][]byte{}
	for range c.u8() {
		id := c.u32()
		s.offers[id] = c.take(64)
	}
	if c.u8() == 1 {
		s.peerOffer = c.take(4 + 1184)
	}
	if c.u8() == 1 {
		s.answer = c.take(4 + 1088)
	}
	c.end()
	return s
}

// specChain is one sending chain. Chains alternate, the initiator's first.
type specChain struct {
	public, header, chain []byte
	keys                  [][]byte // message keys so far
	sent                  uint32   // messages sealed
}

// specRun follows a conversation with the secrets of both ends.
type specRun struct {
	t        *testing.T
	v        specVector
	privates map[string][]byte    // ratchet keys: public to private
	seeds    [2]map[uint32][]byte // KEM offers of each end
	root     []byte
	nexts    [][]byte // header keys of chains, by index
	chains   []*specChain
	kinds    map[string]int // what occurred, so that the vectors are not vacuous
}

func (r *specRun) handshake() {
	t, v := r.t, r.v
	prelude := r.prelude(v.Messages[0].Envelope)
	c := &cursor{t, prelude}
	c.u32() // generation
	if !bytes.Equal(c.take(16), v.Initiator.Device) {
		t.Error("device of the prelude")
	}
	ephemeral := c.take(32)
	c.take(8 + 32)
	if c.u32() != v.Responder.SignedPrekeyID || c.u8() != v.Responder.KEMKind || c.u32() != v.Responder.KEMPrekeyID {
		t.Error("prekeys of the prelude")
	}
	oneTime := c.u8() == 1
	if c.u32() != v.Responder.OneTimePrekeyID || oneTime != (v.Responder.OneTimePrekeyID != 0) {
		t.Error("one-time prekey of the prelude")
	}
	ct := c.take(1088)
	c.sized() // leaf
	c.sized() // issuer
	c.sized() // manifest
	c.sized() // extensions
	c.end()

	dk, err := mlkem.NewDecapsulationKey768(v.Responder.KEMPrekeySeed)
	if err != nil {
		t.Fatal(err)
	}
	ss, err := dk.Decapsulate(ct)
	if err != nil {
		t.Fatal(err)
	}
	a, b := v.Initiator, v.Responder
	ikA, ikB := specPublic(t, a.ExchangePrivate), specPublic(t, b.ExchangePrivate)
	spk := specPublic(t, b.SignedPrekey)
	var opk []byte
	ikm := cat(specDH(t, b.SignedPrekey, ikA), specDH(t, b.ExchangePrivate, ephemeral), specDH(t, b.SignedPrekey, ephemeral))
	if oneTime {
		opk = cat([]byte{3}, be32(b.OneTimePrekeyID), specPublic(t, b.OneTimePrekey))
		ikm = cat(ikm, specDH(t, b.OneTimePrekey, ephemeral))
	}
	ikm = cat(ikm, ss)
	transcript := sha512.Sum512(cat(
		lp32([]byte("secmsg v1 transcript")), lp32([]byte{1}),
		lp32([]byte(a.Address)), lp32([]byte(b.Address)),
		lp32(specSigning(a.AccountSeed)), lp32(specSigning(b.AccountSeed)),
		lp32(cat(a.Device, specSigning(a.SigningSeed), ikA)), lp32(cat(b.Device, specSigning(b.SigningSeed), ikB)),
		lp32(cat([]byte{1}, be32(b.SignedPrekeyID), spk)),
		lp32(cat([]byte{b.KEMKind}, be32(b.KEMPrekeyID), dk.EncapsulationKey().Bytes())),
		lp32(opk), lp32(prelude)))
	keys := specHKDF(t, ikm, transcript[:], "secmsg v1 handshake keys", 96)
	hash := sha256.Sum256(cat([]byte("secmsg v1 handshake hash"), a.partyBytes(), b.partyBytes(), prelude))
	for what, x := range map[string][2][]byte{
		"transcript": {transcript[:], v.Transcript}, "handshake hash": {hash[:], v.Handshake},
		"root key": {keys[:32], v.RootKey}, "first header key": {keys[32:64], v.FirstKey}, "next header key": {keys[64:], v.NextKey},
	} {
		if !bytes.Equal(x[0], x[1]) {
			t.Errorf("%s: %x, the vector has %x", what, x[0], x[1])
		}
	}
	r.root, r.nexts = keys[:32], [][]byte{keys[32:64], keys[64:]}
	r.privates[string(spk)] = b.SignedPrekey
}

func (r *specRun) prelude(envelope []byte) []byte {
	c := &cursor{r.t, envelope}
	if version, kind := c.u8(), c.u8(); version != 1 || kind != 1 {
		r.t.Fatal("the message is not an initial one")
	}
	c.take(16)
	return c.sized()
}

// begin creates chain n from the contents of its header.
func (r *specRun) begin(public []byte, answer []byte) {
	t, n := r.t, len(r.chains)
	sender := n % 2
	peer := specPublic(t, r.v.Responder.SignedPrekey)
	if n > 0 {
		peer = r.chains[n-1].public
	}
	private, ok := r.privates[string(public)]
	if !ok {
		t.Fatal("the ratchet key is in no stored form")
	}
	dh, label := specDH(t, private, peer), "secmsg v1 root"
	if answer != nil {
		r.kinds["answer"]++
		dk, err := mlkem.NewDecapsulationKey768(r.seeds[1-sender][binary.BigEndian.Uint32(answer)])
		if err != nil {
			t.Fatal(err)
		}
		ss, err := dk.Decapsulate(answer[4:])
		if err != nil {
			t.Fatal(err)
		}
		binding := sha256.Sum256(cat(dk.EncapsulationKey().Bytes(), answer[4:]))
		dh, label = cat(dh, ss, binding[:]), "secmsg v1 root kem"
	}
	out := specHKDF(t, dh, r.root, label, 96)
	r.root = out[:32]
	r.chains = append(r.chains, &specChain{public: public, header: r.nexts[n], chain: out[32:64]})
	r.nexts = append(r.nexts, out[64:])
}

// message reads an envelope right after it was sealed, in the order of sealing.
func (r *specRun) message(i int) {
	t, m := r.t, r.v.Messages[i]
	c := &cursor{t, m.Envelope}
	version, kind, salt := c.u8(), c.u8(), c.take(16)
	if kind == 1 {
		r.kinds["initial"]++
		c.sized()
	}
	front := m.Envelope[:len(m.Envelope)-len(c.b)]
	sealedHeader := c.sized()
	prefix, body := m.Envelope[:len(m.Envelope)-len(c.b)], c.b

	at, header := -1, []byte(nil)
	for n := range r.nexts {
		out := specHKDF(t, r.nexts[n], salt, "secmsg v1 envelope header", 44)
		aead, err := chacha20poly1305.New(out[:32])
		if err != nil {
			t.Fatal(err)
		}
		if p, err := aead.Open(nil, out[32:], sealedHeader, front); err == nil {
			at, header = n, p
		}
	}
	if at < 0 || at%2 != m.From || at > len(r.chains) {
		t.Fatalf("message %d: header of chain %d of %d", i, at, len(r.chains))
	}
	h := &cursor{t, header}
	public, previous, number, flags := h.take(32), h.u32(), h.u32(), h.u8()
	var answer []byte
	if flags&1 != 0 {
		r.kinds["offer"]++
		offer := h.take(4 + 1184)
		dk, err := mlkem.NewDecapsulationKey768(r.seeds[m.From][binary.BigEndian.Uint32(offer)])
		if err != nil || !bytes.Equal(dk.EncapsulationKey().Bytes(), offer[4:]) {
			t.Errorf("message %d: offer is not the one in the stored form", i)
		}
	}
	if flags&2 != 0 {
		answer = h.take(4 + 1088)
		if flags&1 == 0 && !bytes.Equal(h.take(96), make([]byte, 96)) {
			t.Errorf("message %d: filling", i)
		}
	}
	h.end()
	if n := len(header); n != map[uint8]int{0: 41, 1: 1229, 2: 1229, 3: 2321}[flags] {
		t.Errorf("message %d: header of %d bytes with flags %d", i, n, flags)
	}
	if at == len(r.chains) {
		r.begin(public, answer)
	}
	chain := r.chains[at]
	want := uint32(0)
	if at >= 2 {
		want = r.chains[at-2].sent
	}
	if !bytes.Equal(public, chain.public) || number != chain.sent || previous != want {
		t.Fatalf("message %d: number %d after %d, previous %d of %d", i, number, chain.sent, previous, want)
	}
	chain.sent++
	var key []byte
	chain.chain, key = specStep(chain.chain)
	chain.keys = append(chain.keys, key)

	from, to := r.v.Initiator.partyBytes(), r.v.Responder.partyBytes()
	if m.From == 1 {
		from, to = to, from
	}
	ad := cat([]byte("secmsg v1 message"), []byte{version, m.Class, kind}, from, to, m.MessageID, prefix)
	sum := sha256.Sum256(ad)
	out := specHKDF(t, key, salt, "secmsg v1 envelope body"+string(sum[:]), 76)
	if !bytes.Equal(out[44:], body[:32]) {
		t.Fatalf("message %d: commitment", i)
	}
	aead, err := chacha20poly1305.New(out[:32])
	if err != nil {
		t.Fatal(err)
	}
	padded, err := aead.Open(nil, out[32:44], body[32:], nil)
	if err != nil {
		t.Fatalf("message %d: body does not open", i)
	}
	if !bytes.Equal(padded, specPad(cat(binary.BigEndian.AppendUint64(nil, m.Manifest), m.Hash, m.Content))) {
		t.Errorf("message %d: padding", i)
	}
}

func specPad(p []byte) []byte {
	l := len(p) + 1
	size := 160
	if l > size {
		e := bits.Len(uint(l)) - 1
		step := 1 << (e - bits.Len(uint(e)))
		size = (l + step - 1) / step * step
	}
	return append(append(bytes.Clone(p), 0x80), make([]byte, size-l)...)
}

func TestSpecSecondImplementation(t *testing.T) {
	kinds := map[string]int{}
	paths, err := filepath.Glob(filepath.Join("..", "testdata", "ratchet", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no vectors", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r := &specRun{t: t, privates: map[string][]byte{}, seeds: [2]map[uint32][]byte{{}, {}}, kinds: kinds}
			if err := json.Unmarshal(b, &r.v); err != nil {
				t.Fatal(err)
			}
			r.handshake()
			for i, e := range r.v.Events {
				if e.Op == "refuse" {
					continue
				}
				end := r.v.Messages[e.Message].From
				if e.Op == "open" {
					end = 1 - end
				}
				if e.Private != nil {
					r.privates[string(specPublic(t, e.Private))] = e.Private
				}
				if e.Offer != nil {
					r.seeds[end][uint32(len(r.seeds[end])+1)] = e.Offer
				}
				if e.Op == "seal" {
					r.message(e.Message)
				}
				if e.Session != nil {
					r.compare(i, end, e.Op, specParseStored(t, r.v, end, e.Session))
				}
				for _, k := range e.Skipped {
					kinds["skipped"]++
					// Chain number epoch of the peer, counted from 1.
					if c := r.chains[2*int(k.Epoch-1)+1-end]; !bytes.Equal(c.keys[k.N], k.Key) {
						t.Errorf("event %d: skipped key %d of epoch %d", i, k.N, k.Epoch)
					}
				}
			}
		})
	}
	for _, k := range []string{"initial", "offer", "answer", "skipped"} {
		if kinds[k] == 0 {
			t.Errorf("no vector contains: %s", k)
		}
	}
}

// compare compares a stored form with the chains.
func (r *specRun) compare(i, end int, op string, s specStored) {
	t := r.t
	if !bytes.Equal(s.id, r.v.Transcript[:32]) || !bytes.Equal(s.handshake, r.v.Handshake) {
		t.Errorf("event %d: session id or handshake hash differs", i)
	}
	if end == 0 && (s.confirmed == 0) != (len(s.prelude) > 0) || end == 1 && len(s.prelude) > 0 {
		t.Errorf("event %d: prelude", i)
	}
	if op != "seal" {
		return
	}
	// The last chain of this end is the one it sealed in.
	n := len(r.chains) - 1
	if n%2 != end {
		n--
	}
	c := r.chains[n]
	if !bytes.Equal(s.hks, c.header) || !bytes.Equal(s.cks, c.chain) || s.ns != c.sent || !bytes.Equal(s.nhks, r.nexts[n+2]) || s.turn != 0 || s.sending != 1 {
		t.Errorf("event %d: sending chain", i)
	}
	if n == len(r.chains)-1 && !bytes.Equal(s.rk, r.root) {
		t.Errorf("event %d: root key", i)
	}
}
