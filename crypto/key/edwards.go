package key

import "math/big"

// checkEdwards returns an error if b is not the canonical encoding of an Ed25519 point that may be a
// public key. crypto/ed25519 accepts points of small order, under which one signature verifies for many
// messages, and encodings with y >= p, which give one key two encodings. Both are refused here, at
// parse time.
//
// Public keys are public: nothing here needs constant time.
func checkEdwards(b [SigningPublicSize]byte) error {
	if !belowP(b) {
		return ErrEncoding
	}
	// The two points with x = 0 have small order, so this also refuses their encodings with a sign bit,
	// which RFC 8032, section 5.1.3 forbids.
	y := b
	y[31] &= 0x7f
	for _, small := range smallOrderEdwards() {
		small[31] &= 0x7f
		if y == small {
			return ErrLowOrder
		}
	}
	if !onEdwards(y) {
		return ErrEncoding
	}
	return nil
}

// belowP reports whether the little-endian number in b, without its top bit, is below p = 2^255 - 19.
// Only then is it the canonical encoding of a field element.
func belowP(b [32]byte) bool {
	if b[31]&0x7f != 0x7f {
		return true
	}
	for _, c := range b[1:31] {
		if c != 0xff {
			return true
		}
	}
	return b[0] < 0xed
}

// onEdwards reports whether a point with this y exists: x^2 = (y^2-1)/(d*y^2+1) must be a square (RFC
// 8032, section 5.1.3). A quotient is a square exactly when the product of its parts is, so no
// inversion is needed. The divisor is never zero, since -1/d is not a square.
func onEdwards(y [32]byte) bool {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d := new(big.Int).SetBytes([]byte(edwardsD))
	for i, j := 0, len(y)-1; i < j; i, j = i+1, j-1 {
		y[i], y[j] = y[j], y[i]
	}
	yy := new(big.Int).SetBytes(y[:])
	yy.Mul(yy, yy).Mod(yy, p)
	u := new(big.Int).Sub(yy, big.NewInt(1))
	v := new(big.Int).Mul(d, yy)
	v.Add(v, big.NewInt(1))
	return big.Jacobi(u.Mul(u, v).Mod(u, p), p) == 1
}

// edwardsD is the curve constant d = -121665/121666, big-endian (RFC 8032, section 5.1).
const edwardsD = "\x52\x03\x6c\xee\x2b\x6f\xfe\x73\x8c\xc7\x40\x79\x77\x79\xe8\x98" +
	"\x00\x70\x0a\x4d\x41\x41\xd8\xab\x75\xeb\x4d\xca\x13\x59\x78\xa3"

// smallOrderEdwards returns the canonical encodings of the eight points of
// edwards25519 whose order divides 8.
func smallOrderEdwards() [8][32]byte {
	return [8][32]byte{
		// Order 1: (0, 1).
		{0x01},
		// Order 2: (0, -1).
		{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		// Order 4: y = 0.
		{},
		{31: 0x80},
		// Order 8: two values of y, two signs of x each.
		{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
			0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
		{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
			0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x85},
		{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
			0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
		{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
			0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0xfa},
	}
}
