package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"github.com/google/uuid"

	"secmsg/config/durable"
	"secmsg/daemon/journal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

const (
	// getPatience is how long a fetch without wait retries one request while the server is
	// unreachable: long enough for a restart of the server.
	getPatience = 30 * time.Second
	// firstPatience is the same for the first request: without a server the caller learns
	// that soon.
	firstPatience = 3 * time.Second
)

// Get fetches a file to a path, or to stream if it is not nil.
func (s *Service) Get(ctx context.Context, p local.FileGetParams, stream io.WriteCloser, progress func(local.FileProgress)) (local.FileGot, error) {
	if p.Stream && (p.Path != "" || p.Overwrite) {
		return local.FileGot{}, local.Errorf(local.CodeUsage, "path and stream cannot be combined")
	}
	if p.Timeout < 0 || p.Timeout != p.Timeout || p.Timeout > 0 && !p.Wait {
		return local.FileGot{}, local.Errorf(local.CodeUsage, "timeout must be positive and needs wait")
	}
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, seconds(p.Timeout), errTimeout)
		defer cancel()
	}
	f, peer, err := s.find(ctx, p.ID, p.Wait)
	if err != nil {
		return local.FileGot{}, s.getError(ctx, nil, err)
	}
	got := local.FileGot{
		ID: uuid.UUID(f.ID).String(), Peer: peer,
		FileInfo: local.FileInfo{Name: f.Name, Size: f.Size, Type: f.Type},
	}
	track := newTracker(f.Name, local.PhaseWaiting, f.Size)
	err = s.report(got.ID, track, progress, func() error {
		got.Path, err = s.fetchTo(ctx, f, p, stream, track)
		return err
	})
	if p.OrStream && elsewhere(err) {
		got.Stream = true
		return got, nil
	}
	return got, s.getError(ctx, f, err)
}

// elsewhere reports whether a fetch failed because the daemon cannot write to a place where
// its caller may be able to: the daemon sees another directory there, or lacks permission.
func elsewhere(err error) bool {
	return errors.Is(err, errElsewhere) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// errTimeout ends a fetch after its caller's timeout.
var errTimeout = errors.New("the time is over")

func seconds(n float64) time.Duration {
	return time.Duration(min(n, float64(deleteKept/time.Second)) * float64(time.Second))
}

// report runs work and reports its progress.
func (s *Service) report(id string, track *tracker, progress func(local.FileProgress), work func() error) error {
	if progress == nil {
		return work()
	}
	done := make(chan error, 1)
	go func() { done <- work() }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			progress(track.report(id, time.Now()))
			return err
		case <-tick.C:
			progress(track.report(id, time.Now()))
		}
	}
}

// fetchTo fetches a file to the place the caller asked for and records it as fetched.
func (s *Service) fetchTo(ctx context.Context, f *store.File, p local.FileGetParams, stream io.WriteCloser, track *tracker) (string, error) {
	if err := checkReference(f); err != nil {
		return "", err
	}
	fe, err := s.newFetch(f, track)
	if err != nil {
		return "", err
	}
	if !p.Wait {
		fe.patience, fe.first = getPatience, firstPatience
	}
	if stream != nil {
		fe.most = leastBuffers // the reader may stall for hours
		if err := fe.run(ctx, 0, nil, streamSink{stream}); err != nil {
			return "", err
		}
		if err := s.notDeclined(ctx, f.ID); err != nil {
			return "", err
		}
		if err := stream.Close(); err != nil {
			return "", fmt.Errorf("%w: %w", errGone, err)
		}
		return "", s.fetched(ctx, f, "", 0)
	}
	at := where{path: p.Path, overwrite: p.Overwrite, device: p.Device, inode: p.Inode}
	if at.path == "" {
		at.own = true
		if at.path = s.o.Downloads; at.path == "" {
			return "", local.Errorf(local.CodeUsage, "no download directory is configured")
		}
		if err := durable.MkdirAll(at.path, dirMode); err != nil {
			return "", writeError(at.path, err)
		}
	}
	return s.saveTo(ctx, f, fe, at)
}

// saveTo fetches a file to a path and records it as fetched.
func (s *Service) saveTo(ctx context.Context, f *store.File, fe *fetch, at where) (string, error) {
	t, root, err := chooseTarget(at, f.Name)
	if err != nil {
		return "", err
	}
	defer root.Close()
	d, err := s.begin(ctx, f, t, root)
	if err != nil {
		return "", err
	}
	path, err := d.run(ctx, fe)
	if err != nil {
		return "", err
	}
	return path, s.fetched(ctx, f, path, d.id)
}

func (s *Service) fetched(ctx context.Context, f *store.File, path string, transfer int64) error {
	return s.o.Engine.FileFetched(context.WithoutCancel(ctx), f.ID, path, transfer)
}

// find returns the file that text names (see journal.FileNamed). With wait it waits until
// there is one that can be fetched.
func (s *Service) find(ctx context.Context, text string, wait bool) (*store.File, string, error) {
	if _, err := uuid.Parse(text); err != nil {
		return nil, "", local.NotOneFile(0, text) // not an id: waiting is pointless
	}
	for {
		changed := s.nextChange()
		f, peer, err := s.lookUp(ctx, text)
		if err == nil || !wait || !errors.Is(err, errNotYet) && local.As(err).Code != local.CodeNotFound {
			return f, peer, err
		}
		if f != nil && f.State != store.FileSending {
			return nil, "", err // waiting is pointless
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, "", context.Cause(ctx)
		}
	}
}

// errNotYet marks an error that may pass with time.
var errNotYet = errors.New("not yet")

func (s *Service) lookUp(ctx context.Context, text string) (f *store.File, peer string, err error) {
	err = s.o.Store.View(ctx, func(tx *store.Tx) error {
		var n int
		if f, n, err = journal.FileNamed(tx, s.o.Account, text); err != nil {
			return err
		}
		if n != 1 {
			return local.NotOneFile(n, text)
		}
		if peer, err = tx.PeerAddress(f.Peer); err != nil {
			return err
		}
		m, err := tx.Message(s.o.Account, f.Message)
		if err != nil {
			return err
		}
		stranger := false
		if m.Request {
			c, err := tx.Contact(s.o.Account, f.Peer)
			if err != nil {
				return err
			}
			stranger = c.Relation != store.RelationContact
		}
		return available(f, stranger, peer, s.o.Store.ProfileTime().UnixMilli())
	})
	return f, peer, err
}

// available returns an error if a file cannot be fetched.
func available(f *store.File, stranger bool, peer string, now int64) error {
	switch {
	case stranger:
		return local.Errorf(local.CodeUsage, "%s is not a contact; only files of contacts can be fetched", peer).WithHint("secmsg contact add %s", peer)
	case f.State == store.FileSending:
		return fmt.Errorf("%w: %w", local.Errorf(local.CodeUsage, "the file is still being sent"), errNotYet)
	case f.State == store.FileDeclined:
		return errDeclined
	case f.State == store.FileCancelled:
		return local.Errorf(local.CodeNotFound, "the file was cancelled")
	case f.State == store.FileExpired, f.ExpiresMS > 0 && f.ExpiresMS <= now:
		return local.Errorf(local.CodeNotFound, "the file has expired on the server")
	case f.Blob == "":
		return local.Errorf(local.CodeNotFound, "the file was never sent")
	}
	return nil
}

// errDeclined ends a fetch of a file that its user declined.
var errDeclined = local.Errorf(local.CodeNotFound, "the file was declined")

// notDeclined fails with errDeclined if a file was declined while it was fetched: its
// sender has already been notified.
func (s *Service) notDeclined(ctx context.Context, id store.MessageID) error {
	return s.o.Store.View(ctx, func(tx *store.Tx) error {
		f, err := tx.File(s.o.Account, id)
		if err == nil && f.State == store.FileDeclined {
			return errDeclined
		}
		if errors.Is(err, store.ErrNotFound) {
			return nil // removed from the history
		}
		return err
	})
}

// Texts for files that cannot be fetched.
const (
	textGone       = "the server no longer has the file; its sender may have withdrawn it"
	textBadContent = "the file on the server is not the one the sender sent; nothing was saved"
)

// getError translates an error for the caller. If the file can never be fetched, it also
// marks it as failed.
func (s *Service) getError(ctx context.Context, f *store.File, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return local.Errorf(local.CodeTimeout, "the file was not available before the timeout")
	}
	if ctx.Err() != nil {
		return err
	}
	if f != nil && s.notDeclined(ctx, f.ID) == errDeclined {
		return errDeclined // the reason why the server does not have it
	}
	if e := s.giveUp(ctx, f, err); e != nil {
		return e
	}
	if errors.Is(err, errGone) {
		return local.Errorf(local.CodeIO, "the reader closed before the end of the file")
	}
	if e, ok := errors.AsType[*local.Error](err); ok {
		return fmt.Errorf("%w (%w)", e, err)
	}
	if isFull(err) {
		return fmt.Errorf("%w (%w)", local.Errorf(local.CodeDiskFull, "no space left"), err)
	}
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.CodeRateLimited {
		return local.Errorf(local.CodeRateLimited, "the server received too many requests; try again later")
	}
	if errors.Is(err, store.ErrLocked) || errors.Is(err, store.ErrDisk) || errors.Is(err, store.ErrCorrupt) {
		return err
	}
	s.o.Logger.Info("fetch", "error", err)
	told := *s.whyWaiting(err)
	told.Message = "the file could not be fetched: " + told.Message
	return fmt.Errorf("%w (%w)", &told, err)
}

// giveUp marks a file as failed or expired if err is final, and returns the error for the
// caller, else nil.
func (s *Service) giveUp(ctx context.Context, f *store.File, err error) *local.Error {
	var text string
	var e *local.Error
	state := store.FileFailed
	switch {
	case f == nil:
		return nil
	case wire.CodeOf(err) == wire.CodeNotFound:
		text, e = textGone, local.Errorf(local.CodeNotFound, textGone)
		if f.ExpiresMS > 0 && f.ExpiresMS <= s.o.Store.ProfileTime().UnixMilli() {
			state = store.FileExpired
		}
	case errors.Is(err, errBadContent):
		text, e = textBadContent, local.Errorf(local.CodeIO, textBadContent)
		e.Retryable = false
	default:
		return nil
	}
	s.o.Logger.Warn("file cannot be fetched", "file", uuid.UUID(f.ID), "error", err)
	if err := s.o.Engine.FetchFailed(ctx, f.ID, state, text, 0); err != nil {
		s.o.Logger.Warn("file cannot be fetched", "error", err)
	}
	return e
}
