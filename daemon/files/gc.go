package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Collect removes what transfers have left behind: spooled parts of uploads
// that are over, and files that were never fetched to their end and that
// nothing fetches now. Fetched files stay.
func (s *Service) Collect(ctx context.Context) (local.FileGC, error) {
	out, err := s.collectDownloads(ctx)
	if err != nil {
		return out, err
	}
	parts, err := s.spool.list() // before the rows are read: a part comes after its row
	if err != nil {
		return out, err
	}
	var living map[int64]bool
	err = s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		living, err = tx.TransferIDs()
		return err
	})
	if err != nil {
		return out, err
	}
	for _, p := range parts {
		if living[p.transfer] {
			continue
		}
		if err := s.spool.drop(p); err != nil {
			return out, err
		}
		out.Files++
		out.Bytes += p.size
	}
	return out, nil
}

// collectDownloads ends the downloads that no call carries on, but for the
// unasked ones.
func (s *Service) collectDownloads(ctx context.Context) (local.FileGC, error) {
	var out local.FileGC
	var list []store.Transfer
	auto := make(map[store.MessageID]bool)
	err := s.o.Store.View(ctx, func(tx *store.Tx) error {
		for after := int64(0); ; {
			page, err := tx.Transfers(s.o.Account, store.TransferDownload, after, transfersAtOnce)
			if err != nil || len(page) == 0 {
				return err
			}
			for _, t := range page {
				after = t.ID
				f, err := tx.File(s.o.Account, t.File)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				auto[t.File] = err == nil && f.State == store.FileFetching
			}
			list = append(list, page...)
		}
	})
	if err != nil {
		return out, err
	}
	for _, row := range list {
		t, err := decodeTarget(row.Body)
		if err != nil || auto[row.File] || !s.claim(row.ID) {
			continue
		}
		size, err := s.drop(ctx, row.ID, t)
		s.unclaim(row.ID)
		if err != nil {
			return out, err
		}
		if size >= 0 {
			out.Files++
			out.Bytes += size
		}
	}
	return out, nil
}

// drop removes a download, and returns how much of it there was; -1: nothing.
func (s *Service) drop(ctx context.Context, id int64, t target) (int64, error) {
	size := int64(-1)
	if info, err := os.Lstat(filepath.Join(t.Dir, t.Temp)); err == nil && strings.HasPrefix(t.Temp, tempPrefix) {
		size = info.Size()
		if err := t.remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return -1, writeError(t.Dir, err)
		}
	}
	return size, s.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteTransfer(id) })
}
