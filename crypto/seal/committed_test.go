package seal

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"math/big"
	"testing"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
)

func randomKey() []byte {
	b := make([]byte, SecretSize)
	rand.Read(b)
	return b
}

func TestBodyAndHeader(t *testing.T) {
	k, salt, ad := randomKey(), NewSalt(), []byte("associated data")
	for _, n := range []int{0, 1, 160, 1000} {
		plaintext := bytes.Repeat([]byte{7}, n)
		sealed, err := SealBody(k, salt, ad, plaintext)
		if err != nil || len(sealed) != n+BodyOverhead {
			t.Fatalf("body of %d: %d bytes, %v", n, len(sealed), err)
		}
		if got, err := OpenBody(k, salt, ad, sealed); err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("body of %d: %v", n, err)
		}
		header, err := SealHeader(k, salt, ad, plaintext)
		if err != nil || len(header) != n+HeaderOverhead {
			t.Fatalf("header of %d: %d bytes, %v", n, len(header), err)
		}
		if got, err := OpenHeader(k, salt, ad, header); err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("header of %d: %v", n, err)
		}
		// One key and salt yield unrelated keys for header and body.
		if _, err := OpenHeader(k, salt, ad, sealed[CommitmentSize:]); !errors.Is(err, ErrOpen) {
			t.Errorf("body opened as header: %v", err)
		}
	}
}

func TestBodyChanged(t *testing.T) {
	k, salt, ad := randomKey(), NewSalt(), []byte("associated data")
	sealed, err := SealBody(k, salt, ad, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x10
		want := ErrOpen
		if i < CommitmentSize {
			want = ErrCommitment
		}
		if p, err := OpenBody(k, salt, ad, bad); !errors.Is(err, want) || p != nil {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for i := range sealed {
		if _, err := OpenBody(k, salt, ad, sealed[:i]); err == nil {
			t.Errorf("cut to %d bytes: opened", i)
		}
	}
	if _, err := OpenBody(k, salt, []byte("other"), sealed); !errors.Is(err, ErrCommitment) {
		t.Errorf("other associated data: %v", err)
	}
	if _, err := OpenBody(randomKey(), salt, ad, sealed); !errors.Is(err, ErrCommitment) {
		t.Errorf("other key: %v", err)
	}
	if _, err := OpenBody(k, NewSalt(), ad, sealed); !errors.Is(err, ErrCommitment) {
		t.Errorf("other salt: %v", err)
	}
	if _, err := OpenBody(k[1:], salt, ad, sealed); !errors.Is(err, ErrFormat) {
		t.Errorf("short key: %v", err)
	}
	if _, err := SealBody(append(k, 0), salt, ad, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("long key: %v", err)
	}
	if _, err := SealHeader(nil, salt, ad, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("no key: %v", err)
	}
}

// B13: a ChaCha20-Poly1305 ciphertext that is valid under two keys. The bare cipher opens it under
// both. With a commitment in front, which can match only one key, the other key refuses it.
func TestInvisibleSalamander(t *testing.T) {
	k1, k2, salt := randomKey(), randomKey(), NewSalt()
	d1, err1 := derive(k1, salt, bodyInfo(nil), CommitmentSize)
	d2, err2 := derive(k2, salt, bodyInfo(nil), CommitmentSize)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	ct := collide(t, d1, d2)
	for i, d := range []derived{d1, d2} {
		aead, err := d.aead()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := aead.Open(nil, d.nonce(), ct, nil); err != nil {
			t.Fatalf("the attack does not work under key %d: %v", i+1, err)
		}
	}
	for i, keys := range [][2][]byte{{k1, k2}, {k2, k1}} {
		sealed := append(bytes.Clone([]derived{d1, d2}[i].commitment()), ct...)
		if _, err := OpenBody(keys[0], salt, nil, sealed); err != nil {
			t.Errorf("key %d: %v", i+1, err)
		}
		if p, err := OpenBody(keys[1], salt, nil, sealed); !errors.Is(err, ErrCommitment) || p != nil {
			t.Errorf("the other key than %d: %v, want ErrCommitment", i+1, err)
		}
	}
}

// collide creates a ciphertext of two blocks and a tag that both keys accept, without associated data.
// The tag is (c1*r^3 + c2*r^2 + len*r mod p) + s for each key, so c2 can be solved for any c1; c1 is
// varied until c2 fits into a block and both tags agree (Dodis et al., "Fast Message Franking", 2018).
func collide(t *testing.T, d1, d2 derived) []byte {
	t.Helper()
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 130), big.NewInt(5))
	two128 := new(big.Int).Lsh(big.NewInt(1), 128)
	r1, s1 := polyKey(t, d1)
	r2, s2 := polyKey(t, d2)
	lens := make([]byte, 16)
	lens[8] = 32 // ciphertext length, little-endian
	l := block(lens)
	pow := func(r *big.Int, n int64) *big.Int { return new(big.Int).Exp(r, big.NewInt(n), p) }
	// c1*(r1^3-r2^3) + c2*(r1^2-r2^2) + l*(r1-r2) = target, where target is
	// s2 - s1 up to the reductions modulo 2^128, whose carries are tried.
	inv := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(pow(r1, 2), pow(r2, 2)), p), p)
	for try := range 1000 {
		b1 := make([]byte, 16)
		b1[0], b1[1] = byte(try), byte(try>>8)
		c1 := block(b1)
		for carry := int64(-4); carry <= 4; carry++ {
			target := new(big.Int).Sub(s2, s1)
			target.Add(target, new(big.Int).Mul(two128, big.NewInt(carry)))
			target.Sub(target, new(big.Int).Mul(c1, new(big.Int).Sub(pow(r1, 3), pow(r2, 3))))
			target.Sub(target, new(big.Int).Mul(l, new(big.Int).Sub(r1, r2)))
			c2 := target.Mul(target, inv)
			c2.Mod(c2, p)
			c2.Sub(c2, two128) // the bit that Poly1305 sets above every block
			if c2.Sign() < 0 || c2.BitLen() > 128 {
				continue
			}
			ct := append(bytes.Clone(b1), little(c2)...)
			t1, t2 := polyTag(p, r1, s1, ct, l), polyTag(p, r2, s2, ct, l)
			if subtle.ConstantTimeCompare(t1, t2) == 1 {
				return append(ct, t1...)
			}
		}
	}
	t.Fatal("no ciphertext found")
	return nil
}

func polyKey(t *testing.T, d derived) (r, s *big.Int) {
	t.Helper()
	c, err := chacha20.NewUnauthenticatedCipher(d[:chacha20poly1305.KeySize], d.nonce())
	if err != nil {
		t.Fatal(err)
	}
	k := make([]byte, 32)
	c.XORKeyStream(k, k)
	for _, i := range []int{3, 7, 11, 15} {
		k[i] &= 15
	}
	for _, i := range []int{4, 8, 12} {
		k[i] &= 252
	}
	return number(k[:16]), number(k[16:])
}

func polyTag(p, r, s *big.Int, ct []byte, l *big.Int) []byte {
	acc := new(big.Int)
	for _, b := range []*big.Int{block(ct[:16]), block(ct[16:32]), l} {
		acc.Add(acc, b).Mul(acc, r).Mod(acc, p)
	}
	return little(acc.Add(acc, s))
}

// number reads little-endian bytes; block adds the bit that Poly1305 adds to a block.
func number(b []byte) *big.Int {
	be := bytes.Clone(b)
	for i, j := 0, len(be)-1; i < j; i, j = i+1, j-1 {
		be[i], be[j] = be[j], be[i]
	}
	return new(big.Int).SetBytes(be)
}

func block(b []byte) *big.Int {
	return new(big.Int).Add(number(b), new(big.Int).Lsh(big.NewInt(1), 128))
}

// little returns the low 16 bytes, little-endian.
func little(n *big.Int) []byte {
	out := make([]byte, 16)
	mask := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))
	new(big.Int).And(n, mask).FillBytes(out)
	for i, j := 0, 15; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// The vectors were computed by a second implementation, in Python, from SPEC
// "Committed AEAD".
const (
	bodyVector = "c058b833ba1c84264f41e06f9978f97aca87a75e14f62fa01ffc1517160c735e" +
		"e8906b1cf6f42f19e607edbced203359a34c298748"
	headerVector = "a196543d4eaa783a2034a4889966680a244d696b62"
)

// A frozen vector of our own: another implementation must produce the same bytes.
func TestBodyVector(t *testing.T) {
	k := bytes.Repeat([]byte{0x11}, SecretSize)
	salt := Salt(bytes.Repeat([]byte{0x22}, SaltSize))
	body, err := SealBody(k, salt, []byte("ad"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	header, err := SealHeader(k, salt, []byte("ad"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(body); got != bodyVector {
		t.Errorf("body %s", got)
	}
	if got := hex.EncodeToString(header); got != headerVector {
		t.Errorf("header %s", got)
	}
}

// A sender who knows the message key chooses key, nonce and tag freely, but still cannot create one
// body that opens with two sets of associated data. So two receivers never accept one ciphertext for
// messages of different ids or classes.
func TestCommitmentCoversAssociatedData(t *testing.T) {
	k, salt := randomKey(), NewSalt()
	sealed, err := SealBody(k, salt, []byte("message 1"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := derive(k, salt, bodyInfo([]byte("message 2")), CommitmentSize)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := d.aead()
	if err != nil {
		t.Fatal(err)
	}
	// The best attempt: a valid ciphertext for the second data after the commitment of the first, and
	// the reverse.
	ct := aead.Seal(nil, d.nonce(), []byte("hello"), nil)
	for _, commitment := range [][]byte{sealed[:CommitmentSize], d.commitment()} {
		opened := 0
		for _, ad := range []string{"message 1", "message 2"} {
			if _, err := OpenBody(k, salt, []byte(ad), append(bytes.Clone(commitment), ct...)); err == nil {
				opened++
			}
		}
		if opened > 1 {
			t.Error("one body opens with two sets of associated data")
		}
	}
	if bytes.Equal(sealed[:CommitmentSize], d.commitment()) {
		t.Error("the commitment is the same for other associated data")
	}
}

func FuzzOpenBody(f *testing.F) {
	k := bytes.Repeat([]byte{0x11}, SecretSize)
	salt := Salt(bytes.Repeat([]byte{0x22}, SaltSize))
	sealed, err := SealBody(k, salt, nil, []byte("hello"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(make([]byte, BodyOverhead))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := OpenBody(k, salt, nil, b); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("forged %x: %x", b, p)
		}
		if p, err := OpenHeader(k, salt, nil, b); err == nil {
			t.Errorf("forged header %x: %x", b, p)
		}
	})
}
