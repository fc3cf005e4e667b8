// Package blob stores the bytes of blobs. Parts are uploaded, become one blob without being copied, are
// served by range, and are deleted. Clients reach the bytes by tickets: signed URLs that expire. There
// are two backends, a directory and S3, in the files named after them, and one conformance suite for
// both. This package does not decide who may have a ticket.
//
// A backend is safe for concurrent use and starts no goroutine. Only the directory needs Close.
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
	// ErrNotFound means that there is no such blob or upload.
	ErrNotFound = errors.New("no such blob")
	// ErrConflict means that the stored parts differ from the parts in the call.
	ErrConflict = errors.New("the parts differ from the stored ones")
	// ErrFull means that the storage is full; nothing was stored.
	ErrFull = errors.New("the blob store is full")
)

// Part is a part of an upload.
type Part struct {
	Number int   // from 1
	Size   int64 // bytes
	// ETag identifies the stored content: it changes when a part is uploaded again with other content.
	ETag string
}

// Ticket describes the access that a signed URL grants.
type Ticket struct {
	ID      [16]byte
	Account string // the account that asked for it
	Expires time.Time
}

// Store is a backend.
type Store interface {
	// Create begins an upload and returns the backend's name for it, which the other calls take.
	Create(ctx context.Context, id [16]byte) (upload string, err error)
	// PutURL returns the URL for one part of exactly that size. The client uploads with a PUT, whose
	// response has an ETag; by then the part is durable. The same number again replaces a part.
	PutURL(ctx context.Context, t Ticket, upload string, number int, size int64) (string, error)
	// Parts lists the stored parts of an upload by number. It returns ErrNotFound for a complete
	// upload, too.
	Parts(ctx context.Context, id [16]byte, upload string) ([]Part, error)
	// Complete turns the parts, numbered from 1 without a gap, into the blob. It returns when the blob
	// is durable; repeating the call succeeds. It returns ErrNotFound or ErrConflict.
	Complete(ctx context.Context, id [16]byte, upload string, parts []Part) error
	// GetURL returns the URL of a complete blob, for GET with single ranges (RFC 9110, section 14).
	GetURL(ctx context.Context, t Ticket) (string, error)
	// Delete removes a blob or upload with all its parts. It is no error if there is none.
	Delete(ctx context.Context, id [16]byte) error
	// List returns up to limit ids in ascending order, greater than after, of all blobs and uploads
	// that have bytes. It may return fewer; only an empty result is the end.
	List(ctx context.Context, after [16]byte, limit int) ([][16]byte, error)
	// Ping verifies that the store works.
	Ping(ctx context.Context) error
	// Counters are the backend's part of the statistics.
	Counters() map[string]int64
	// Close releases the backend.
	Close() error
}

// NewID returns a new blob id: 128 random bits, so that nobody can guess one.
func NewID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// FormatID returns the text of an id: 32 hexadecimal digits.
func FormatID(id [16]byte) string { return hex.EncodeToString(id[:]) }

// ParseID parses an id as FormatID writes it, and accepts nothing else.
func ParseID(text string) (id [16]byte, ok bool) {
	if len(text) != hex.EncodedLen(len(id)) {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil || FormatID(id) != text {
		return [16]byte{}, false
	}
	return id, true
}
