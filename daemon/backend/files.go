package backend

import (
	"context"
	"io"
	"time"

	"secmsg/daemon/account"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// SendFiles implements localapi.Backend. A locked profile cannot send files: the
// plan of an upload contains its key.
func (b *Backend) SendFiles(ctx context.Context, p local.FileSendParams, stream io.Reader, progress func(local.FileProgress)) (local.SendResults, error) {
	return on(b, p.Account, func(a *account.Account) (local.SendResults, error) { return a.Files.Send(ctx, p, stream, progress) })
}

// GetFile implements localapi.Backend.
func (b *Backend) GetFile(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error) {
	return on(b, p.Account, func(a *account.Account) (local.FileGot, error) { return a.Files.Get(ctx, p, stream, progress) })
}

// ListFiles implements localapi.Backend.
func (b *Backend) ListFiles(ctx context.Context, p local.FileListParams) (local.Events, error) {
	return on(b, p.Account, func(a *account.Account) (local.Events, error) {
		out, err := a.Engine.ListFiles(ctx, p)
		if err != nil {
			return out, err
		}
		waiting, err := a.Files.Waiting(ctx)
		for i := range out.Events {
			if f := out.Events[i].File; f != nil && f.Error == nil {
				f.Error = waiting[f.ID]
			}
		}
		return out, err
	})
}

// countTimeout bounds asking the server how often a file was fetched.
const countTimeout = 2 * time.Second

// ShowFile implements localapi.Backend. The number of downloads of an own file is
// shown if the server can be asked.
func (b *Backend) ShowFile(ctx context.Context, p local.FileIDParams) (local.FileShown, error) {
	return on(b, p.Account, func(a *account.Account) (local.FileShown, error) {
		out, f, err := a.Engine.ShowFile(ctx, p.ID)
		if err != nil || f.Direction != store.Out || f.State != store.FileSent {
			return out, err
		}
		ctx, cancel := context.WithTimeout(ctx, countTimeout)
		defer cancel()
		if blob, err := a.Link.GetBlob(ctx, f.Blob); err == nil {
			out.Event.File.Downloads = blob.Downloads
		}
		return out, nil
	})
}

// CancelFile implements localapi.Backend.
func (b *Backend) CancelFile(ctx context.Context, p local.FileIDParams) (local.SendResult, error) {
	return on(b, p.Account, func(a *account.Account) (local.SendResult, error) { return a.Engine.CancelFile(ctx, p.ID) })
}

// CollectFiles implements localapi.Backend.
func (b *Backend) CollectFiles(ctx context.Context, name string) (local.FileGC, error) {
	return on(b, name, func(a *account.Account) (local.FileGC, error) {
		out, err := a.Files.Collect(ctx)
		if err != nil {
			return out, err
		}
		out.Freed, out.FreedBytes, err = a.Engine.FreeFiles(ctx)
		return out, err
	})
}

// FileQuota implements localapi.Backend.
func (b *Backend) FileQuota(ctx context.Context, name string) (local.FileQuota, error) {
	return on(b, name, func(a *account.Account) (local.FileQuota, error) {
		u, err := a.Link.BlobUsage(ctx)
		return local.FileQuota{Used: u.Bytes, Quota: u.Quota, Files: u.Blobs, MaxFiles: u.MaxBlobs, MaxSize: u.MaxSize}, err
	})
}
