package keyring

import (
	"crypto/hmac"
	"crypto/sha512"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

// tagSize is the length of an index entry in bytes.
const tagSize = 32

// box implements store.Box with the keyring's keys. A transaction that began before the
// profile was locked may still use it afterwards; then every method fails.
type box struct{ k *Keyring }

// Seal seals a value for its place in the database.
func (b box) Seal(table, column, row string, plaintext []byte) ([]byte, error) {
	b.k.mu.RLock()
	defer b.k.mu.RUnlock()
	if b.k.storage.IsZero() {
		return nil, store.ErrLocked
	}
	return b.k.storage.Seal(seal.Cell{Table: table, Column: column, Row: []byte(row)}, plaintext)
}

// Open opens a value from its place in the database.
func (b box) Open(table, column, row string, sealed []byte) ([]byte, error) {
	b.k.mu.RLock()
	defer b.k.mu.RUnlock()
	if b.k.storage.IsZero() {
		return nil, store.ErrLocked
	}
	return b.k.storage.Open(seal.Cell{Table: table, Column: column, Row: []byte(row)}, sealed)
}

// Tag returns the index entry of a sealed value, or nil while locked.
func (b box) Tag(domain string, value []byte) []byte {
	b.k.mu.RLock()
	defer b.k.mu.RUnlock()
	if b.k.storage.IsZero() {
		return nil // an entry under an empty key would reveal the value
	}
	mac := hmac.New(sha512.New, b.k.index)
	mac.Write([]byte{byte(len(domain))})
	mac.Write([]byte(domain))
	mac.Write(value)
	return mac.Sum(nil)[:tagSize]
}
