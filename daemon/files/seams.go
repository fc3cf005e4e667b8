package files

import (
	"context"
	"errors"
	"io"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// ErrTicket is returned by Blobs when a ticket has expired.
var ErrTicket = errors.New("the ticket has expired")

// ErrSize is returned by Blobs when a blob is shorter or longer than stated.
var ErrSize = errors.New("the blob has the wrong size")

// ErrAnswer is returned by Blobs when an answer makes no sense: for example, a proxy
// answered with a status that our server never sends. Trying again rarely helps.
var ErrAnswer = errors.New("unexpected answer")

// Blobs accesses the blobs of the account's server. A *wire.Error with the code not_found,
// quota, too_large or conflict is final for the request. After ErrTicket the caller asks
// for a new ticket; after ErrAnswer it may try a few more times; any other error is
// temporary. All calls end with their context.
type Blobs interface {
	CreateBlob(ctx context.Context, b wire.CreateBlob) (wire.Blob, error)
	BlobTickets(ctx context.Context, id string, parts []wire.BlobPart) ([]wire.BlobTicket, error)
	PutPart(ctx context.Context, t wire.BlobTicket, size int64, content io.ReaderAt) (etag string, err error)
	CompleteBlob(ctx context.Context, id string, parts []wire.BlobPart) (wire.Blob, error)
	GetBlob(ctx context.Context, id string) (wire.Blob, error)
	DeleteBlob(ctx context.Context, id string) error
	DownloadBlob(ctx context.Context, id string) (wire.BlobDownload, error)
	// GetRange fetches a range into dst. It returns the number of bytes received, also with
	// an error.
	GetRange(ctx context.Context, t wire.BlobTicket, offset int64, dst []byte) (int, error)
}

// Engine is the part of the engine that knows files: their rows, messages and events. Each
// call is one transaction.
type Engine interface {
	// QueueFiles queues the messages of the files, and an upload with its plan for each
	// file. After an error nothing is queued.
	QueueFiles(ctx context.Context, p local.FileSendParams, files []store.FileDetails, plans [][]byte, fingerprint []byte) (store.QueuedFiles, error)
	// FileUploaded puts the blob's reference into the messages of an upload, queues those
	// that wait for no other upload, and deletes the upload.
	FileUploaded(ctx context.Context, transfer int64, u store.UploadedFile) error
	// UploadFailed fails the messages that wait for an upload. reason is one of the Reason
	// constants of package store; text is for people.
	UploadFailed(ctx context.Context, transfer int64, reason, text string) error
	// FileFetched records that a file was fetched and verified, and deletes the transfer
	// (0: none).
	FileFetched(ctx context.Context, id store.MessageID, path string, transfer int64) error
	// FetchFailed records that a file cannot be fetched. state is store.FileFailed or
	// store.FileExpired.
	FetchFailed(ctx context.Context, id store.MessageID, state, text string, transfer int64) error
	// CancelFile withdraws a file of this account and all others that share its blob.
	CancelFile(ctx context.Context, id string) (local.SendResult, error)
	// AwaitFiles waits for messages as p.Wait says and returns their results. With an empty
	// p.Wait it waits until the server has accepted them, without a time limit.
	AwaitFiles(ctx context.Context, ids []store.MessageID, p local.FileSendParams) (local.SendResults, error)
}
