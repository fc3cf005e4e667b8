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

// Defaults of Options.
const (
	// defaultParallel is how many uploads, and how many unasked fetches, run at once.
	defaultParallel = 8
	// defaultSpoolParts is how many sealed parts of an upload wait for the server
	// before sealing pauses: 64 MiB.
	defaultSpoolParts = 8
	// partsParallel is how many parts of an upload are on their way at once.
	partsParallel = 3
	// maxStreams bounds the streams that are sent at once; each holds the buffers
	// that it needs for as long as its writer likes.
	maxStreams = 3
	// scanEvery is how often the store is looked at without being told to.
	scanEvery = time.Minute
	// scanAfterError is how soon it is looked at again when it failed.
	scanAfterError = 5 * time.Second
	// transfersAtOnce bounds how many rows one look reads beyond those that run.
	transfersAtOnce = 32
)

// Options make a Service.
type Options struct {
	Account    store.AccountID
	Store      *store.Store
	Blobs      Blobs
	Engine     Engine
	Spool      string  // directory of sealed parts, made if needed
	Downloads  string  // where files go that are fetched unasked, made if needed
	Memory     *Memory // shared by the services of a daemon
	Parallel   int     // 0: 8
	SpoolParts int     // 0: 8
	KeepFree   int64   // bytes that unasked fetches leave free on the disk
	Logger     *slog.Logger
	// Explain says in words for a caller what an error of Blobs means, with cause
	// and host; it may be nil.
	Explain func(error) *local.Error
}

// Service runs the transfers of one account. Its methods may be used
// concurrently while Run runs; everything that must survive is in the store, so
// that another Service goes on where one has ended.
type Service struct {
	// constant
	o     Options
	spool spool
	kick  chan struct{}
	quit  chan struct{} // closed when Run ends
	up    chan struct{} // one for each upload that runs, but for streams
	down  chan struct{} // one for each unasked fetch
	// The upload and the fetch that have memory of their own.
	ownUpload, ownFetch chan struct{}

	wg sync.WaitGroup

	// pictures is held while a thumbnail is made, which takes much memory.
	pictures sync.Mutex
	// queueing is held shared by looks at the store, and alone by a send from
	// when its stream's upload is in the store until the stream is known.
	queueing sync.RWMutex

	// beginning is held while the row of a download is made and claimed.
	beginning sync.Mutex
	claims    map[int64]bool // downloads to files that run; guarded by beginning

	mu       sync.Mutex
	uploads  map[int64]*upload                           // that run; guarded by mu
	fetches  map[store.MessageID]context.CancelCauseFunc // unasked ones that run; guarded by mu
	paused   map[store.MessageID]pause                   // unasked ones that failed; guarded by mu
	deleting bool                                        // guarded by mu
	streams  int                                         // guarded by mu
	watched  map[int64]*watched                          // of callers; guarded by mu
	why      map[int64]*local.Error                      // for which uploads wait; guarded by mu
	held     map[int64]*os.File                          // sources of uploads that have not ended; guarded by mu
	wake     chan struct{}                               // closed and replaced by Reached; guarded by mu
	largest  int64                                       // that the server takes, sealed; 0: not known; guarded by mu
}

// watched is what a caller of Send knows of an upload.
type watched struct {
	track  *tracker
	stream *liveStream // nil: a path
	ended  chan struct{}
	over   bool // the caller was told of the end; owned by its goroutine
}

type pause struct {
	until time.Time
	tries int
	why   *local.Error
}

// New makes a Service. Run starts it.
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
		paused: make(map[store.MessageID]pause), watched: make(map[int64]*watched), why: make(map[int64]*local.Error), held: make(map[int64]*os.File), claims: make(map[int64]bool), wake: make(chan struct{}),
	}
}

// Kick tells that the store may hold something to do, or that the server can be
// reached again. It never waits.
func (s *Service) Kick() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Reached tells that the server can be reached again: what waits for it tries
// at once.
func (s *Service) Reached() {
	s.mu.Lock()
	close(s.wake)
	s.wake = make(chan struct{})
	clear(s.paused)
	s.mu.Unlock()
	s.Kick()
}

// Changed tells that contacts or their keys have changed: unasked fetches that
// are not wanted any more end, and those that waited for it begin.
func (s *Service) Changed() {
	s.mu.Lock()
	clear(s.paused)
	s.mu.Unlock()
	s.Kick()
}

func (s *Service) reached() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wake
}

// Run carries out transfers until ctx ends, and returns when everything that it
// started has ended. A Service runs once.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.letGoAll()
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
				s.o.Logger.Warn("look for transfers", "error", err)
			}
			next = scanAfterError
		}
		timer.Reset(next)
	}
}

// look starts what is due and ends what nobody wants any more. It returns when
// to look again.
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
			s.endWatch(t.ID) // it was withdrawn before it began
			s.letGo(t.ID)
			s.mu.Unlock()
			s.Kick() // there may be more behind them
		default:
			s.startUpload(ctx, t.Transfer)
		}
	}
	return nil
}

// startUpload starts an upload if there is room for one more.
func (s *Service) startUpload(ctx context.Context, t store.Transfer) {
	p, err := decodePlan(t.Body)
	if err != nil {
		// Its messages are told; those behind it go on.
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
			return // the end of another one looks again
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u := &upload{s: s, id: t.ID, plan: p, cancel: cancel, leaving: make(chan struct{}, 1)}
	s.mu.Lock()
	if w := s.watched[t.ID]; w != nil {
		u.track, u.stream = w.track, w.stream
		if p.Restarts > 0 { // of an earlier daemon
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
			s.letGo(t.ID)
			if slot != nil {
				<-slot
			}
		}()
		u.run(ctx)
	})
}

// endWatch tells who watches an upload that it has ended. The caller holds mu.
func (s *Service) endWatch(id int64) {
	if w := s.watched[id]; w != nil {
		close(w.ended)
		delete(s.watched, id)
	}
}

// letGo closes the source of an upload that has ended. The caller holds mu.
func (s *Service) letGo(id int64) {
	if f := s.held[id]; f != nil {
		_ = f.Close() // it was only read
		delete(s.held, id)
	}
}

// letGoAll closes the sources of uploads that the next daemon goes on with.
func (s *Service) letGoAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.held {
		s.letGo(id)
	}
}

// discard removes an upload that nobody waits for: its spooled parts here, and
// its blob, now or when the server can be reached. blob is what the caller knows
// of it; that of a single part is not recorded.
func (s *Service) discard(ctx context.Context, id int64, blob string) error {
	err := s.o.Store.Update(ctx, func(tx *store.Tx) error {
		t, err := tx.Transfer(id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if t == nil { // a damaged body tells no blob, and goes with the row
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
	// A part may be there that was never recorded.
	if err := s.spool.clear(id); err != nil {
		s.o.Logger.Warn("remove spooled parts", "error", err)
	}
	return err
}

// unwanted has a blob deleted of which the upload could not take note, unless it
// has: a transaction that was interrupted may have been committed.
func (s *Service) unwanted(ctx context.Context, id int64, blob string) error {
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

// lookDeletes deletes blobs that nobody wants, one after the other.
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

// deleteKept is after how long a blob that could not be deleted is forgotten:
// no server keeps one longer.
const deleteKept = 366 * 24 * time.Hour

func (s *Service) deleteAll(ctx context.Context, list []store.Transfer) {
	b := backoff{s: s}
	failed := false
	for _, t := range list {
		for {
			var err error // without its name the blob is left to its expiry at the server
			if t.Damaged == nil {
				err = s.o.Blobs.DeleteBlob(ctx, string(t.Body))
			}
			old := s.o.Store.ProfileTime().UnixMilli()-t.CreatedMS > deleteKept.Milliseconds()
			if err == nil || final(err) || old {
				err = s.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteTransfer(t.ID) })
			}
			if err == nil {
				b = backoff{s: s}
				break
			}
			if b.enough(err) {
				// It is tried again with the next look; those behind it are not kept.
				s.o.Logger.Warn("delete a blob", "error", err)
				failed = true
				b = backoff{s: s}
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
