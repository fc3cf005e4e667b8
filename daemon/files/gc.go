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

// Collect removes what transfers have left behind: spooled parts of uploads
// that are over, and files that were never fetched to their end and that
// nothing fetches now. Fetched files stay.
func (s *Service) Collect(ctx context.Context) (local.FileGC, error) {
	return s.collect(ctx, 0)
}

const (
	// tidyEvery is how often a service collects by itself; it begins with that.
	tidyEvery = 6 * time.Hour
	// downloadKept is how long a download that stopped can go on where it was
	// before a service collects it by itself.
	downloadKept = 7 * 24 * time.Hour
)

// tidy collects what nobody can want any more.
func (s *Service) tidy(ctx context.Context) {
	out, err := s.collect(ctx, downloadKept)
	switch {
	case err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrLocked):
		s.o.Logger.Warn("collect what transfers have left", "error", err)
	case out.Files > 0:
		s.o.Logger.Info("collected what transfers have left", "files", out.Files, "bytes", out.Bytes)
	}
}

// collect is Collect for downloads that began at least age ago, or whose file
// history holds no more.
func (s *Service) collect(ctx context.Context, age time.Duration) (local.FileGC, error) {
	out, err := s.collectDownloads(ctx, age)
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

// Forget removes from the disk what the transfers of the account have there,
// before the account itself is removed. Nothing may run any more.
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

// collectDownloads ends the downloads that no call carries on, but for the
// unasked ones and those that are younger than age.
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

// drop removes a download, and returns how much of it there was; -1: nothing. If
// its directory is not where it was, nothing but its row is removed.
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
		s.o.Logger.Warn("what was fetched of a file is left", "directory", t.Dir, "name", t.Temp, "error", err)
	}
	return size, s.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteTransfer(id) })
}
