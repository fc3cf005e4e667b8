package store

import (
	"context"
	"errors"
	"time"
)

// ErrTooLarge says that a blob exceeds the size limit, or what it declared.
var ErrTooLarge = errors.New("larger than allowed")

// BlobState is how a blob stands.
type BlobState uint8

// The states, as the database has them.
const (
	BlobOpen     BlobState = 1 // parts may come
	BlobComplete BlobState = 2 // it may be fetched
	BlobDead     BlobState = 3 // nobody sees it; its bytes are still to be deleted
)

// Blob is what the server knows of a blob.
type Blob struct {
	ID        [16]byte
	Owner     string
	Upload    string // the backend's name of the upload
	State     BlobState
	Declared  int64 // bytes, 0: not known
	Reserved  int64 // bytes that count towards the quota
	Size      int64 // bytes, once complete
	Created   time.Time
	Expires   time.Time
	Life      time.Duration // from the completion on
	Downloads int
}

// BlobPart is a part that has its size reserved.
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

// BlobUsage is what an account takes.
type BlobUsage struct {
	Bytes      int64 // reserved
	Blobs      int
	Unfinished int
	Quota      int64 // the account's own, 0: none
}

// Blobs holds owners, readers, reservations and expiry of blobs; their bytes
// are elsewhere. A row is made before its bytes and outlives them, so that
// bytes without a row are nobody's. Reservations are checked and made in one
// transaction.
type Blobs interface {
	// CreateBlob stores an open blob; b.Reserved is its declared size. Readers that are no accounts are left out, without a word. It fails with ErrFull or ErrTooLarge.
	CreateBlob(ctx context.Context, b Blob, readers []string, limits BlobLimits) error
	// SetBlobUpload stores the backend's name of an open upload; ErrNotFound.
	SetBlobUpload(ctx context.Context, id [16]byte, upload string) error
	// OwnBlob returns a blob of owner that is neither dead nor expired, else ErrNotFound.
	OwnBlob(ctx context.Context, id [16]byte, owner string, now time.Time) (Blob, error)
	// ReadableBlob returns a complete blob that account may fetch, as its owner or as a reader whom the owner has not blocked, else ErrNotFound. It does the same work whatever is the matter.
	ReadableBlob(ctx context.Context, id [16]byte, account string, now time.Time) (Blob, error)
	// BlobParts returns the reserved parts by number.
	BlobParts(ctx context.Context, id [16]byte) ([]BlobPart, error)
	// ReserveParts reserves sizes of parts of an open blob and puts its expiry to expires. A part that is reserved with the same size is no error. It fails with ErrNotFound, ErrConflict (complete; another size; a small part that is not the last), ErrFull or ErrTooLarge; then nothing has changed.
	ReserveParts(ctx context.Context, id [16]byte, owner string, parts []BlobPart, now, expires time.Time, limits BlobLimits) error
	// CompleteBlob makes an open blob complete: its size is that of the parts, which must be reserved and be numbered from 1 without a gap; what else was reserved is given back. It fails with ErrNotFound or ErrConflict. With the same parts again it is no error.
	CompleteBlob(ctx context.Context, id [16]byte, owner string, parts []BlobPart, now, expires time.Time) error
	// CountDownload counts that a blob was handed out.
	CountDownload(ctx context.Context, id [16]byte) error
	// DropBlob makes a blob of owner dead; ErrNotFound.
	DropBlob(ctx context.Context, id [16]byte, owner string, now time.Time) error
	// ExpireBlobs makes up to limit blobs dead that expired by now, and returns how many.
	ExpireBlobs(ctx context.Context, now time.Time, limit int) (int, error)
	// DeadBlobs returns up to limit dead blobs in ascending order, those after the one given.
	DeadBlobs(ctx context.Context, after [16]byte, limit int) ([][16]byte, error)
	// ForgetBlobs removes the rows of dead blobs whose bytes are gone; their reservation ends.
	ForgetBlobs(ctx context.Context, ids [][16]byte) error
	// KnownBlobs returns those of ids that have a row.
	KnownBlobs(ctx context.Context, ids [][16]byte) (map[[16]byte]bool, error)
	// BlobUsage returns what an account takes.
	BlobUsage(ctx context.Context, account string) (BlobUsage, error)
	// SetBlobQuota gives an account a quota of its own in bytes; 0 takes it away. It fails with ErrNotFound.
	SetBlobQuota(ctx context.Context, account string, bytes int64) error
}
