package account

import (
	"context"
	"errors"
	"fmt"
	"io"

	"secmsg/daemon/files"
	"secmsg/daemon/link"
	"secmsg/rpc/wire"
)

// blobs are a server's blobs as the files service knows them.
type blobs struct{ c *link.Client }

// CreateBlob implements files.Blobs.
func (b blobs) CreateBlob(ctx context.Context, c wire.CreateBlob) (wire.Blob, error) {
	out, err := b.c.CreateBlob(ctx, c)
	return out, blobError(err)
}

// BlobTickets implements files.Blobs.
func (b blobs) BlobTickets(ctx context.Context, id string, parts []wire.BlobPart) ([]wire.BlobTicket, error) {
	out, err := b.c.BlobTickets(ctx, id, parts)
	return out, blobError(err)
}

// PutPart implements files.Blobs.
func (b blobs) PutPart(ctx context.Context, t wire.BlobTicket, size int64, content io.ReaderAt) (string, error) {
	etag, err := b.c.PutPart(ctx, t, size, content)
	return etag, blobError(err)
}

// CompleteBlob implements files.Blobs.
func (b blobs) CompleteBlob(ctx context.Context, id string, parts []wire.BlobPart) (wire.Blob, error) {
	out, err := b.c.CompleteBlob(ctx, id, parts)
	return out, blobError(err)
}

// GetBlob implements files.Blobs.
func (b blobs) GetBlob(ctx context.Context, id string) (wire.Blob, error) {
	out, err := b.c.GetBlob(ctx, id)
	return out, blobError(err)
}

// DeleteBlob implements files.Blobs.
func (b blobs) DeleteBlob(ctx context.Context, id string) error {
	return blobError(b.c.DeleteBlob(ctx, id))
}

// DownloadBlob implements files.Blobs.
func (b blobs) DownloadBlob(ctx context.Context, id string) (wire.BlobDownload, error) {
	out, err := b.c.DownloadBlob(ctx, id)
	return out, blobError(err)
}

// GetRange implements files.Blobs.
func (b blobs) GetRange(ctx context.Context, t wire.BlobTicket, offset int64, dst []byte) (int, error) {
	n, err := b.c.GetRange(ctx, t, offset, dst)
	return n, blobError(err)
}

// blobError says in the words of package files what an error means.
func blobError(err error) error {
	switch {
	case errors.Is(err, link.ErrTicket):
		return fmt.Errorf("%w: %w", files.ErrTicket, err)
	case errors.Is(err, link.ErrBlobSize):
		return fmt.Errorf("%w: %w", files.ErrSize, err)
	case errors.Is(err, link.ErrProtocol):
		return fmt.Errorf("%w: %w", files.ErrAnswer, err)
	}
	return err
}
