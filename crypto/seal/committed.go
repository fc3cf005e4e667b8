package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// Labels of the key derivation, as the info input of HKDF-SHA512. They keep the
// two uses of an envelope's random bytes apart, should a header key and a
// message key ever be equal.
const (
	// labelEnvelopeHeader derives what seals an envelope's header.
	labelEnvelopeHeader = "secmsg v1 envelope header"
	// labelEnvelopeBody derives what seals an envelope's body.
	labelEnvelopeBody = "secmsg v1 envelope body"
)

// Sizes in bytes (SPEC "Committed AEAD").
const (
	// SaltSize is the number of random bytes that every envelope carries. Two
	// seals with one secret meet the same salt after 2^64 of them.
	SaltSize = 16
	// SecretSize is the length of a header key or message key.
	SecretSize = 32
	// CommitmentSize is the length of a key commitment: collisions of 256 bits
	// are out of reach.
	CommitmentSize = 32
	// TagSize is the length of the Poly1305 tag.
	TagSize = chacha20poly1305.Overhead
	// BodyOverhead is what [SealBody] adds to a plaintext.
	BodyOverhead = CommitmentSize + TagSize
	// HeaderOverhead is what [SealHeader] adds to a header.
	HeaderOverhead = TagSize
)

// Salt is the random part of an envelope, from which, with a header key or a
// message key, the AEAD key and nonce are derived. A fresh one for each
// envelope makes that no (key, nonce) pair recurs even if a ratchet state does.
type Salt [SaltSize]byte

// NewSalt makes a random salt.
func NewSalt() Salt {
	var s Salt
	rand.Read(s[:]) // never fails (crypto/rand, since Go 1.24)
	return s
}

// SealBody seals plaintext under a message key and returns the 32-byte
// commitment to message key, salt and associated data, followed by the
// ChaCha20-Poly1305 ciphertext. The associated data are hashed into the
// derivation of key, nonce and commitment: a body opens with the data that it was
// sealed with and no others, whoever made it. The same salt must never be used
// twice with one messageKey. It fails with [ErrFormat] unless messageKey has
// [SecretSize] bytes.
func SealBody(messageKey []byte, salt Salt, ad, plaintext []byte) ([]byte, error) {
	d, err := derive(messageKey, salt, bodyInfo(ad), CommitmentSize)
	if err != nil {
		return nil, fmt.Errorf("seal body: %w", err)
	}
	defer d.wipe()
	aead, err := d.aead()
	if err != nil {
		return nil, fmt.Errorf("seal body: %w", err)
	}
	out := make([]byte, CommitmentSize, BodyOverhead+len(plaintext))
	copy(out, d.commitment())
	return aead.Seal(out, d.nonce(), plaintext, nil), nil
}

// OpenBody opens what [SealBody] made. The commitment is compared first, in
// constant time, because ChaCha20-Poly1305 alone lets a sender make one
// ciphertext that opens under two keys. It fails with [ErrFormat],
// [ErrCommitment] (also for other associated data) and [ErrOpen].
func OpenBody(messageKey []byte, salt Salt, ad, sealed []byte) ([]byte, error) {
	if len(sealed) < BodyOverhead {
		return nil, fmt.Errorf("open body of %d bytes: %w", len(sealed), ErrFormat)
	}
	d, err := derive(messageKey, salt, bodyInfo(ad), CommitmentSize)
	if err != nil {
		return nil, fmt.Errorf("open body: %w", err)
	}
	defer d.wipe()
	if subtle.ConstantTimeCompare(d.commitment(), sealed[:CommitmentSize]) != 1 {
		return nil, fmt.Errorf("open body: %w", ErrCommitment)
	}
	aead, err := d.aead()
	if err != nil {
		return nil, fmt.Errorf("open body: %w", err)
	}
	plaintext, err := aead.Open(nil, d.nonce(), sealed[CommitmentSize:], nil)
	if err != nil {
		return nil, fmt.Errorf("open body: %w", ErrOpen)
	}
	return plaintext, nil
}

// SealHeader seals an envelope's header under a header key. It carries no
// commitment: a header that opens only selects the keys with which the body's
// commitment is checked. It fails with [ErrFormat] unless headerKey has
// [SecretSize] bytes.
func SealHeader(headerKey []byte, salt Salt, ad, header []byte) ([]byte, error) {
	d, err := derive(headerKey, salt, labelEnvelopeHeader, 0)
	if err != nil {
		return nil, fmt.Errorf("seal header: %w", err)
	}
	defer d.wipe()
	aead, err := d.aead()
	if err != nil {
		return nil, fmt.Errorf("seal header: %w", err)
	}
	return aead.Seal(nil, d.nonce(), header, ad), nil
}

// OpenHeader opens what [SealHeader] made. It fails with [ErrFormat] and
// [ErrOpen]; the latter is what every trial with a wrong header key gives.
func OpenHeader(headerKey []byte, salt Salt, ad, sealed []byte) ([]byte, error) {
	if len(sealed) < HeaderOverhead {
		return nil, fmt.Errorf("open header of %d bytes: %w", len(sealed), ErrFormat)
	}
	d, err := derive(headerKey, salt, labelEnvelopeHeader, 0)
	if err != nil {
		return nil, fmt.Errorf("open header: %w", err)
	}
	defer d.wipe()
	aead, err := d.aead()
	if err != nil {
		return nil, fmt.Errorf("open header: %w", err)
	}
	header, err := aead.Open(nil, d.nonce(), sealed, ad)
	if err != nil {
		return nil, fmt.Errorf("open header: %w", ErrOpen)
	}
	return header, nil
}

// bodyInfo returns the info input of a body's derivation: the label and a hash of
// the associated data. A digest has one length, so that no two inputs are equal.
func bodyInfo(ad []byte) string {
	sum := sha256.Sum256(ad)
	return labelEnvelopeBody + string(sum[:])
}

// derived is key || nonce || commitment, as HKDF-SHA512 gave them.
type derived []byte

func derive(secret []byte, salt Salt, info string, commitment int) (derived, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("secret of %d bytes: %w", len(secret), ErrFormat)
	}
	return hkdf.Key(sha512.New, secret, salt[:], info,
		chacha20poly1305.KeySize+chacha20poly1305.NonceSize+commitment)
}

func (d derived) nonce() []byte {
	return d[chacha20poly1305.KeySize : chacha20poly1305.KeySize+chacha20poly1305.NonceSize]
}

func (d derived) commitment() []byte {
	return d[chacha20poly1305.KeySize+chacha20poly1305.NonceSize:]
}

func (d derived) aead() (cipher.AEAD, error) {
	return chacha20poly1305.New(d[:chacha20poly1305.KeySize])
}

func (d derived) wipe() { clear(d) }
