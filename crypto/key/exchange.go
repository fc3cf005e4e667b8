package key

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
)

// Sizes of X25519 encodings and of a shared secret in bytes (RFC 7748).
const (
	ExchangePublicSize  = 32
	ExchangePrivateSize = 32
	ExchangeSecretSize  = 32
)

// ExchangePublic is an X25519 public key. It is comparable. The zero value is not a key; an exchange
// with it fails.
type ExchangePublic struct{ b [ExchangePublicSize]byte }

// ParseExchangePublic parses a 32-byte u coordinate. Unlike RFC 7748 it refuses u >= p and a set top
// bit, which no honest implementation sends, so that a key has exactly one encoding. It returns
// [ErrLength], [ErrEncoding] and, for the five coordinates with which every exchange yields zero,
// [ErrLowOrder].
func ParseExchangePublic(b []byte) (ExchangePublic, error) {
	if len(b) != ExchangePublicSize {
		return ExchangePublic{}, fmt.Errorf("x25519 public key of %d bytes: %w", len(b), ErrLength)
	}
	p := ExchangePublic{b: [ExchangePublicSize]byte(b)}
	if p.b[31]&0x80 != 0 || !belowP(p.b) {
		return ExchangePublic{}, fmt.Errorf("x25519 public key: %w", ErrEncoding)
	}
	for _, low := range lowOrderMontgomery() {
		if p.b == low {
			return ExchangePublic{}, fmt.Errorf("x25519 public key: %w", ErrLowOrder)
		}
	}
	return p, nil
}

// Bytes returns a new slice with the encoding of the key.
func (p ExchangePublic) Bytes() []byte { return slices.Clone(p.b[:]) }

// Equal reports whether p and q are the same key.
func (p ExchangePublic) Equal(q ExchangePublic) bool { return p == q }

// IsZero reports whether p is the zero value.
func (p ExchangePublic) IsZero() bool { return p == ExchangePublic{} }

// String returns "x25519:" and the key in hexadecimal.
func (p ExchangePublic) String() string { return "x25519:" + hex.EncodeToString(p.b[:]) }

// ExchangePrivate is an X25519 private key. Copies share one secret.
type ExchangePrivate struct {
	Redacted
	pub ExchangePublic
	s   Hidden[ecdh.PrivateKey]
}

// GenerateExchange makes a new random key.
func GenerateExchange() ExchangePrivate {
	var b [ExchangePrivateSize]byte
	defer clear(b[:])
	rand.Read(b[:]) // crypto/rand: never fails since Go 1.24
	p, err := ParseExchangePrivate(b[:])
	if err != nil {
		// Only a wrong length can fail, and the length is constant.
		panic("key: " + err.Error())
	}
	return p
}

// ParseExchangePrivate returns the key of a 32-byte scalar, which is clamped in use as in RFC 7748. It
// returns [ErrLength].
func ParseExchangePrivate(b []byte) (ExchangePrivate, error) {
	if len(b) != ExchangePrivateSize {
		return ExchangePrivate{}, fmt.Errorf("x25519 private key of %d bytes: %w", len(b), ErrLength)
	}
	priv, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return ExchangePrivate{}, fmt.Errorf("x25519 private key: %w", err)
	}
	pub := ExchangePublic{b: [ExchangePublicSize]byte(priv.PublicKey().Bytes())}
	return ExchangePrivate{pub: pub, s: Hide(priv)}, nil
}

// IsZero reports whether p has no secret or was wiped.
func (p ExchangePrivate) IsZero() bool { return p.s.Get() == nil }

// Public returns the public half, also after Wipe, or a zero key if p is zero.
func (p ExchangePrivate) Public() ExchangePublic { return p.pub }

// DH returns the 32-byte shared secret with pub; the caller clears it. It returns [ErrNoKey] for empty
// or wiped keys and [ErrLowOrder] for a zero result.
func (p ExchangePrivate) DH(pub ExchangePublic) ([]byte, error) {
	priv := p.s.Get()
	if priv == nil || pub.IsZero() {
		return nil, fmt.Errorf("x25519: %w", ErrNoKey)
	}
	remote, err := ecdh.X25519().NewPublicKey(pub.b[:])
	if err != nil {
		return nil, fmt.Errorf("x25519: %w", err)
	}
	secret, err := priv.ECDH(remote)
	if err != nil {
		return nil, fmt.Errorf("x25519: %w", ErrLowOrder)
	}
	return secret, nil
}

// Seed returns a copy of the 32-byte private key for sealed storage; the caller clears it. It returns
// nil for a zero or wiped key.
func (p ExchangePrivate) Seed() []byte {
	priv := p.s.Get()
	if priv == nil {
		return nil
	}
	return priv.Bytes()
}

// Wipe drops the secret for all copies of p. crypto/ecdh offers no way to overwrite its bytes; they are
// left to the garbage collector (SPEC "Named trade-offs").
func (p ExchangePrivate) Wipe() { p.s.Drop() }

// lowOrderMontgomery returns the canonical u coordinates of the points of small order on Curve25519 and
// its twist (RFC 7748, section 6.1 and the survey it cites).
func lowOrderMontgomery() [5][32]byte {
	return [5][32]byte{
		// 0, of order 2.
		{},
		// 1, of order 4 on the curve, and -1 = p - 1, of order 4 on the twist.
		{0x01},
		{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		// The two of order 8.
		{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
			0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
		{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
			0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
	}
}
