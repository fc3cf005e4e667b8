package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"secmsg/daemon/engine"
	"secmsg/daemon/files"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

const (
	// spoolDir is where sealed parts wait, in the profile's data directory.
	spoolDir = "spool"
	// downloadsDir is where files go unless the configuration says otherwise.
	downloadsDir = "downloads"
	// countTimeout bounds the question how often a file was fetched, which file
	// show asks when it can.
	countTimeout = 2 * time.Second
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

func (d *Daemon) downloads() string {
	if d.cfg.Files.Dir != "" {
		return d.cfg.Files.Dir
	}
	return filepath.Join(d.cfg.Paths.Data, downloadsDir)
}

// filesOf calls an account's files service as ask calls its engine.
func (d *Daemon) filesOf(ctx context.Context, name string, call func(s *files.Service) error) error {
	return d.try(ctx, name, func(a *account) error { return call(a.fileService()) })
}

// SendFiles implements localapi.Backend. The plan of an upload holds its key, so
// that a locked profile cannot make one.
func (d *Daemon) SendFiles(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error) {
	var out local.SendResults
	err := d.filesOf(ctx, p.Account, func(s *files.Service) (err error) {
		out, err = s.Send(ctx, p, stream, progress)
		return err
	})
	return out, err
}

// GetFile implements localapi.Backend.
func (d *Daemon) GetFile(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error) {
	var out local.FileGot
	err := d.filesOf(ctx, p.Account, func(s *files.Service) (err error) {
		out, err = s.Get(ctx, p, stream, progress)
		return err
	})
	return out, err
}

// ListFiles implements localapi.Backend.
func (d *Daemon) ListFiles(ctx context.Context, p local.FileListParams) (local.Events, error) {
	e, err := d.engine(p.Account)
	if err != nil {
		return local.Events{}, err
	}
	out, err := e.ListFiles(ctx, p)
	if err != nil {
		return out, toLocal(err)
	}
	reasons, err := d.waiting(ctx, p.Account)
	for i := range out.Events {
		if f := out.Events[i].File; f != nil && f.Error == nil {
			f.Error = reasons[f.ID]
		}
	}
	return out, err
}

// waiting says why transfers of an account do not go on at present, by the ids
// of their files and messages.
func (d *Daemon) waiting(ctx context.Context, name string) (map[string]*local.Error, error) {
	a, err := d.resolve(name)
	if err != nil {
		return nil, err
	}
	out, err := a.fileService().Waiting(ctx)
	return out, toLocal(err)
}

// ShowFile implements localapi.Backend. How often an own file was fetched is
// known to the server; without it, it is not told.
func (d *Daemon) ShowFile(ctx context.Context, p local.FileIDParams) (local.FileShown, error) {
	a, err := d.resolve(p.Account)
	if err != nil {
		return local.FileShown{}, err
	}
	e, l := a.parts()
	out, f, err := e.ShowFile(ctx, p.ID)
	if err != nil || f.Direction != store.Out || f.State != store.FileSent {
		return out, toLocal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	if blob, err := l.GetBlob(ctx, f.Blob); err == nil {
		out.Event.File.Downloads = blob.Downloads
	}
	return out, nil
}

// CancelFile implements localapi.Backend.
func (d *Daemon) CancelFile(ctx context.Context, p local.FileIDParams) (local.SendResult, error) {
	var out local.SendResult
	err := d.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.CancelFile(ctx, p.ID)
		return err
	})
	return out, err
}

// CollectFiles implements localapi.Backend.
func (d *Daemon) CollectFiles(ctx context.Context, name string) (local.FileGC, error) {
	var out local.FileGC
	err := d.filesOf(ctx, name, func(s *files.Service) (err error) {
		out, err = s.Collect(ctx)
		return err
	})
	if err != nil {
		return out, err
	}
	err = d.ask(ctx, name, func(e *engine.Engine) (err error) {
		out.Freed, out.FreedBytes, err = e.FreeFiles(ctx)
		return err
	})
	return out, err
}

// FileQuota implements localapi.Backend.
func (d *Daemon) FileQuota(ctx context.Context, name string) (local.FileQuota, error) {
	a, err := d.resolve(name)
	if err != nil {
		return local.FileQuota{}, err
	}
	_, l := a.parts()
	u, err := l.BlobUsage(ctx)
	return local.FileQuota{Used: u.Bytes, Quota: u.Quota, Files: u.Blobs, MaxFiles: u.MaxBlobs, MaxSize: u.MaxSize}, toLocal(err)
}
