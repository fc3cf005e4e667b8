package engine

import (
	"cmp"
	"context"
	"errors"
	"time"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// maxFiles bounds one list of files.
const maxFiles = 1000

// ListFiles lists files with their present states, oldest first.
func (e *Engine) ListFiles(ctx context.Context, p local.FileListParams) (local.Events, error) {
	limit, err := limitOf(p.Limit, maxFiles)
	if err != nil {
		return noEvents(), err
	}
	return e.viewEvents(ctx, func(tx *store.Tx) ([]local.Event, error) {
		return e.history.Files(tx, p.Peer, min(limit, maxFiles))
	})
}

// ShowFile describes a file, or the only one of a message, and returns its row.
func (e *Engine) ShowFile(ctx context.Context, text string) (local.FileShown, *store.File, error) {
	var f *store.File
	out, err := inView(ctx, e, func(tx *store.Tx) (out local.FileShown, err error) {
		out, f, err = e.history.File(tx, text)
		return out, err
	})
	return out, f, err
}

// AwaitFiles waits for messages as p.Wait says, without a limit if p.Timeout is
// 0, and returns their outcomes. With p.Wait empty it waits for the server.
func (e *Engine) AwaitFiles(ctx context.Context, ids []store.MessageID, p local.FileSendParams) (local.SendResults, error) {
	s := local.SendParams{Wait: cmp.Or(p.Wait, waitServer), Timeout: p.Timeout}
	if s.Timeout <= 0 {
		s.Timeout = maxExpires
	}
	timedOut := false
	if s.Wait != waitQueued {
		var waits []*wait
		err := e.do(ctx, func() error {
			for _, id := range ids {
				waits = append(waits, e.waits.watch(id))
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			return local.SendResults{}, err
		}
		if err != nil {
			for _, id := range ids {
				waits = append(waits, &wait{id: id})
			}
		}
		defer e.unwatch(waits)
		timedOut = e.await(ctx, s, waits, nil)
	}
	return e.results(ctx, ids, s, timedOut)
}

// FileFetched records that a file is complete and verified here; see
// history.FileFetched.
func (e *Engine) FileFetched(ctx context.Context, id store.MessageID, path string, transfer int64) error {
	return e.share(func(tx *store.Tx) error { return e.history.FileFetched(tx, id, path, transfer) }, nil)
}

// FetchFailed records that a file will not come; see history.FetchFailed.
func (e *Engine) FetchFailed(ctx context.Context, id store.MessageID, state, text string, transfer int64) error {
	return e.share(func(tx *store.Tx) error { return e.history.FetchFailed(tx, id, state, text, transfer) }, nil)
}

// CancelFile withdraws an own file or declines one of a peer; see
// history.CancelFile.
func (e *Engine) CancelFile(ctx context.Context, text string) (local.SendResult, error) {
	out, err := inSharedTx(e, func(tx *store.Tx) (local.SendResult, error) { return e.history.CancelFile(tx, text) })
	return out, err
}

// FreeFiles deletes at once the server's copies of files that every recipient has
// fetched, and returns how many files and bytes that frees.
func (e *Engine) FreeFiles(ctx context.Context) (files int, bytes int64, err error) {
	sizes, err := inSharedTx(e, e.history.FreeFiles)
	for _, size := range sizes {
		if n, err := seal.SealedFileSize(size); err == nil {
			bytes += n
		}
	}
	return len(sizes), bytes, err
}

// expireFiles ends files that the server has dropped by now.
func (e *Engine) expireFiles() error {
	now := e.profileTime()
	type expired struct {
		more bool
		next int64
	}
	x, err := inTx(e, func(tx *store.Tx) (x expired, err error) {
		x.more, x.next, err = e.history.ExpireFiles(tx, now.UnixMilli())
		return x, err
	})
	switch {
	case err != nil:
		return err
	case x.more:
		e.schedule(taskFiles, 0)
	case x.next > 0:
		e.schedule(taskFiles, max(time.UnixMilli(x.next).Sub(now), time.Millisecond))
	}
	return nil
}

// acceptRequested looks again at the files of strangers who have become contacts.
func (e *Engine) acceptRequested() error { return e.update(e.history.AcceptRequested) }
