package seal

import (
	"crypto/rand"
	"fmt"
	"slices"

	"secmsg/crypto/key"
)

// FileKeySize is the length of a file key in bytes.
const FileKeySize = 32

// FileKey is the secret of one sealed file. Whoever has it can open and forge the file. It seals only
// one plaintext: a source that changed needs a new key. Copies share one secret.
type FileKey struct {
	key.Redacted
	s key.Hidden[[FileKeySize]byte]
}

// NewFileKey makes a random key.
func NewFileKey() FileKey {
	var k [FileKeySize]byte
	rand.Read(k[:]) // crypto/rand: never fails since Go 1.24
	return FileKey{s: key.Hide(&k)}
}

// ParseFileKey returns b as a key, or [ErrFormat] unless b has 32 bytes. The caller clears b.
func ParseFileKey(b []byte) (FileKey, error) {
	if len(b) != FileKeySize {
		return FileKey{}, fmt.Errorf("file key of %d bytes: %w", len(b), ErrFormat)
	}
	k := [FileKeySize]byte(b)
	return FileKey{s: key.Hide(&k)}, nil
}

// IsZero reports whether k has no secret or was wiped.
func (k FileKey) IsZero() bool { return k.s.Get() == nil }

// Bytes returns a copy of the key for sending inside a message or for sealed storage; the caller clears
// it. It returns nil for a zero or wiped key.
func (k FileKey) Bytes() []byte {
	b := k.s.Get()
	if b == nil {
		return nil
	}
	return slices.Clone(b[:])
}

// Wipe overwrites the key for all copies of k. A [FileCipher] created from it has its own key, see
// [FileCipher.Wipe].
func (k FileKey) Wipe() {
	if b := k.s.Get(); b != nil {
		clear(b[:])
	}
	k.s.Drop()
}
