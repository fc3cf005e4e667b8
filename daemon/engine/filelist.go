package engine

import (
	"cmp"
	"context"
	"errors"

	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// maxFiles bounds one list of files.
const maxFiles = 1000

// ListFiles lists files with their present states, oldest first.
func (e *Engine) ListFiles(ctx context.Context, p local.FileListParams) (local.Events, error) {
	out := local.Events{Events: []local.Event{}}
	limit, err := limitOf(p.Limit, maxFiles)
	if err != nil {
		return out, err
	}
	err = e.store.View(ctx, func(tx *store.Tx) error {
		out.Events = out.Events[:0]
		var peer store.PeerID
		if p.Peer != "" {
			if peer, err = e.peerNamed(tx, p.Peer); err != nil {
				return err
			}
		}
		list, err := tx.Files(e.account, peer, min(limit, maxFiles))
		if err != nil {
			return err
		}
		for i := range list {
			ev, err := e.listed(tx, &list[i])
			if isNotFound(err) {
				continue // its history was deleted
			}
			if err != nil {
				return err
			}
			out.Events = append(out.Events, ev)
		}
		return nil
	})
	return out, toLocal(err)
}

func (e *Engine) listed(tx *store.Tx, f *store.File) (local.Event, error) {
	m, err := e.messageOf(tx, f)
	if err != nil {
		return local.Event{}, err
	}
	return e.fileEvent(tx, f, m)
}

// ShowFile describes a file, or the only one of a message, and returns its row.
func (e *Engine) ShowFile(ctx context.Context, text string) (local.FileShown, *store.File, error) {
	var out local.FileShown
	var f *store.File
	err := e.store.View(ctx, func(tx *store.Tx) error {
		var n int
		var err error
		if f, n, err = journal.FileNamed(tx, e.account, text); err != nil {
			return err
		}
		if n != 1 {
			return local.NotOneFile(n, text)
		}
		if out.Event, err = e.listed(tx, f); err != nil {
			return err
		}
		out.Thumbnail, out.Width, out.Height = f.Thumbnail, int(f.Width), int(f.Height)
		return nil
	})
	return out, f, toLocal(err)
}

// AwaitFiles waits for messages as p.Wait says, without a limit if p.Timeout is
// 0, and returns what became of them. With p.Wait empty it waits for the server.
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
				waits = append(waits, e.watch(id))
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			return local.SendResults{}, toLocal(err)
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

// fileResult adds to a message's result what is known of its file.
func fileResult(tx *store.Tx, m *store.Message, r *local.SendResult) error {
	failed := m.State == local.StateFailed
	if m.Kind != int32(e2e.Kind_KIND_FILE) && !failed {
		return nil
	}
	list, err := tx.FilesOf(m.Account, m.ID)
	if err != nil {
		return err
	}
	for i := range list {
		f := &list[i]
		if m.Kind == int32(e2e.Kind_KIND_FILE) {
			r.File = &local.FileInfo{Name: f.Name, Size: f.Size, Type: f.Type}
		}
		if failed && r.Error != nil && f.Reason != "" {
			r.Error.Message = f.Name + ": " + f.Reason
		}
	}
	return nil
}
