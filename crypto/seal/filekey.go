package seal

import (
	"crypto/rand"
	"fmt"
	"slices"

	"secmsg/crypto/key"
)

// FileKeySize is the length of a file key in bytes.
const FileKeySize = 32

// FileKey is the secret of one sealed file; whoever has it can open and forge
// the file. It seals one plaintext only: a source that changed takes a new key.
// Copies share one secret.
type FileKey struct {
	key.Redacted
	s key.Hidden[[FileKeySize]byte]
}

// NewFileKey makes a random key.
func NewFileKey() FileKey {
	var k [FileKeySize]byte
	rand.Read(k[:]) // never fails (crypto/rand, since Go 1.24)
	return FileKey{s: key.Hide(&k)}
}

// ParseFileKey returns the key that b holds; [ErrFormat] unless b has 32 bytes.
// The caller clears b.
func ParseFileKey(b []byte) (FileKey, error) {
	if len(b) != FileKeySize {
		return FileKey{}, fmt.Errorf("file key of %d bytes: %w", len(b), ErrFormat)
	}
	k := [FileKeySize]byte(b)
	return FileKey{s: key.Hide(&k)}, nil
}

// IsZero reports whether k holds no secret, or one that was wiped.
func (k FileKey) IsZero() bool { return k.s.Get() == nil }

// Bytes returns a copy of the key, to be sent inside a message or sealed at
// rest; the caller clears it. A zero or wiped key returns nil.
func (k FileKey) Bytes() []byte {
	b := k.s.Get()
	if b == nil {
		return nil
	}
	return slices.Clone(b[:])
}

// Wipe overwrites the key for all copies of k. A [FileCipher] that was made of
// it has its own, see [FileCipher.Wipe].
func (k FileKey) Wipe() {
	if b := k.s.Get(); b != nil {
		clear(b[:])
	}
	k.s.Drop()
}
