package wire

import "time"

// Limits of blobs that both ends hold.
const (
	// BlobPartSize bounds one part in bytes: 128 sealed chunks of 64 KiB and the
	// stream's header fit. S3 wants at least 5 MiB for every part but the last.
	BlobPartSize = 8<<20 + 4<<10
	// MaxBlobParts bounds the parts of a blob: 31 GiB. S3 takes 10,000, but
	// their ETags must fit into one request.
	MaxBlobParts = 4_000
	// MaxBlobReaders bounds the accounts that may fetch a blob.
	MaxBlobReaders = 256
	// MaxBlobTickets bounds the parts that one call asks tickets for.
	MaxBlobTickets = 32
	// MinBlobPart is the least size of a part in bytes; only the last part of a
	// blob may be smaller. It is S3's own bound (EntityTooSmall), and keeps the
	// parts of an account's quota few.
	MinBlobPart = 5 << 20
	// BlobTicketLife is how long a ticket is good.
	BlobTicketLife = 15 * time.Minute
)

// PathBlobData begins the paths of the server's own ticket URLs, which carry no
// token: their signature is the right. They need no protocol header.
const PathBlobData = "/v1/blobdata/"

// CodeTicket (403) answers a ticket's URL that is expired, or not what was
// signed: a new ticket is needed.
const CodeTicket Code = "ticket"

// CreateBlob is the body of POST /v1/blobs.
type CreateBlob struct {
	// Readers are the accounts (user names of this realm) that may fetch the
	// blob, besides its owner. Everybody else gets not_found.
	Readers []string `json:"readers"`
	// Size is the blob's length in bytes and is reserved at once; 0: not known,
	// then each part is reserved when its ticket is asked for.
	Size int64 `json:"size,omitempty"`
	// LifeMS is how long the blob is wanted; 0 or more than the server's
	// retention: the retention.
	LifeMS int64 `json:"life_ms,omitempty"`
}

// Blob answers POST /v1/blobs and GET /v1/blobs/{id}; the latter for the owner only.
type Blob struct {
	ID       string `json:"id"`
	Complete bool   `json:"complete"`
	// Size is the blob's length in bytes: what was said when it was begun, else the
	// sum of the stored parts so far.
	Size      int64 `json:"size"`
	ExpiresMS int64 `json:"expires_ms"` // when it is dropped, complete or not; a ticket puts it off while it is not
	MaxSize   int64 `json:"max_size"`
	Downloads int   `json:"downloads"` // how often a reader asked for a ticket to fetch it
	// Parts are those that are stored, in order of number; none once the blob is complete.
	Parts []BlobPart `json:"parts"`
}

// BlobPart is a part that is stored, or is to be.
type BlobPart struct {
	Number int   `json:"number"` // from 1
	Size   int64 `json:"size"`   // bytes, at most BlobPartSize
	// ETag is the store's name of what it has, for POST complete.
	ETag string `json:"etag,omitempty"`
}

// BlobTickets is the body of POST /v1/blobs/{id}/tickets: it asks where these
// parts go. Their sizes are reserved, and count towards quota and size limit.
type BlobTickets struct {
	Parts []BlobPart `json:"parts"`
}

// BlobTicket says where one part goes, or where a blob comes from.
type BlobTicket struct {
	Number int `json:"number,omitempty"`
	// URL takes a PUT of exactly the size that was asked for, whose answer has
	// the header ETag; or any number of GETs, with Range. One that begins with
	// "/" is on the server itself, and is used over the connection that has
	// proved the realm; any other one is a store's own, and gets no token.
	URL       string `json:"url"`
	ExpiresMS int64  `json:"expires_ms"`
	// Size is what the whole blob must have, in bytes; 0: not known. It is said
	// by who fetches, and never on the wire.
	Size int64 `json:"-"`
}

// BlobTicketList answers POST /v1/blobs/{id}/tickets.
type BlobTicketList struct {
	Tickets []BlobTicket `json:"tickets"`
}

// CompleteBlob is the body of POST /v1/blobs/{id}/complete. Repeating it gives
// the same answer.
type CompleteBlob struct {
	// Size is that of the whole blob: the sum of its parts, whose own sizes were
	// said when they were reserved.
	Size int64 `json:"size"`
	// ETags are the store's names of the parts, from part 1 on without a gap, with
	// or without the quotes of the header.
	ETags []string `json:"etags"`
}

// BlobDownload answers POST /v1/blobs/{id}/download.
type BlobDownload struct {
	Ticket    BlobTicket `json:"ticket"`
	Size      int64      `json:"size"`
	ExpiresMS int64      `json:"expires_ms"` // of the blob
}
