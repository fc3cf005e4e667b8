package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// Sizes at rest in bytes (SPEC "At rest").
const (
	// StorageKeySize is the length of a storage key.
	StorageKeySize = chacha20poly1305.KeySize
	// StorageOverhead is the length that [StorageKey.Seal] adds: version, nonce and tag.
	StorageOverhead = 1 + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	// MaxCellName bounds the name of a table or column in a cell.
	MaxCellName = 255
)

// StorageKey seals the values of a profile's database. Copies share one secret.
type StorageKey struct {
	key.Redacted
	s key.Hidden[[StorageKeySize]byte]
}

// NewStorageKey makes a random key.
func NewStorageKey() StorageKey {
	var k [StorageKeySize]byte
	rand.Read(k[:]) // crypto/rand: never fails since Go 1.24
	return StorageKey{s: key.Hide(&k)}
}

// ParseStorageKey returns b as a key, or [ErrFormat] unless b has 32 bytes. The caller clears b.
func ParseStorageKey(b []byte) (StorageKey, error) {
	if len(b) != StorageKeySize {
		return StorageKey{}, fmt.Errorf("storage key of %d bytes: %w", len(b), ErrFormat)
	}
	k := [StorageKeySize]byte(b)
	return StorageKey{s: key.Hide(&k)}, nil
}

// IsZero reports whether k has no secret or was wiped.
func (k StorageKey) IsZero() bool { return k.s.Get() == nil }

// Bytes returns a copy of the key, for a profile without a passphrase; the caller clears it. It returns
// nil for a zero or wiped key.
func (k StorageKey) Bytes() []byte {
	b := k.s.Get()
	if b == nil {
		return nil
	}
	return slices.Clone(b[:])
}

// Wipe overwrites the key for all copies of k.
func (k StorageKey) Wipe() {
	if b := k.s.Get(); b != nil {
		clear(b[:])
	}
	k.s.Drop()
}

// Cell is the position of a value in the database. It is authenticated with the value: a value moved to
// another column or row does not open.
type Cell struct {
	Table  string
	Column string
	Row    []byte // the row's primary key, in a canonical encoding
}

// ad returns the associated data of a cell. Every part has its length in front, so no two cells have
// the same.
func (c Cell) ad() ([]byte, error) {
	if len(c.Table) > MaxCellName || len(c.Column) > MaxCellName {
		return nil, fmt.Errorf("cell name too long: %w", ErrFormat)
	}
	b := cryptobyte.NewBuilder(nil)
	for _, part := range []string{labelCell, c.Table, c.Column} {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(part)) })
	}
	b.AddUint32LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Row) })
	return b.Bytes()
}

// Seal seals plaintext for a cell under a random 24-byte nonce, drawn anew for every write: version ||
// nonce || XChaCha20-Poly1305 ciphertext. It returns [key.ErrNoKey] for a zero or wiped key.
func (k StorageKey) Seal(cell Cell, plaintext []byte) ([]byte, error) {
	ad, err := cell.ad()
	if err != nil {
		return nil, fmt.Errorf("seal cell: %w", err)
	}
	aead, err := k.aead()
	if err != nil {
		return nil, fmt.Errorf("seal cell: %w", err)
	}
	out := make([]byte, 1+chacha20poly1305.NonceSizeX, StorageOverhead+len(plaintext))
	out[0] = version
	nonce := out[1:]
	rand.Read(nonce)
	return aead.Seal(out, nonce, plaintext, ad), nil
}

// Open opens the output of Seal for the same cell. It returns [ErrFormat], [ErrOpen] and
// [key.ErrNoKey].
func (k StorageKey) Open(cell Cell, sealed []byte) ([]byte, error) {
	ad, err := cell.ad()
	if err != nil {
		return nil, fmt.Errorf("open cell: %w", err)
	}
	plaintext, err := k.open(ad, sealed)
	if err != nil {
		return nil, fmt.Errorf("open cell: %w", err)
	}
	return plaintext, nil
}

func (k StorageKey) open(ad, sealed []byte) ([]byte, error) {
	if len(sealed) < StorageOverhead || sealed[0] != version {
		return nil, fmt.Errorf("%d bytes: %w", len(sealed), ErrFormat)
	}
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	nonce, ct := sealed[1:1+chacha20poly1305.NonceSizeX], sealed[1+chacha20poly1305.NonceSizeX:]
	plaintext, err := aead.Open(nil, nonce, ct, ad)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

func (k StorageKey) aead() (cipher.AEAD, error) {
	b := k.s.Get()
	if b == nil {
		return nil, key.ErrNoKey
	}
	return chacha20poly1305.NewX(b[:])
}
