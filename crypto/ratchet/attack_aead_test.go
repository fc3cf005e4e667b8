package ratchet

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"

	"secmsg/crypto/seal"
)

// bodyKey is the derivation of SPEC "Committed AEAD".
func bodyKey(t *testing.T, message secret, salt seal.Salt, ad []byte) (k, nonce, commitment []byte) {
	t.Helper()
	sum := sha256.Sum256(ad)
	out, err := hkdf.Key(sha512.New, message[:], salt[:], "secmsg v1 envelope body"+string(sum[:]), 76)
	if err != nil {
		t.Fatal(err)
	}
	return out[:32], out[32:44], out[44:]
}

// poly1305Key returns r, clamped, and s (RFC 8439, sections 2.5 and 2.6).
func poly1305Key(t *testing.T, k, nonce []byte) (r, s *big.Int) {
	t.Helper()
	c, err := chacha20.NewUnauthenticatedCipher(k, nonce)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 32)
	c.XORKeyStream(block, block)
	for _, i := range []int{3, 7, 11, 15} {
		block[i] &= 15
	}
	for _, i := range []int{4, 8, 12} {
		block[i] &= 252
	}
	return littleEndian(block[:16]), littleEndian(block[16:])
}

func littleEndian(b []byte) *big.Int {
	b = bytes.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

// salamander creates one ciphertext of 160 bytes and a tag that authenticate under two keys: the last
// two blocks solve two linear equations mod 2^130 - 5.
func salamander(t *testing.T, k1, n1, k2, n2, ad []byte) []byte {
	t.Helper()
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 130), big.NewInt(5))
	high := new(big.Int).Lsh(one, 128)
	r1, s1 := poly1305Key(t, k1, n1)
	r2, s2 := poly1305Key(t, k2, n2)
	text := make([]byte, seal.PadFloor)
	for {
		if _, err := rand.Read(text[:seal.PadFloor-32]); err != nil {
			t.Fatal(err)
		}
		tag := make([]byte, 16)
		if _, err := rand.Read(tag); err != nil {
			t.Fatal(err)
		}
		var mac []byte
		mac = append(mac, ad...)
		mac = append(mac, make([]byte, (16-len(ad)%16)%16)...)
		free := len(mac)/16 + (seal.PadFloor-32)/16 // index of the first free block
		mac = append(mac, text...)
		mac = binary.LittleEndian.AppendUint64(mac, uint64(len(ad)))
		mac = binary.LittleEndian.AppendUint64(mac, seal.PadFloor)
		blocks := len(mac) / 16
		// For each key: the known part, and the powers at the free blocks.
		equation := func(r, s *big.Int) (a, b, rhs *big.Int) {
			known := new(big.Int)
			for i := range blocks {
				v := littleEndian(mac[16*i : 16*i+16])
				v.Add(v, high)
				if i == free || i == free+1 {
					v.SetInt64(0)
				}
				known.Add(known, v).Mul(known, r).Mod(known, p)
			}
			a = new(big.Int).Exp(r, big.NewInt(int64(blocks-free)), p)
			b = new(big.Int).Exp(r, big.NewInt(int64(blocks-free-1)), p)
			// The accumulator must be tag - s modulo 2^128.
			rhs = new(big.Int).Sub(littleEndian(tag), s)
			rhs.Mod(rhs, high).Sub(rhs, known).Mod(rhs, p)
			return a, b, rhs
		}
		a1, b1, c1 := equation(r1, s1)
		a2, b2, c2 := equation(r2, s2)
		det := new(big.Int).Sub(new(big.Int).Mul(a1, b2), new(big.Int).Mul(a2, b1))
		inv := new(big.Int).ModInverse(det.Mod(det, p), p)
		if inv == nil {
			continue
		}
		x := new(big.Int).Sub(new(big.Int).Mul(c1, b2), new(big.Int).Mul(c2, b1))
		y := new(big.Int).Sub(new(big.Int).Mul(a1, c2), new(big.Int).Mul(a2, c1))
		fits := true
		for i, v := range []*big.Int{x, y} {
			v.Mul(v, inv).Mod(v, p)
			if v.Sub(v, high); v.Sign() < 0 || v.BitLen() > 128 {
				fits = false
				break
			}
			b := v.FillBytes(make([]byte, 16))
			slices.Reverse(b)
			copy(text[seal.PadFloor-32+16*i:], b)
		}
		if fits {
			return append(text, tag...)
		}
	}
}

// One ciphertext that ChaCha20-Poly1305 opens under two message keys: because of the commitment, at
// most one of two recipients can open it.
func TestB13_InvisibleSalamander(t *testing.T) {
	var m1, m2 secret
	salt := seal.NewSalt()
	for _, k := range []*secret{&m1, &m2} {
		if _, err := rand.Read(k[:]); err != nil {
			t.Fatal(err)
		}
	}
	ad := []byte("the same associated data for both")
	k1, n1, commit1 := bodyKey(t, m1, salt, ad)
	k2, n2, commit2 := bodyKey(t, m2, salt, ad)
	text := salamander(t, k1, n1, k2, n2, nil)
	for i, kn := range [][2][]byte{{k1, n1}, {k2, n2}} {
		aead := must(chacha20poly1305.New(kn[0]))
		if _, err := aead.Open(nil, kn[1], text, nil); err != nil {
			t.Fatalf("the attack does not work on the bare AEAD, key %d: %v", i, err)
		}
	}
	for i, commitment := range [][]byte{commit1, commit2} {
		body := append(bytes.Clone(commitment), text...)
		for j, message := range []secret{m1, m2} {
			_, err := seal.OpenBody(message[:], salt, ad, body)
			if i == j && err != nil {
				t.Errorf("key %d with its own commitment: %v", j, err)
			}
			if i != j && !errors.Is(err, seal.ErrCommitment) {
				t.Errorf("key %d with the commitment of key %d: %v", j, i, err)
			}
		}
	}
}

func TestB14_AssociatedData(t *testing.T) {
	p := newPair(t)
	l := p.seal(0, "bound")
	other := newTestDevice("eve")
	changes := map[string]func(*Meta){
		"class":              func(m *Meta) { m.Class = ClassOnline },
		"probe":              func(m *Meta) { m.Class = ClassProbe },
		"no class":           func(m *Meta) { m.Class = 0 },
		"sender":             func(m *Meta) { m.Sender.Address = other.party.Address },
		"sender's device":    func(m *Meta) { m.Sender.Device = other.party.Device },
		"sender's domain":    func(m *Meta) { m.Sender.Address.Domain = "chat.example.org" },
		"recipient":          func(m *Meta) { m.Recipient.Address = other.party.Address },
		"recipient's device": func(m *Meta) { m.Recipient.Device = other.party.Device },
		"message id":         func(m *Meta) { m.MessageID[15] ^= 1 },
	}
	before := p.s[1].Marshal()
	for name, change := range changes {
		m := l.m
		change(&m)
		if _, err := p.s[1].Open(m, l.ct, nil, p.now); err == nil {
			t.Errorf("the message opens with a changed %s", name)
		}
	}
	for i := range l.ct {
		bad := bytes.Clone(l.ct)
		bad[i] ^= 0x40
		if _, err := p.s[1].Open(l.m, bad, nil, p.now); err == nil {
			t.Errorf("the message opens with byte %d changed", i)
		}
	}
	for i := range l.ct {
		if _, err := p.s[1].Open(l.m, l.ct[:i], nil, p.now); err == nil {
			t.Errorf("the message opens when cut to %d bytes", i)
		}
	}
	if _, err := p.s[1].Open(l.m, append(bytes.Clone(l.ct), 0), nil, p.now); err == nil {
		t.Error("the envelope opens with an added byte")
	}
	if !bytes.Equal(before, p.s[1].Marshal()) {
		t.Error("state changed")
	}
	p.open(l)
}

func TestB18_LengthSideChannel(t *testing.T) {
	p := newPair(t)
	u := newUnansweredPair(t)
	regular, initial := map[int]bool{}, map[int]bool{}
	for n := 1; n <= 160-manifestRefSize; n++ {
		regular[len(p.seal(0, string(make([]byte, n))).ct)] = true
		initial[len(u.seal(0, string(make([]byte, n))).ct)] = true
	}
	// Some regular messages contain an offer, and the last one needs the next step of the padding: at
	// most three lengths.
	if len(regular) > 3 || len(initial) > 3 {
		t.Errorf("regular: %d lengths, initial: %d", len(regular), len(initial))
	}
}

func TestLongestMessage(t *testing.T) {
	p := newUnansweredPair(t)
	m := meta(p.dev[0], p.dev[1], 1)
	next, ct, err := p.s[0].Seal(m, testOwn(), make([]byte, MaxPlaintext), p.now)
	if err != nil || len(ct) > MaxEnvelope {
		t.Fatalf("longest message: %d bytes, %v", len(ct), err)
	}
	if res, err := p.s[1].Open(m, ct, nil, p.now); err != nil || len(res.Plaintext) != MaxPlaintext {
		t.Fatalf("longest message: %v", err)
	}
	if _, _, err := next.Seal(m, testOwn(), make([]byte, MaxPlaintext+1), p.now); !errors.Is(err, ErrFormat) {
		t.Errorf("longer message: %v", err)
	}
}
