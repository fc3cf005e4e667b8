package wire

import "time"

// Limits of blobs that client and server share.
const (
	// BlobPartSize bounds one part in bytes: 128 sealed chunks of 64 KiB plus the stream's header. S3
	// requires at least 5 MiB for every part but the last.
	BlobPartSize = 8<<20 + 4<<10
	// MaxBlobParts bounds the parts of a blob: 31 GiB. S3 allows 10,000, but their ETags must fit into
	// one request.
	MaxBlobParts = 4_000
	// MaxBlobReaders bounds the accounts that may fetch a blob.
	MaxBlobReaders = 256
	// MaxBlobTickets bounds the tickets in one call.
	MaxBlobTickets = 32
	// MinBlobPart is the least size of a part in bytes, except for the last part of a blob. It is S3's
	// own bound (EntityTooSmall), and bounds the number of parts within an account's quota.
	MinBlobPart = 5 << 20
	// BlobTicketLife is how long a ticket is valid.
	BlobTicketLife = 15 * time.Minute
)

// PathBlobData is the prefix of the server's own ticket URLs. They need no token, because they are
// signed, and no protocol header.
const PathBlobData = "/v1/blobdata/"

// CodeTicket (403) refuses a ticket's URL that has expired or differs from the signed one. The client
// needs a new ticket.
const CodeTicket Code = "ticket"

// CreateBlob is the body of POST /v1/blobs.
type CreateBlob struct {
	Readers []string `json:"readers" doc:"accounts (names of this realm) that may fetch the blob beside its owner; names that do not exist are left out"`
	Size    int64    `json:"size,omitempty" doc:"length in bytes, reserved at once; 0: not known, then each part is reserved with its ticket"`
	LifeMS  int64    `json:"life_ms,omitempty" doc:"how long the blob is wanted from its completion on, milliseconds; 0, or more than the server's retention: the retention"`
}

// Blob answers POST /v1/blobs and GET /v1/blobs/{id}; the latter for the owner only.
type Blob struct {
	ID        string     `json:"id" doc:"the blob's name: 32 hexadecimal digits"`
	Complete  bool       `json:"complete" doc:"whether it can be fetched"`
	Size      int64      `json:"size" doc:"length in bytes: what was said when it was begun, else the sum of the stored parts so far"`
	ExpiresMS int64      `json:"expires_ms" doc:"when it is dropped, complete or not, Unix milliseconds; a ticket puts it off while it is not complete"`
	MaxSize   int64      `json:"max_size" doc:"the largest blob that the server takes, bytes"`
	Downloads int        `json:"downloads" doc:"how often a reader asked for a ticket to fetch it"`
	Parts     []BlobPart `json:"parts" doc:"stored parts in order of number; none once the blob is complete"`
}

// BlobUsage answers GET /v1/blobs: the usage and limits of the caller's blobs, including uploads.
type BlobUsage struct {
	Bytes    int64 `json:"bytes" doc:"bytes of all blobs and uploads, as they are reserved"`
	Quota    int64 `json:"quota" doc:"bytes that all of them may take"`
	Blobs    int   `json:"blobs" doc:"blobs and uploads"`
	MaxBlobs int   `json:"max_blobs" doc:"how many there may be"`
	MaxSize  int64 `json:"max_size" doc:"bytes that one blob may have"`
}

// BlobPart is a part that is stored or to be stored.
type BlobPart struct {
	Number int    `json:"number" doc:"1 to 4,000"`
	Size   int64  `json:"size" doc:"bytes: 1 to 8,392,704 (8 MiB and 4 KiB), all but the last at least 5,242,880 (5 MiB)"`
	ETag   string `json:"etag,omitempty" doc:"the store's name of the stored part, without quotes; not in requests"`
}

// BlobTickets is the body of POST /v1/blobs/{id}/tickets: it asks for the URLs of these parts. Their
// sizes are reserved, and count towards quota and size limit.
type BlobTickets struct {
	Parts []BlobPart `json:"parts" doc:"1 to 32 parts with number and size, each number once"`
}

// BlobTicket is the URL of one part to upload or of a blob to download.
type BlobTicket struct {
	Number    int    `json:"number,omitempty" doc:"of the part; absent in a ticket to fetch"`
	URL       string `json:"url" doc:"takes a PUT of exactly the size that was asked for, answered with the header ETag; or any number of GETs, with Range. One that begins with / is the server's own; any other one is a store's, and gets no token"`
	ExpiresMS int64  `json:"expires_ms" doc:"until when it may be used, Unix milliseconds: 15 minutes"`
	// Size is the expected size of the whole blob in bytes; 0 if not known. The downloading code sets
	// it; it is never on the wire.
	Size int64 `json:"-"`
}

// BlobTicketList answers POST /v1/blobs/{id}/tickets.
type BlobTicketList struct {
	Tickets []BlobTicket `json:"tickets" doc:"in the order of the request"`
}

// CompleteBlob is the body of POST /v1/blobs/{id}/complete. Repeating it gives the same answer.
type CompleteBlob struct {
	Size  int64    `json:"size" doc:"of the whole blob: the sum of its parts, bytes"`
	ETags []string `json:"etags" doc:"the store's names of the parts, from part 1 on without a gap, with or without quotes; 1 to 4,000"`
}

// BlobDownload answers POST /v1/blobs/{id}/download.
type BlobDownload struct {
	Ticket    BlobTicket `json:"ticket" doc:"where it comes from"`
	Size      int64      `json:"size" doc:"bytes"`
	ExpiresMS int64      `json:"expires_ms" doc:"when the blob is dropped, Unix milliseconds"`
}
