package files

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"time"

	"secmsg/config/durable"
	"secmsg/daemon/store"
	"secmsg/rpc/backoff"
)

// lookFetches ends automatic fetches that are no longer allowed and starts those that are
// due, oldest first. It returns the time until the next scan.
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
			break // the end of a running fetch triggers the next scan
		}
	}
	return next, nil
}

// endFetches cancels the running automatic fetches that are no longer allowed. It does not
// wait for them to end.
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

// startFetch starts an automatic fetch and reports whether there was room for it.
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
		// Check again now that endFetches can cancel it: f may be outdated.
		err := s.wanted(fctx, f.ID)
		if err == nil {
			err = s.autoFetch(fctx, f)
		}
		if fctx.Err() != nil && ctx.Err() == nil {
			err = context.Cause(fctx)
		}
		if errors.Is(err, errNotNow) || errors.Is(err, errWithdrawn) {
			if err := s.dropAutoFetch(ctx, f); err != nil && ctx.Err() == nil {
				s.o.Logger.Warn("remove a cancelled download", "error", err)
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
			p.until = time.Now().Add(backoff.New(retryMin, pauseMax).After(p.tries, wish(err)))
			p.tries++
			s.paused[f.ID] = p
		}
		s.mu.Unlock()
		<-s.down
		s.Kick()
	})
	return true
}

// errNotNow defers a fetch because the sender was blocked, or changed its key, after the
// fetch had been decided.
var errNotNow = errors.New("its sender is not trusted at present")

// wanted fails with errWithdrawn if a file is no longer to be fetched automatically, or
// with errNotNow if its fetch is deferred.
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

// dropAutoFetch removes the partial download of an automatic fetch. It leaves downloads that
// a caller runs, or has begun to another place.
func (s *Service) dropAutoFetch(ctx context.Context, f *store.File) error {
	var rows []store.Transfer
	err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = tx.TransfersOf(s.o.Account, f.ID)
		return err
	})
	if err != nil {
		return err
	}
	mine := target{Dir: filepath.Clean(s.o.Downloads), Name: SafeName(f.Name)} // the target that autoFetch uses
	for _, row := range rows {
		t, err := decodeTarget(row.Body)
		if err != nil || !t.samePath(mine) || !s.claim(row.ID) {
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

// autoFetch fetches one file into the configured directory. It returns an error if the
// fetch should be retried.
func (s *Service) autoFetch(ctx context.Context, f *store.File) error {
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
