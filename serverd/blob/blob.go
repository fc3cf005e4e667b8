// Package blob keeps the bytes of blobs: parts come, become one blob without
// being copied, go out by range, and are deleted. Clients reach the bytes by
// tickets: URLs that are signed and expire. One backend is in each file that
// is named after it, a directory and S3, and one conformance suite runs on
// both. Who may have a ticket is not decided here.
//
// A backend may be used concurrently, starts no goroutine and needs no closing
// but for a directory, which Close leaves.
package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"
)

// Errors that callers branch on.
var (
	// ErrNotFound says that there is no such blob or upload.
	ErrNotFound = errors.New("no such blob")
	// ErrConflict says that the stored parts are not those that were named.
	ErrConflict = errors.New("the parts are not those that are stored")
	// ErrFull says that the medium has no room; nothing was stored.
	ErrFull = errors.New("the blob store is full")
)

// Part is a part of an upload.
type Part struct {
	Number int   // from 1
	Size   int64 // bytes
	// ETag is the store's name of what it has: it differs when a part was put
	// again with other content.
	ETag string
}

// Ticket is what a signed URL allows.
type Ticket struct {
	ID      [16]byte
	Account string // who asked for it
	Expires time.Time
}

// Store is a backend.
type Store interface {
	// Create begins an upload and returns the backend's name of it, which comes back in the other calls.
	Create(ctx context.Context, id [16]byte) (upload string, err error)
	// PutURL returns where one part of exactly that size goes, by a PUT whose answer has an ETag. What was put is durable when it is answered. The same number again replaces a part.
	PutURL(ctx context.Context, t Ticket, upload string, number int, size int64) (string, error)
	// Parts lists what is stored of an upload, by number; ErrNotFound also for a complete one.
	Parts(ctx context.Context, id [16]byte, upload string) ([]Part, error)
	// Complete makes the parts, numbered from 1 without a gap, the blob. It is durable when it returns, and takes the same call again. It fails with ErrNotFound or ErrConflict.
	Complete(ctx context.Context, id [16]byte, upload string, parts []Part) error
	// GetURL returns where a complete blob comes from, by GET, with single ranges (RFC 9110, section 14).
	GetURL(ctx context.Context, t Ticket) (string, error)
	// Delete removes a blob or upload with all its parts. One that is not there is no error.
	Delete(ctx context.Context, id [16]byte) error
	// List returns up to limit ids in ascending order, those after the one given, of all blobs and uploads that have bytes; it may return fewer and is at its end only when it returns none.
	List(ctx context.Context, after [16]byte, limit int) ([][16]byte, error)
	// Ping verifies that the store can be used.
	Ping(ctx context.Context) error
	// Counters are the backend's part of the statistics.
	Counters() map[string]int64
	// Close ends the use.
	Close() error
}

// NewID returns a blob's name: 128 random bits, so that nobody guesses one.
func NewID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// FormatID returns the text of an id: 32 hexadecimal digits.
func FormatID(id [16]byte) string { return hex.EncodeToString(id[:]) }

// ParseID reads the text of an id as FormatID writes it, and nothing else.
func ParseID(text string) (id [16]byte, ok bool) {
	if len(text) != hex.EncodedLen(len(id)) {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil || FormatID(id) != text {
		return [16]byte{}, false
	}
	return id, true
}
