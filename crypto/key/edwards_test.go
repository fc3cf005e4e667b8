package key

import (
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"math/big"
	"slices"
	"testing"
)

// curve is a slow, affine edwards25519 over big.Int, written directly from RFC 8032, to test the table
// and the checks against.
type curve struct{ p, d *big.Int }

type point struct{ x, y *big.Int }

func newCurve() curve {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d := new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	return curve{p: p, d: d.Mod(d, p)}
}

// decode decompresses b without requiring y to be below p.
func (c curve) decode(b [32]byte) (point, bool) {
	sign := b[31] >> 7
	b[31] &= 0x7f
	le := b
	slices.Reverse(le[:])
	y := new(big.Int).SetBytes(le[:])
	y.Mod(y, c.p)
	yy := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(yy, big.NewInt(1))
	v := new(big.Int).Add(new(big.Int).Mul(c.d, yy), big.NewInt(1))
	xx := u.Mul(u, new(big.Int).ModInverse(v.Mod(v, c.p), c.p))
	x := new(big.Int).ModSqrt(xx.Mod(xx, c.p), c.p)
	if x == nil {
		return point{}, false
	}
	if x.Bit(0) != uint(sign) {
		x.Sub(c.p, x).Mod(x, c.p)
	}
	return point{x, y}, true
}

func (c curve) encode(p point) (out [32]byte) {
	p.y.FillBytes(out[:])
	slices.Reverse(out[:])
	out[31] |= byte(p.x.Bit(0)) << 7
	return out
}

func (c curve) add(p, q point) point {
	mul := func(a, b *big.Int) *big.Int { m := new(big.Int).Mul(a, b); return m.Mod(m, c.p) }
	inv := func(a *big.Int) *big.Int { return new(big.Int).ModInverse(a.Mod(a, c.p), c.p) }
	k := mul(c.d, mul(mul(p.x, q.x), mul(p.y, q.y)))
	one := big.NewInt(1)
	x := mul(new(big.Int).Add(mul(p.x, q.y), mul(q.x, p.y)), inv(new(big.Int).Add(one, k)))
	y := mul(new(big.Int).Add(mul(p.y, q.y), mul(p.x, q.x)), inv(new(big.Int).Sub(one, k)))
	return point{x, y}
}

// small reports whether 8p is the neutral element.
func (c curve) small(p point) bool {
	for range 3 {
		p = c.add(p, p)
	}
	return p.x.Sign() == 0 && p.y.Cmp(big.NewInt(1)) == 0
}

// The table must contain exactly the eight points whose order divides 8: the multiples of any one of
// order 8.
func TestSmallOrderTable(t *testing.T) {
	c, table := newCurve(), smallOrderEdwards()
	gen, ok := c.decode(table[4])
	if !ok {
		t.Fatal("table entry 4 is not a point of the curve")
	}
	seen := map[[32]byte]bool{}
	for p := (point{big.NewInt(0), big.NewInt(1)}); !seen[c.encode(p)]; p = c.add(p, gen) {
		seen[c.encode(p)] = true
		if !slices.Contains(table[:], c.encode(p)) {
			t.Errorf("%x is missing", c.encode(p))
		}
	}
	if len(seen) != len(table) {
		t.Errorf("%d points of small order, table has %d", len(seen), len(table))
	}
	for _, b := range table {
		if _, err := ParseSigningPublic(b[:]); !errors.Is(err, ErrLowOrder) {
			t.Errorf("%x: %v, want ErrLowOrder", b, err)
		}
	}
}

// Go's own verifier accepts a point of small order: the all-zero signature verifies for every message.
// This is the reason for the check.
func TestSmallOrderMatters(t *testing.T) {
	identity := [32]byte{0x01}
	sig := make([]byte, SignatureSize)
	sig[0] = 1 // R = neutral element, S = 0
	if !ed25519.Verify(identity[:], []byte("anything"), sig) {
		t.Skip("the standard library has begun to refuse small order itself")
	}
	if (SigningPublic{}).Verify([]byte("anything"), sig) {
		t.Error("a zero key verified a signature")
	}
	for i := range 64 { // a zero key encodes a point of order 4
		if (SigningPublic{}).Verify([]byte{byte(i)}, sig) {
			t.Error("a zero key verified a signature")
		}
	}
}

// Every encoding with p <= y < 2^255, both signs: nineteen values of y.
func TestNonCanonicalRefused(t *testing.T) {
	p := newCurve().p
	for i := int64(0); i < 19; i++ {
		for _, sign := range []byte{0, 0x80} {
			var b [32]byte
			new(big.Int).Add(p, big.NewInt(i)).FillBytes(b[:])
			slices.Reverse(b[:])
			b[31] |= sign
			if _, err := ParseSigningPublic(b[:]); !errors.Is(err, ErrEncoding) {
				t.Errorf("y = p + %d, sign %x: %v, want ErrEncoding", i, sign, err)
			}
			if _, err := ParseExchangePublic(b[:]); !errors.Is(err, ErrEncoding) {
				t.Errorf("u = p + %d, top bit %x: %v, want ErrEncoding", i, sign, err)
			}
		}
	}
	// x = 0 with a sign bit: y = 1 and y = -1.
	one, minus := [32]byte{0x01, 31: 0x80}, smallOrderEdwards()[1]
	minus[31] |= 0x80
	for _, b := range [][32]byte{one, minus} {
		if _, err := ParseSigningPublic(b[:]); err == nil {
			t.Errorf("%x parsed", b)
		}
	}
}

// The parser agrees with the slow curve for a thousand values of y, about half of which have no point,
// and with the library for real keys.
func TestEdwardsAgainstReference(t *testing.T) {
	c, points := newCurve(), 0
	for i := range 1000 {
		sum := sha512.Sum512([]byte{byte(i), byte(i >> 8)})
		b := [32]byte(sum[:32])
		pt, ok := c.decode(b)
		_, err := ParseSigningPublic(b[:])
		if ok != (err == nil) {
			t.Fatalf("%x: point %v, parser says %v", b, ok, err)
		}
		if !ok {
			continue
		}
		points++
		if c.small(pt) || c.encode(pt) != b {
			t.Fatalf("%x: the reference implementation is wrong", b)
		}
	}
	if points < 400 || points > 600 {
		t.Errorf("%d of 1000 encodings are points", points)
	}
	for range 100 {
		pub := GenerateSigning().Public()
		if _, err := ParseSigningPublic(pub.Bytes()); err != nil {
			t.Fatalf("%s: %v", pub, err)
		}
	}
}

// A point with a component of small order does not have small order: it is one encoding of one key, and
// is accepted (SPEC "Named trade-offs").
func TestMixedOrderAccepted(t *testing.T) {
	c := newCurve()
	torsion, _ := c.decode(smallOrderEdwards()[4])
	pub, _ := c.decode(GenerateSigning().Public().b)
	mixed := c.encode(c.add(pub, torsion))
	if _, err := ParseSigningPublic(mixed[:]); err != nil {
		t.Error(err)
	}
}
