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

// blobs adapts an account's link to the file transfers. While the device may not
// be used, every request fails, and transfers wait.
type blobs struct{ a *Account }

// CreateBlob implements files.Blobs.
func (b blobs) CreateBlob(ctx context.Context, c wire.CreateBlob) (wire.Blob, error) {
	if err := b.a.offline(); err != nil {
		return wire.Blob{}, err
	}
	out, err := b.a.Link.CreateBlob(ctx, c)
	return out, blobError(err)
}

// BlobTickets implements files.Blobs.
func (b blobs) BlobTickets(ctx context.Context, id string, parts []wire.BlobPart) ([]wire.BlobTicket, error) {
	if err := b.a.offline(); err != nil {
		return nil, err
	}
	out, err := b.a.Link.BlobTickets(ctx, id, parts)
	return out, blobError(err)
}

// PutPart implements files.Blobs.
func (b blobs) PutPart(ctx context.Context, t wire.BlobTicket, size int64, content io.ReaderAt) (string, error) {
	if err := b.a.offline(); err != nil {
		return "", err
	}
	etag, err := b.a.Link.PutPart(ctx, t, size, content)
	return etag, blobError(err)
}

// CompleteBlob implements files.Blobs.
func (b blobs) CompleteBlob(ctx context.Context, id string, parts []wire.BlobPart) (wire.Blob, error) {
	if err := b.a.offline(); err != nil {
		return wire.Blob{}, err
	}
	out, err := b.a.Link.CompleteBlob(ctx, id, parts)
	return out, blobError(err)
}

// GetBlob implements files.Blobs.
func (b blobs) GetBlob(ctx context.Context, id string) (wire.Blob, error) {
	if err := b.a.offline(); err != nil {
		return wire.Blob{}, err
	}
	out, err := b.a.Link.GetBlob(ctx, id)
	return out, blobError(err)
}

// DeleteBlob implements files.Blobs.
func (b blobs) DeleteBlob(ctx context.Context, id string) error {
	if err := b.a.offline(); err != nil {
		return err
	}
	return blobError(b.a.Link.DeleteBlob(ctx, id))
}

// DownloadBlob implements files.Blobs.
func (b blobs) DownloadBlob(ctx context.Context, id string) (wire.BlobDownload, error) {
	if err := b.a.offline(); err != nil {
		return wire.BlobDownload{}, err
	}
	out, err := b.a.Link.DownloadBlob(ctx, id)
	return out, blobError(err)
}

// GetRange implements files.Blobs.
func (b blobs) GetRange(ctx context.Context, t wire.BlobTicket, offset int64, dst []byte) (int, error) {
	if err := b.a.offline(); err != nil {
		return 0, err
	}
	n, err := b.a.Link.GetRange(ctx, t, offset, dst)
	return n, blobError(err)
}

// blobError turns errors of the link into those of package files.
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
