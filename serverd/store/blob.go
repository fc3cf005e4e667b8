package store

import (
	"context"
	"errors"
	"time"
)

// ErrTooLarge means that a blob exceeds the size limit or its declared size.
var ErrTooLarge = errors.New("larger than allowed")

// BlobState is the state of a blob.
type BlobState uint8

// Values of BlobState, as stored in the database.
const (
	BlobOpen     BlobState = 1 // parts may be uploaded
	BlobComplete BlobState = 2 // it may be fetched
	BlobDead     BlobState = 3 // invisible; its bytes are still to be deleted
)

// Blob is the server's record of a blob.
type Blob struct {
	ID        [16]byte
	Owner     string
	Upload    string // the backend's name for the upload
	State     BlobState
	Declared  int64 // bytes; 0 if not declared
	Reserved  int64 // bytes counted towards the quota
	Size      int64 // bytes, once complete
	Created   time.Time
	Expires   time.Time
	Life      time.Duration // from its completion
	Downloads int
}

// BlobPart is a part whose size is reserved.
type BlobPart struct {
	Number int
	Size   int64
}

// BlobLimits bound one account's blobs.
type BlobLimits struct {
	Quota      int64 // bytes reserved, unless the account has a quota of its own
	Size       int64 // bytes of one blob
	Count      int   // blobs
	Unfinished int   // blobs that are not complete
	MinPart    int64 // bytes of each part but the last
}

// BlobUsage is an account's use of blobs.
type BlobUsage struct {
	Bytes      int64 // reserved
	Blobs      int
	Unfinished int
	Quota      int64 // the account's own; 0 for none
}

// Blobs holds owners, readers, reservations and expiry of blobs; the bytes are stored elsewhere. A row
// is created before its bytes and outlives them, so bytes without a row belong to nobody. Reservations
// are checked and made in one transaction.
type Blobs interface {
	// CreateBlob stores an open blob; b.Reserved is its declared size. Readers without an account are
	// left out silently. It returns ErrFull or ErrTooLarge.
	CreateBlob(ctx context.Context, b Blob, readers []string, limits BlobLimits) error
	// SetBlobUpload stores the backend's name for an open upload, or returns ErrNotFound.
	SetBlobUpload(ctx context.Context, id [16]byte, upload string) error
	// OwnBlob returns a blob of owner that is neither dead nor expired, or ErrNotFound.
	OwnBlob(ctx context.Context, id [16]byte, owner string, now time.Time) (Blob, error)
	// ReadableBlob returns a complete blob that account may fetch, as its owner or as a reader whom the
	// owner has not blocked, or ErrNotFound. It does the same work in every case.
	ReadableBlob(ctx context.Context, id [16]byte, account string, now time.Time) (Blob, error)
	// BlobParts returns the reserved parts by number.
	BlobParts(ctx context.Context, id [16]byte) ([]BlobPart, error)
	// ReserveParts reserves the sizes of parts of an open blob and sets its expiry to expires. A part
	// already reserved with the same size is no error. It returns ErrNotFound, ErrConflict (complete;
	// another size; a small part that is not the last), ErrFull or ErrTooLarge; then nothing has
	// changed.
	ReserveParts(ctx context.Context, id [16]byte, owner string, parts []BlobPart, now, expires time.Time, limits BlobLimits) error
	// CompleteBlob completes an open blob. Its size is the sum of the parts, which must be reserved and
	// be numbered from 1 without a gap; other reservations are released. It returns ErrNotFound or
	// ErrConflict. Repeating it with the same parts is no error.
	CompleteBlob(ctx context.Context, id [16]byte, owner string, parts []BlobPart, now, expires time.Time) error
	// CountDownload counts a download of a blob.
	CountDownload(ctx context.Context, id [16]byte) error
	// DropBlob makes a blob of owner dead, or returns ErrNotFound.
	DropBlob(ctx context.Context, id [16]byte, owner string, now time.Time) error
	// ExpireBlobs makes up to limit blobs dead that expired by now, and returns their number.
	ExpireBlobs(ctx context.Context, now time.Time, limit int) (int, error)
	// DeadBlobs returns up to limit dead blobs in ascending order, starting after the given one.
	DeadBlobs(ctx context.Context, after [16]byte, limit int) ([][16]byte, error)
	// ForgetBlobs removes the rows of dead blobs whose bytes are deleted; their reservations end.
	ForgetBlobs(ctx context.Context, ids [][16]byte) error
	// KnownBlobs returns those of ids that have a row.
	KnownBlobs(ctx context.Context, ids [][16]byte) (map[[16]byte]bool, error)
	// BlobUsage returns an account's use of blobs.
	BlobUsage(ctx context.Context, account string) (BlobUsage, error)
	// SetBlobQuota gives an account its own quota in bytes; 0 removes it. It returns ErrNotFound for an
	// unknown account.
	SetBlobQuota(ctx context.Context, account string, bytes int64) error
}
