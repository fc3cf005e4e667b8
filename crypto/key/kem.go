package key

import (
	"bytes"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Sizes of ML-KEM-768 encodings and of a shared secret in bytes (FIPS 203).
const (
	KEMPublicSize     = mlkem.EncapsulationKeySize768
	KEMSeedSize       = mlkem.SeedSize
	KEMCiphertextSize = mlkem.CiphertextSize768
	KEMSecretSize     = mlkem.SharedKeySize
)

// KEMPublic is an ML-KEM-768 encapsulation key. The zero value is not a key.
type KEMPublic struct {
	_  [0]func() // compare with Equal: == would compare pointers
	ek *mlkem.EncapsulationKey768
}

// ParseKEMPublic parses the 1,184-byte encoding of FIPS 203 and performs the modulus check of its
// section 7.2. It returns [ErrLength] and [ErrEncoding].
func ParseKEMPublic(b []byte) (KEMPublic, error) {
	if len(b) != KEMPublicSize {
		return KEMPublic{}, fmt.Errorf("ml-kem-768 public key of %d bytes: %w", len(b), ErrLength)
	}
	ek, err := mlkem.NewEncapsulationKey768(b)
	if err != nil {
		return KEMPublic{}, fmt.Errorf("ml-kem-768 public key: %w", ErrEncoding)
	}
	return KEMPublic{ek: ek}, nil
}

// Bytes returns a new slice with the encoding of the key, or nil for a zero key.
func (p KEMPublic) Bytes() []byte {
	if p.ek == nil {
		return nil
	}
	return p.ek.Bytes()
}

// Equal reports whether p and q are the same key.
func (p KEMPublic) Equal(q KEMPublic) bool { return bytes.Equal(p.Bytes(), q.Bytes()) }

// IsZero reports whether p is the zero value.
func (p KEMPublic) IsZero() bool { return p.ek == nil }

// String returns "ml-kem-768:" and the SHA-256 of the key in hexadecimal; the key itself is too long to
// print.
func (p KEMPublic) String() string {
	sum := sha256.Sum256(p.Bytes())
	return "ml-kem-768:" + hex.EncodeToString(sum[:])
}

// Encapsulate generates a random 32-byte secret and the 1,088-byte ciphertext that carries it to the
// owner of p. It returns [ErrNoKey] for a zero key. The caller clears the secret.
func (p KEMPublic) Encapsulate() (secret, ciphertext []byte, err error) {
	if p.ek == nil {
		return nil, nil, fmt.Errorf("ml-kem-768: %w", ErrNoKey)
	}
	secret, ciphertext = p.ek.Encapsulate()
	return secret, ciphertext, nil
}

// KEMPrivate is an ML-KEM-768 decapsulation key. Copies share one secret.
type KEMPrivate struct {
	Redacted
	s Hidden[mlkem.DecapsulationKey768]
}

// GenerateKEM makes a new random key.
func GenerateKEM() KEMPrivate {
	var seed [KEMSeedSize]byte
	defer clear(seed[:])
	rand.Read(seed[:]) // crypto/rand: never fails since Go 1.24
	p, err := ParseKEMSeed(seed[:])
	if err != nil {
		// Only a wrong length can fail, and the length is constant.
		panic("key: " + err.Error())
	}
	return p
}

// ParseKEMSeed returns the key of a 64-byte seed, d || z of FIPS 203. It returns [ErrLength].
func ParseKEMSeed(seed []byte) (KEMPrivate, error) {
	if len(seed) != KEMSeedSize {
		return KEMPrivate{}, fmt.Errorf("ml-kem-768 seed of %d bytes: %w", len(seed), ErrLength)
	}
	dk, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return KEMPrivate{}, fmt.Errorf("ml-kem-768 seed: %w", err)
	}
	return KEMPrivate{s: Hide(dk)}, nil
}

// IsZero reports whether p has no secret or was wiped.
func (p KEMPrivate) IsZero() bool { return p.s.Get() == nil }

// Public returns the public half, or a zero key if p is zero or wiped.
func (p KEMPrivate) Public() KEMPublic {
	dk := p.s.Get()
	if dk == nil {
		return KEMPublic{}
	}
	return KEMPublic{ek: dk.EncapsulationKey()}
}

// Decapsulate returns the 32-byte secret in a ciphertext; the caller clears it. A changed ciphertext
// yields a secret that nobody else has (implicit rejection, FIPS 203, section 6.3), not an error. It
// returns [ErrLength] and [ErrNoKey].
func (p KEMPrivate) Decapsulate(ciphertext []byte) ([]byte, error) {
	dk := p.s.Get()
	if dk == nil {
		return nil, fmt.Errorf("ml-kem-768: %w", ErrNoKey)
	}
	if len(ciphertext) != KEMCiphertextSize {
		return nil, fmt.Errorf("ml-kem-768 ciphertext of %d bytes: %w", len(ciphertext), ErrLength)
	}
	secret, err := dk.Decapsulate(ciphertext)
	if err != nil {
		return nil, fmt.Errorf("ml-kem-768: %w", err)
	}
	return secret, nil
}

// Seed returns a copy of the 64-byte seed for sealed storage; the caller clears it. It returns nil for
// a zero or wiped key.
func (p KEMPrivate) Seed() []byte {
	dk := p.s.Get()
	if dk == nil {
		return nil
	}
	return dk.Bytes()
}

// Wipe drops the secret for all copies of p. crypto/mlkem offers no way to overwrite its bytes; they
// are left to the garbage collector (SPEC "Named trade-offs").
func (p KEMPrivate) Wipe() { p.s.Drop() }
