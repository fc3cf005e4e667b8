package files

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"strings"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Collect removes leftovers of transfers: spooled parts of uploads that have ended, and
// partial downloads that nothing continues now. Fetched files stay.
func (s *Service) Collect(ctx context.Context) (local.FileGC, error) {
	return s.collect(ctx, 0)
}

const (
	// tidyEvery is the interval of automatic collections. The first one is at the start.
	tidyEvery = 6 * time.Hour
	// downloadKept is how long an interrupted download can be resumed before it is
	// collected automatically.
	downloadKept = 7 * 24 * time.Hour
)

// tidy collects automatically.
func (s *Service) tidy(ctx context.Context) {
	out, err := s.collect(ctx, downloadKept)
	switch {
	case err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrLocked):
		s.o.Logger.Warn("collect leftovers of transfers", "error", err)
	case out.Files > 0:
		s.o.Logger.Info("collected leftovers of transfers", "files", out.Files, "bytes", out.Bytes)
	}
}

// collect is Collect, restricted to downloads that began at least age ago or whose file is
// no longer in the history.
func (s *Service) collect(ctx context.Context, age time.Duration) (local.FileGC, error) {
	out, err := s.collectDownloads(ctx, age)
	if err != nil {
		return out, err
	}
	parts, err := s.spool.list() // list before reading the rows: a row precedes its parts
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

// Forget removes the files on disk that belong to the account's transfers, before the
// account itself is removed. No transfer may be running.
func (s *Service) Forget(ctx context.Context) error {
	var uploads, downloads []store.Transfer
	err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		if uploads, err = tx.Transfers(s.o.Account, store.TransferUpload, 0, math.MaxInt32); err != nil {
			return err
		}
		downloads, err = tx.Transfers(s.o.Account, store.TransferDownload, 0, math.MaxInt32)
		return err
	})
	errs := []error{err}
	for _, row := range uploads {
		errs = append(errs, s.spool.clear(row.ID))
	}
	for _, row := range downloads {
		t, err := decodeTarget(row.Body)
		if err == nil {
			_, err = s.drop(ctx, row.ID, t)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// collectDownloads removes downloads, except those that a call is running, automatic ones,
// and those younger than age.
func (s *Service) collectDownloads(ctx context.Context, age time.Duration) (local.FileGC, error) {
	var out local.FileGC
	var list []store.Transfer
	kept := make(map[int64]bool)
	young := s.o.Store.ProfileTime().Add(-age).UnixMilli()
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
				kept[t.ID] = err == nil && (f.State == store.FileFetching || t.CreatedMS > young)
			}
			list = append(list, page...)
		}
	})
	if err != nil {
		return out, err
	}
	for _, row := range list {
		t, err := decodeTarget(row.Body)
		if err != nil || kept[row.ID] || !s.claim(row.ID) {
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

// drop removes a download and returns the size of its partial file; -1: there was none. If
// the directory was moved or replaced, only the row is removed.
func (s *Service) drop(ctx context.Context, id int64, t target) (int64, error) {
	size := int64(-1)
	root, err := t.reopen()
	switch {
	case err == nil:
		defer root.Close()
		if info, err := root.Lstat(t.Temp); err == nil && strings.HasPrefix(t.Temp, tempPrefix) {
			size = info.Size()
			if err := t.remove(root); err != nil {
				return -1, writeError(t.Dir, err)
			}
		}
	case !errors.Is(err, fs.ErrNotExist):
		s.o.Logger.Warn("partial download left behind", "directory", t.Dir, "name", t.Temp, "error", err)
	}
	return size, s.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteTransfer(id) })
}
