package files

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"time"

	"secmsg/config/durable"
	"secmsg/daemon/store"
)

// lookFetches ends the unasked fetches that are not wanted any more, starts
// those that are due, oldest first, and returns when to look again.
func (s *Service) lookFetches(ctx context.Context) (time.Duration, error) {
	if err := s.endFetches(ctx); err != nil {
		return 0, err
	}
	now := time.Now()
	s.mu.Lock()
	maps.DeleteFunc(s.paused, func(_ store.MessageID, p pause) bool { return now.Sub(p.until) > time.Hour })
	limit := len(s.fetches) + len(s.paused) + transfersAtOnce
	s.mu.Unlock()
	var list []store.File
	err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.FetchingFiles(s.o.Account, limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	next := scanEvery
	for i := range list {
		f := &list[i]
		s.mu.Lock()
		_, running := s.fetches[f.ID]
		wait := s.paused[f.ID].until.Sub(now)
		s.mu.Unlock()
		if wait > 0 {
			next = min(next, wait)
		}
		if !running && wait <= 0 && !s.startFetch(ctx, f) {
			break // the end of another one looks again
		}
	}
	return next, nil
}

// endFetches ends those unasked fetches that run and are not wanted any more. It
// does not wait for their end.
func (s *Service) endFetches(ctx context.Context) error {
	s.mu.Lock()
	running := maps.Clone(s.fetches)
	s.mu.Unlock()
	for id, cancel := range running {
		switch err := s.wanted(ctx, id); {
		case errors.Is(err, errNotNow), errors.Is(err, errWithdrawn):
			cancel(err)
		case err != nil:
			return err
		}
	}
	return nil
}

// startFetch starts an unasked fetch and reports whether there was room for it.
func (s *Service) startFetch(ctx context.Context, f *store.File) bool {
	select {
	case s.down <- struct{}{}:
	default:
		return false
	}
	fctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	s.fetches[f.ID] = cancel
	s.mu.Unlock()
	s.wg.Go(func() {
		defer cancel(nil)
		// Looked at again now that endFetches can end it: what was read before may be old.
		err := s.wanted(fctx, f.ID)
		if err == nil {
			err = s.fetchUnasked(fctx, f)
		}
		if fctx.Err() != nil && ctx.Err() == nil {
			err = context.Cause(fctx)
		}
		if errors.Is(err, errNotNow) || errors.Is(err, errWithdrawn) {
			if err := s.dropUnasked(ctx, f); err != nil && ctx.Err() == nil {
				s.o.Logger.Warn("remove a file that is not fetched any more", "error", err)
			}
		}
		if errors.Is(err, errWithdrawn) {
			err = nil
		}
		s.mu.Lock()
		delete(s.fetches, f.ID)
		if err == nil {
			delete(s.paused, f.ID)
		} else {
			p := s.paused[f.ID]
			p.why = s.whyWaiting(err)
			p.until = time.Now().Add(min(retryMin<<min(p.tries, 10), time.Minute))
			p.tries++
			s.paused[f.ID] = p
		}
		s.mu.Unlock()
		<-s.down
		s.Kick()
	})
	return true
}

// errNotNow keeps a file waiting whose sender was blocked, or has another key
// than before, since it was decided to fetch it.
var errNotNow = errors.New("its sender is not trusted at present")

// wanted fails with errWithdrawn or errNotNow if a file is not to be fetched
// unasked, for good or at present.
func (s *Service) wanted(ctx context.Context, id store.MessageID) error {
	return s.o.Store.View(ctx, func(tx *store.Tx) error {
		now, err := tx.File(s.o.Account, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.State != store.FileFetching {
			return errWithdrawn
		}
		if err != nil {
			return err
		}
		c, err := tx.Contact(s.o.Account, now.Peer)
		if err == nil && (c.Relation != store.RelationContact || len(c.Changed) > 0) {
			return errNotNow
		}
		return err
	})
}

// dropUnasked removes what an unasked fetch has begun. What a caller fetches, or
// has begun to fetch elsewhere, stays.
func (s *Service) dropUnasked(ctx context.Context, f *store.File) error {
	var rows []store.Transfer
	err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = tx.TransfersOf(s.o.Account, f.ID)
		return err
	})
	if err != nil {
		return err
	}
	mine := target{Dir: filepath.Clean(s.o.Downloads), Name: SafeName(f.Name)} // that of fetchUnasked
	for _, row := range rows {
		t, err := decodeTarget(row.Body)
		if err != nil || !t.likewise(mine) || !s.claim(row.ID) {
			continue
		}
		_, err = s.drop(ctx, row.ID, t)
		s.unclaim(row.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchUnasked fetches one file into the directory for that. It returns an
// error if it is to be tried again.
func (s *Service) fetchUnasked(ctx context.Context, f *store.File) error {
	err := checkReference(f)
	var fe *fetch
	if err == nil {
		fe, err = s.newFetch(f, nil)
	}
	if err == nil {
		if err := durable.MkdirAll(s.o.Downloads, dirMode); err != nil {
			s.o.Logger.Warn("fetch a file", "error", err)
			return err
		}
		if err := room(s.o.Downloads, f.Size, s.o.KeepFree); err != nil {
			s.o.Logger.Warn("fetch a file", "error", err)
			return err
		}
		_, err = s.saveTo(ctx, f, fe, where{path: s.o.Downloads, own: true})
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	if s.giveUp(ctx, f, err) != nil {
		return nil
	}
	s.o.Logger.Warn("fetch a file", "error", err)
	return err
}
