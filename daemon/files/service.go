package files

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Limits and defaults.
const (
	// defaultParallel is the number of uploads, and of automatic fetches, that run at once.
	defaultParallel = 8
	// defaultSpoolParts is the number of sealed parts of an upload that may wait for the
	// server before sealing pauses: 64 MiB.
	defaultSpoolParts = 8
	// partsParallel is the number of parts of an upload that are sent at once.
	partsParallel = 3
	// maxStreams bounds the streams that are sent at once: each holds its buffers for as
	// long as its writer takes.
	maxStreams = 3
	// scanEvery is the longest time between two scans of the store.
	scanEvery = time.Minute
	// scanAfterError is the delay before the next scan after a scan has failed.
	scanAfterError = 5 * time.Second
	// transfersAtOnce bounds the rows that one scan reads in addition to those that are
	// running.
	transfersAtOnce = 32
)

// Options configure a Service.
type Options struct {
	Account    store.AccountID
	Store      *store.Store
	Blobs      Blobs
	Engine     Engine
	Spool      string  // directory for sealed parts, created if needed
	Downloads  string  // directory for automatically fetched files, created if needed
	Memory     *Memory // shared by all services of a daemon
	Parallel   int     // 0: 8
	SpoolParts int     // 0: 8
	KeepFree   int64   // bytes that automatic fetches leave free on the disk
	Logger     *slog.Logger
	// Explain turns an error of Blobs into an error for callers, with its cause and the
	// server's host. It may be nil.
	Explain func(error) *local.Error
}

// Service runs the transfers of one account. Its methods may be called concurrently while
// Run runs. All state that must survive is in the store, so a new Service continues where
// the previous one ended.
type Service struct {
	// constant
	o     Options
	spool spool
	kick  chan struct{}
	quit  chan struct{} // closed when Run ends
	up    chan struct{} // semaphore: one token for each running upload, except streams
	down  chan struct{} // semaphore: one token for each automatic fetch
	// Semaphores of one token: the upload and the fetch with reserved memory, see Memory.
	ownUpload, ownFetch chan struct{}

	wg sync.WaitGroup

	// pictures is held while a thumbnail is made, because that takes much memory.
	pictures sync.Mutex
	// queueing is held shared by scans of the store. A send holds it exclusively from the
	// insertion of an upload until its stream is in watched, so that no scan starts the
	// upload without its stream.
	queueing sync.RWMutex

	// beginning is held while the row of a download is inserted and claimed.
	beginning sync.Mutex
	claims    map[int64]bool // rows of downloads in use by a running call; guarded by beginning

	mu       sync.Mutex
	uploads  map[int64]*upload                           // running uploads; guarded by mu
	fetches  map[store.MessageID]context.CancelCauseFunc // running automatic fetches; guarded by mu
	paused   map[store.MessageID]pause                   // automatic fetches that failed and will be retried; guarded by mu
	deleting bool                                        // guarded by mu
	streams  int                                         // guarded by mu
	watched  map[int64]*watched                          // uploads that a caller of Send watches; guarded by mu
	why      map[int64]*local.Error                      // why an upload waits; guarded by mu
	held     map[int64]*os.File                          // open sources of unfinished uploads; guarded by mu
	wake     chan struct{}                               // closed and replaced by Reached; guarded by mu
	changed  chan struct{}                               // closed and replaced by Kick; guarded by mu
	largest  int64                                       // largest sealed size that the server accepts; 0: unknown; guarded by mu
}

// watched is an upload as a caller of Send sees it.
type watched struct {
	track  *tracker
	stream *liveStream // nil: a path
	ended  chan struct{}
	over   bool // the end has been reported to the caller; owned by the caller's goroutine
}

type pause struct {
	until time.Time
	tries int
	why   *local.Error
}

// New returns a Service that Run starts.
func New(o Options) *Service {
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.SpoolParts <= 0 {
		o.SpoolParts = defaultSpoolParts
	}
	if o.Memory == nil {
		o.Memory = NewMemory()
	}
	if o.Explain == nil {
		o.Explain = func(err error) *local.Error { return local.Errorf(local.CodeUnreachable, "%v", err) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		o: o, spool: spool{o.Spool}, kick: make(chan struct{}, 1), quit: make(chan struct{}),
		up: make(chan struct{}, o.Parallel), down: make(chan struct{}, o.Parallel),
		ownUpload: make(chan struct{}, 1), ownFetch: make(chan struct{}, 1),
		uploads: make(map[int64]*upload), fetches: make(map[store.MessageID]context.CancelCauseFunc),
		paused: make(map[store.MessageID]pause), watched: make(map[int64]*watched), why: make(map[int64]*local.Error), held: make(map[int64]*os.File), claims: make(map[int64]bool), wake: make(chan struct{}), changed: make(chan struct{}),
	}
}

// Kick requests a scan of the store, because there may be new work or because the server
// can be reached again. It never blocks.
func (s *Service) Kick() {
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Reached reports that the server can be reached again. Transfers that wait for it try at
// once.
func (s *Service) Reached() {
	s.mu.Lock()
	close(s.wake)
	s.wake = make(chan struct{})
	clear(s.paused)
	s.mu.Unlock()
	s.Kick()
}

// Changed reports that contacts or their keys have changed. Automatic fetches that are no
// longer allowed end, and those that have become allowed begin.
func (s *Service) Changed() {
	s.mu.Lock()
	clear(s.paused)
	s.mu.Unlock()
	s.Kick()
}

// nextChange returns the channel that the next Kick closes.
func (s *Service) nextChange() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Service) reached() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wake
}

// Run runs transfers until ctx ends, and returns when everything it started has ended. A
// Service runs once.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.closeAllHeld()
	defer s.wg.Wait()
	defer close(s.quit)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	s.tidy(ctx)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tidy.C:
			s.tidy(ctx)
			continue
		case <-s.kick:
		case <-timer.C:
		}
		next, err := s.look(ctx)
		if err != nil && ctx.Err() == nil {
			if !errors.Is(err, store.ErrLocked) {
				s.o.Logger.Warn("scan for transfers", "error", err)
			}
			next = scanAfterError
		}
		timer.Reset(next)
	}
}

// look scans the store: it starts transfers that are due and ends those that have been
// withdrawn. It returns the time until the next scan.
func (s *Service) look(ctx context.Context) (time.Duration, error) {
	s.queueing.RLock()
	defer s.queueing.RUnlock()
	if err := s.lookUploads(ctx); err != nil {
		return 0, err
	}
	if err := s.lookDeletes(ctx); err != nil {
		return 0, err
	}
	return s.lookFetches(ctx)
}

// lookUploads starts uploads in the order in which they were queued.
func (s *Service) lookUploads(ctx context.Context) error {
	s.mu.Lock()
	running := make(map[int64]bool, len(s.uploads))
	for id := range s.uploads {
		running[id] = true
	}
	s.mu.Unlock()
	type found struct {
		store.Transfer
		wanted bool
	}
	var list []found
	err := s.o.Store.View(ctx, func(tx *store.Tx) error {
		list = nil
		rows, err := tx.Transfers(s.o.Account, store.TransferUpload, 0, len(running)+s.o.Parallel+maxStreams)
		if err != nil {
			return err
		}
		for _, t := range rows {
			wanted, err := tx.Sending(s.o.Account, t.ID)
			if err != nil {
				return err
			}
			list = append(list, found{t, wanted})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range list {
		switch {
		case running[t.ID] && !t.wanted:
			s.mu.Lock()
			if u := s.uploads[t.ID]; u != nil {
				u.cancel(errWithdrawn)
			}
			s.mu.Unlock()
		case running[t.ID]:
		case !t.wanted:
			if err := s.discard(ctx, t.ID, ""); err != nil {
				return err
			}
			s.mu.Lock()
			s.endWatch(t.ID) // withdrawn before it started
			s.closeHeld(t.ID)
			s.mu.Unlock()
			s.Kick() // the rows after these may have work, too
		default:
			s.startUpload(ctx, t.Transfer)
		}
	}
	return nil
}

// startUpload starts an upload if fewer than Options.Parallel are running.
func (s *Service) startUpload(ctx context.Context, t store.Transfer) {
	p, err := decodePlan(t.Body)
	if err != nil {
		// Its messages fail. The uploads after it are not affected.
		s.o.Logger.Error("upload", "transfer", t.ID, "error", errors.Join(t.Damaged, err))
		u := &upload{s: s, id: t.ID}
		if err := u.fail(ctx, damagedUpload()); err != nil {
			s.o.Logger.Warn("end a damaged upload", "transfer", t.ID, "error", err)
		}
		return
	}
	var slot chan struct{}
	if !p.Stream {
		select {
		case s.up <- struct{}{}:
			slot = s.up
		default:
			return // the end of a running upload triggers the next scan
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u := &upload{s: s, id: t.ID, plan: p, cancel: cancel, leaving: make(chan struct{}, 1)}
	s.mu.Lock()
	if w := s.watched[t.ID]; w != nil {
		u.track, u.stream = w.track, w.stream
		if p.Restarts > 0 { // counted by an earlier daemon
			u.track.restarted(p.Restarts, p.Note)
		}
	}
	u.held = s.held[t.ID]
	s.uploads[t.ID] = u
	s.mu.Unlock()
	s.wg.Go(func() {
		defer s.Kick()
		defer func() {
			cancel(nil)
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.uploads, t.ID)
			delete(s.why, t.ID)
			s.endWatch(t.ID)
			s.closeHeld(t.ID)
			if slot != nil {
				<-slot
			}
		}()
		u.run(ctx)
	})
}

// endWatch tells the caller that watches an upload that it has ended. The caller of
// endWatch holds mu.
func (s *Service) endWatch(id int64) {
	if w := s.watched[id]; w != nil {
		close(w.ended)
		delete(s.watched, id)
	}
}

// closeHeld closes the held source of an upload that has ended. The caller holds mu.
func (s *Service) closeHeld(id int64) {
	if f := s.held[id]; f != nil {
		_ = f.Close() // read only
		delete(s.held, id)
	}
}

// closeAllHeld closes all held sources. The next daemon opens them by path.
func (s *Service) closeAllHeld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.held {
		s.closeHeld(id)
	}
}

// discard removes a withdrawn upload: its spooled parts now, and its blob as soon as the
// server can be reached. blob is the blob's id if the caller knows it: the blob of a
// single-part upload is not recorded in the plan.
func (s *Service) discard(ctx context.Context, id int64, blob string) error {
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		t, err := tx.Transfer(id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if t == nil { // a damaged body does not name its blob; delete the row
			return err
		}
		if p, err := decodePlan(t.Body); err == nil && p.Blob != "" {
			blob = p.Blob
		}
		if blob == "" {
			return tx.DeleteTransfer(id)
		}
		t.Kind, t.Body = store.TransferDelete, []byte(blob)
		if err := tx.DeleteParts(id); err != nil {
			return err
		}
		return tx.SaveTransfer(t)
	})
	// A crash may have left a part file without a row.
	if err := s.spool.clear(id); err != nil {
		s.o.Logger.Warn("remove spooled parts", "error", err)
	}
	return err
}

// deleteUnrecorded schedules the deletion of a blob whose id could not be saved in the plan. It
// does nothing if the plan has the id after all: an interrupted transaction may have been
// committed.
func (s *Service) deleteUnrecorded(ctx context.Context, id int64, blob string) error {
	return s.o.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		t, err := tx.Transfer(id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil {
			if p, err := decodePlan(t.Body); err == nil && p.Blob == blob {
				return nil
			}
		}
		return tx.InsertTransfer(&store.Transfer{
			Account: s.o.Account, Kind: store.TransferDelete, CreatedMS: s.o.Store.ProfileTime().UnixMilli(), Body: []byte(blob),
		})
	})
}

// lookDeletes deletes unwanted blobs, one at a time, in a goroutine.
func (s *Service) lookDeletes(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleting {
		return nil
	}
	var list []store.Transfer
	err := s.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.Transfers(s.o.Account, store.TransferDelete, 0, transfersAtOnce)
		return err
	})
	if err != nil || len(list) == 0 {
		return err
	}
	s.deleting = true
	s.wg.Go(func() {
		s.deleteAll(ctx, list)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.deleting = false
	})
	return nil
}

// deleteKept is the age at which a blob that could not be deleted is forgotten. No server
// keeps a blob longer.
const deleteKept = 366 * 24 * time.Hour

func (s *Service) deleteAll(ctx context.Context, list []store.Transfer) {
	b := retries{s: s}
	failed := false
	for _, t := range list {
		for {
			var err error // without its name the blob cannot be deleted and expires on the server
			if t.Damaged == nil {
				err = s.o.Blobs.DeleteBlob(ctx, string(t.Body))
			}
			old := s.o.Store.ProfileTime().UnixMilli()-t.CreatedMS > deleteKept.Milliseconds()
			if err == nil || final(err) || old {
				err = s.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteTransfer(t.ID) })
			}
			if err == nil {
				b = retries{s: s}
				break
			}
			if b.enough(err) {
				// The next scan tries again. The other deletions go on.
				s.o.Logger.Warn("delete a blob", "error", err)
				failed = true
				b = retries{s: s}
				break
			}
			if b.wait(ctx, err) != nil {
				return
			}
		}
	}
	if !failed {
		s.Kick()
	}
}
