package backend

import (
	"context"
	"io"
	"time"

	"secmsg/daemon/account"
	"secmsg/daemon/codes"
	"secmsg/daemon/engine"
	"secmsg/daemon/files"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// countTimeout bounds asking the server how often a file was fetched.
const countTimeout = 2 * time.Second

// filesOf calls an account's files service as ask calls its engine.
func (b *Backend) filesOf(ctx context.Context, name string, call func(s *files.Service) error) error {
	return b.try(ctx, name, func(a *account.Account) error { return call(a.Files()) })
}

// SendFiles implements localapi.Backend. The plan of an upload holds its key, so
// that a locked profile cannot make one.
func (b *Backend) SendFiles(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error) {
	var out local.SendResults
	err := b.filesOf(ctx, p.Account, func(s *files.Service) (err error) {
		out, err = s.Send(ctx, p, stream, progress)
		return err
	})
	return out, err
}

// GetFile implements localapi.Backend.
func (b *Backend) GetFile(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error) {
	var out local.FileGot
	err := b.filesOf(ctx, p.Account, func(s *files.Service) (err error) {
		out, err = s.Get(ctx, p, stream, progress)
		return err
	})
	return out, err
}

// ListFiles implements localapi.Backend.
func (b *Backend) ListFiles(ctx context.Context, p local.FileListParams) (local.Events, error) {
	e, err := b.engine(p.Account)
	if err != nil {
		return local.Events{}, err
	}
	out, err := e.ListFiles(ctx, p)
	if err != nil {
		return out, codes.Local(err)
	}
	reasons, err := b.waiting(ctx, p.Account)
	for i := range out.Events {
		if f := out.Events[i].File; f != nil && f.Error == nil {
			f.Error = reasons[f.ID]
		}
	}
	return out, err
}

// waiting says why transfers of an account do not go on at present, by the ids
// of their files and messages.
func (b *Backend) waiting(ctx context.Context, name string) (map[string]*local.Error, error) {
	a, err := b.resolve(name)
	if err != nil {
		return nil, err
	}
	out, err := a.Files().Waiting(ctx)
	return out, codes.Local(err)
}

// ShowFile implements localapi.Backend. How often an own file was fetched is
// known to the server; without it, it is not told.
func (b *Backend) ShowFile(ctx context.Context, p local.FileIDParams) (local.FileShown, error) {
	a, err := b.resolve(p.Account)
	if err != nil {
		return local.FileShown{}, err
	}
	e, l := a.Parts()
	out, f, err := e.ShowFile(ctx, p.ID)
	if err != nil || f.Direction != store.Out || f.State != store.FileSent {
		return out, codes.Local(err)
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	if blob, err := l.GetBlob(ctx, f.Blob); err == nil {
		out.Event.File.Downloads = blob.Downloads
	}
	return out, nil
}

// CancelFile implements localapi.Backend.
func (b *Backend) CancelFile(ctx context.Context, p local.FileIDParams) (local.SendResult, error) {
	var out local.SendResult
	err := b.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.CancelFile(ctx, p.ID)
		return err
	})
	return out, err
}

// CollectFiles implements localapi.Backend.
func (b *Backend) CollectFiles(ctx context.Context, name string) (local.FileGC, error) {
	var out local.FileGC
	err := b.filesOf(ctx, name, func(s *files.Service) (err error) {
		out, err = s.Collect(ctx)
		return err
	})
	if err != nil {
		return out, err
	}
	err = b.ask(ctx, name, func(e *engine.Engine) (err error) {
		out.Freed, out.FreedBytes, err = e.FreeFiles(ctx)
		return err
	})
	return out, err
}

// FileQuota implements localapi.Backend.
func (b *Backend) FileQuota(ctx context.Context, name string) (local.FileQuota, error) {
	a, err := b.resolve(name)
	if err != nil {
		return local.FileQuota{}, err
	}
	_, l := a.Parts()
	u, err := l.BlobUsage(ctx)
	return local.FileQuota{Used: u.Bytes, Quota: u.Quota, Files: u.Blobs, MaxFiles: u.MaxBlobs, MaxSize: u.MaxSize}, codes.Local(err)
}
