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

// Labels of the key derivation, as the info input of HKDF-SHA512. They separate the two uses of an
// envelope's random bytes, should a header key and a message key ever be equal.
const (
	// labelEnvelopeHeader derives the keys for an envelope's header.
	labelEnvelopeHeader = "secmsg v1 envelope header"
	// labelEnvelopeBody derives the keys for an envelope's body.
	labelEnvelopeBody = "secmsg v1 envelope body"
)

// Sizes in bytes (SPEC "Committed AEAD").
const (
	// SaltSize is the number of random bytes in every envelope. A repeated salt under one secret is
	// expected after 2^64 envelopes.
	SaltSize = 16
	// SecretSize is the length of a header key or message key.
	SecretSize = 32
	// CommitmentSize is the length of a key commitment: collisions of 256 bits are infeasible.
	CommitmentSize = 32
	// TagSize is the length of the Poly1305 tag.
	TagSize = chacha20poly1305.Overhead
	// BodyOverhead is the length that [SealBody] adds to a plaintext.
	BodyOverhead = CommitmentSize + TagSize
	// HeaderOverhead is the length that [SealHeader] adds to a header.
	HeaderOverhead = TagSize
)

// Salt is the random part of an envelope. AEAD key and nonce are derived from it and a header key or
// message key. A fresh salt for each envelope ensures that no (key, nonce) pair recurs even if a
// ratchet state does.
type Salt [SaltSize]byte

// NewSalt returns a random salt.
func NewSalt() Salt {
	var s Salt
	rand.Read(s[:]) // crypto/rand: never fails since Go 1.24
	return s
}

// SealBody seals plaintext under a message key. It returns the 32-byte commitment to message key, salt
// and associated data, followed by the ChaCha20-Poly1305 ciphertext. The associated data are hashed
// into the derivation of key, nonce and commitment: a body opens only with the data that it was sealed
// with, whoever created it. The same salt must never be used twice with one messageKey. SealBody
// returns [ErrFormat] unless messageKey has [SecretSize] bytes.
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

// OpenBody opens the output of [SealBody]. It compares the commitment first, in constant time, because
// ChaCha20-Poly1305 alone lets a sender create one ciphertext that opens under two keys. It returns
// [ErrFormat], [ErrCommitment] (also for other associated data) and [ErrOpen].
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

// SealHeader seals an envelope's header under a header key. It contains no commitment: a header that
// opens only selects the keys with which the body's commitment is checked. SealHeader returns
// [ErrFormat] unless headerKey has [SecretSize] bytes.
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

// OpenHeader opens the output of [SealHeader]. It returns [ErrFormat] and [ErrOpen]; every trial with a
// wrong header key returns the latter.
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

// bodyInfo returns the info input of a body's derivation: the label and a hash of the associated data.
// A digest has a fixed length, so no two inputs are equal.
func bodyInfo(ad []byte) string {
	sum := sha256.Sum256(ad)
	return labelEnvelopeBody + string(sum[:])
}

// derived is key || nonce || commitment, the output of HKDF-SHA512.
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
