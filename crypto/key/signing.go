package key

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Sizes of Ed25519 encodings in bytes (RFC 8032).
const (
	SigningPublicSize = ed25519.PublicKeySize
	SigningSeedSize   = ed25519.SeedSize
	SignatureSize     = ed25519.SignatureSize
)

// SigningPublic is an Ed25519 public key. It is comparable. The zero value is not a key and verifies
// nothing.
type SigningPublic struct{ b [SigningPublicSize]byte }

// ParseSigningPublic parses the 32-byte encoding of RFC 8032. It returns [ErrLength], [ErrEncoding] for
// a non-canonical encoding or for bytes that encode no point of the curve, and [ErrLowOrder].
func ParseSigningPublic(b []byte) (SigningPublic, error) {
	if len(b) != SigningPublicSize {
		return SigningPublic{}, fmt.Errorf("ed25519 public key of %d bytes: %w", len(b), ErrLength)
	}
	p := SigningPublic{b: [SigningPublicSize]byte(b)}
	if err := checkEdwards(p.b); err != nil {
		return SigningPublic{}, fmt.Errorf("ed25519 public key: %w", err)
	}
	return p, nil
}

// Bytes returns a new slice with the encoding of the key.
func (p SigningPublic) Bytes() []byte { return slices.Clone(p.b[:]) }

// Equal reports whether p and q are the same key.
func (p SigningPublic) Equal(q SigningPublic) bool { return p == q }

// IsZero reports whether p is the zero value.
func (p SigningPublic) IsZero() bool { return p == SigningPublic{} }

// Verify reports whether sig is p's signature of msg. It returns false for a zero key: 32 zero bytes
// encode a point of order 4, under which anybody can sign.
func (p SigningPublic) Verify(msg, sig []byte) bool {
	if p.IsZero() || len(sig) != SignatureSize {
		return false
	}
	return ed25519.Verify(p.b[:], msg, sig)
}

// Fingerprint returns the SHA-256 of the key in lower-case hexadecimal.
func (p SigningPublic) Fingerprint() string {
	sum := sha256.Sum256(p.b[:])
	return hex.EncodeToString(sum[:])
}

// String returns "ed25519:" and the key in hexadecimal.
func (p SigningPublic) String() string { return "ed25519:" + hex.EncodeToString(p.b[:]) }

// Std returns the key as the standard library's type, for X.509.
func (p SigningPublic) Std() ed25519.PublicKey { return p.Bytes() }

// SigningPrivate is an Ed25519 private key. Copies share one secret.
type SigningPrivate struct {
	Redacted
	pub SigningPublic
	s   Hidden[ed25519.PrivateKey]
}

// GenerateSigning makes a new random key.
func GenerateSigning() SigningPrivate {
	var seed [SigningSeedSize]byte
	defer clear(seed[:])
	rand.Read(seed[:]) // crypto/rand: never fails since Go 1.24
	return newSigning(seed[:])
}

// ParseSigningSeed returns the key of a 32-byte seed (RFC 8032's private key). It returns [ErrLength].
func ParseSigningSeed(seed []byte) (SigningPrivate, error) {
	if len(seed) != SigningSeedSize {
		return SigningPrivate{}, fmt.Errorf("ed25519 seed of %d bytes: %w", len(seed), ErrLength)
	}
	return newSigning(seed), nil
}

func newSigning(seed []byte) SigningPrivate {
	priv := ed25519.NewKeyFromSeed(seed)
	return SigningPrivate{
		pub: SigningPublic{b: [SigningPublicSize]byte(priv[SigningSeedSize:])},
		s:   Hide(&priv),
	}
}

// IsZero reports whether p has no secret or was wiped.
func (p SigningPrivate) IsZero() bool { return p.s.Get() == nil }

// Public returns the public half, also after Wipe, or a zero key if p is zero.
func (p SigningPrivate) Public() SigningPublic { return p.pub }

// Sign returns the signature of msg. A zero or wiped key returns nil, which no verifier accepts.
func (p SigningPrivate) Sign(msg []byte) []byte {
	priv := p.s.Get()
	if priv == nil {
		return nil
	}
	return ed25519.Sign(*priv, msg)
}

// Seed returns a copy of the 32-byte seed for sealed storage; the caller clears it. It returns nil for
// a zero or wiped key.
func (p SigningPrivate) Seed() []byte {
	priv := p.s.Get()
	if priv == nil {
		return nil
	}
	return priv.Seed()
}

// Signer returns the key as a [crypto.Signer] for X.509 and TLS. It prints as redacted, and stops
// working when the key is wiped.
func (p SigningPrivate) Signer() crypto.Signer { return signer{key: p} }

// Wipe overwrites the secret for all copies of p. Copies made by the runtime or the standard library
// cannot be reached (SPEC "Named trade-offs").
func (p SigningPrivate) Wipe() {
	if priv := p.s.Get(); priv != nil {
		clear(*priv)
	}
	p.s.Drop()
}

// signer adapts a SigningPrivate to crypto.Signer.
type signer struct {
	Redacted
	key SigningPrivate
}

// Public returns an ed25519.PublicKey.
func (s signer) Public() crypto.PublicKey { return s.key.Public().Std() }

// Sign signs msg itself. opts must name no hash, as pure Ed25519 requires.
func (s signer) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.Hash(0) {
		return nil, errors.New("ed25519: cannot sign a hashed message")
	}
	if _, ok := opts.(*ed25519.Options); ok {
		return nil, errors.New("ed25519: contexts are not supported")
	}
	sig := s.key.Sign(msg)
	if sig == nil {
		return nil, fmt.Errorf("ed25519: sign: %w", ErrNoKey)
	}
	return sig, nil
}
