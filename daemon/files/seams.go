package files

import (
	"context"
	"errors"
	"io"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// ErrTicket is what a Blobs answers for a ticket that is expired.
var ErrTicket = errors.New("the ticket is not good any more")

// ErrSize is what a Blobs answers when a blob ends before it should, or goes on behind that.
var ErrSize = errors.New("the blob has another size")

// ErrAnswer is what a Blobs answers when the server, or something before it, gave
// an answer that makes no sense: a status that no server of ours sends, for
// example. Trying again rarely helps.
var ErrAnswer = errors.New("an answer that makes no sense")

// Blobs are the blobs of the account's server. Errors that carry a *wire.Error
// of the codes not_found, quota, too_large and conflict are final for what was
// asked; ErrTicket asks for another ticket; after ErrAnswer the same may be tried
// some times, and after any other error again and again. All calls end with their context.
type Blobs interface {
	CreateBlob(ctx context.Context, b wire.CreateBlob) (wire.Blob, error)
	BlobTickets(ctx context.Context, id string, parts []wire.BlobPart) ([]wire.BlobTicket, error)
	PutPart(ctx context.Context, t wire.BlobTicket, size int64, content io.ReaderAt) (etag string, err error)
	CompleteBlob(ctx context.Context, id string, parts []wire.BlobPart) (wire.Blob, error)
	GetBlob(ctx context.Context, id string) (wire.Blob, error)
	DeleteBlob(ctx context.Context, id string) error
	DownloadBlob(ctx context.Context, id string) (wire.BlobDownload, error)
	// GetRange fetches a range and returns how much of it has come, also with an error.
	GetRange(ctx context.Context, t wire.BlobTicket, offset int64, dst []byte) (int, error)
}

// Engine is what messages know of files: each call is one transaction.
type Engine interface {
	// QueueFiles queues the messages that files belong to, and one upload for
	// each file, with its plan. Errors mean that nothing was queued.
	QueueFiles(ctx context.Context, p local.FileSendParams, files []store.FileDetails, plans [][]byte, fingerprint []byte) (store.QueuedFiles, error)
	// FileUploaded puts the reference into the messages of an upload, and sends
	// those that wait for nothing else. The upload is done with.
	FileUploaded(ctx context.Context, transfer int64, u store.UploadedFile) error
	// UploadFailed ends the messages that wait for an upload; reason is one of
	// the Reason constants of package store, text is for people.
	UploadFailed(ctx context.Context, transfer int64, reason, text string) error
	// FileFetched records that a file is whole and verified here; transfer (0:
	// none) is done with.
	FileFetched(ctx context.Context, id store.MessageID, path string, transfer int64) error
	// FetchFailed records that a file will not come: state is store.FileFailed
	// or store.FileExpired.
	FetchFailed(ctx context.Context, id store.MessageID, state, text string, transfer int64) error
	// CancelFile withdraws an own file and everything that shares its blob.
	CancelFile(ctx context.Context, id string) (local.SendResult, error)
	// AwaitFiles waits for messages as p.Wait says and returns what became of
	// them. With p.Wait empty it waits for the server, without a limit.
	AwaitFiles(ctx context.Context, ids []store.MessageID, p local.FileSendParams) (local.SendResults, error)
}
