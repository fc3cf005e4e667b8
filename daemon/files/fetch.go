package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"time"

	"golang.org/x/sync/errgroup"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// errSpoiled says that what the server has is not what the sender sealed.
var errSpoiled = errors.New("the content is not what its sender sealed")

// fetch fetches one file and opens it, part after part. Some goroutines fetch,
// one verifies and opens in order, and hands the plaintext to a sink.
type fetch struct {
	s     *Service
	file  *store.File
	track *tracker
	// patience is how long the server may be away; 0: for ever.
	patience time.Duration
	// first is the same until the server has answered once.
	first time.Duration
	// most is how many buffers it takes if there is room.
	most int

	total int64 // sealed, in bytes
	count int   // of parts
}

// sink takes plaintext in order. state is the digest of the blob up to the end
// of the part.
type sink interface {
	part(ctx context.Context, number int, plain, state []byte) error
}

// piece is a part on its way.
type piece struct {
	number int
	buf    []byte
	done   chan error
}

// newFetch checks what the reference claims before anything is asked for.
func (s *Service) newFetch(f *store.File, track *tracker) (*fetch, error) {
	total, err := seal.SealedFileSize(f.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: a size of %d bytes", errSpoiled, f.Size)
	}
	count, err := seal.FileParts(total)
	if err != nil || count > wire.MaxBlobParts {
		return nil, fmt.Errorf("%w: a size of %d bytes", errSpoiled, f.Size)
	}
	return &fetch{s: s, file: f, track: track, most: fetchBuffers, total: total, count: int(count)}, nil
}

// run fetches the parts behind the first done ones, whose digest has a state.
// Only when it returns nil is the whole file what its sender sealed.
func (f *fetch) run(ctx context.Context, done int, state []byte, out sink) error {
	sum, err := loadHash(state)
	if err != nil {
		return err
	}
	t := &ticket{f: f}
	if err := t.renew(ctx); err != nil {
		return err
	}
	if done < f.count {
		res, err := f.s.o.Memory.reserve(ctx, f.s.ownFetch, min(f.most, f.count-done+1), bufferSize(f.file.Size))
		if err != nil {
			return err
		}
		defer res.release()
		if err := f.parts(ctx, done, t, res, sum, out); err != nil {
			return err
		}
	}
	if !bytes.Equal(sum.Sum(nil), f.file.SHA256) {
		return fmt.Errorf("%w: the digest differs", errSpoiled)
	}
	return nil
}

// parts runs the line of fetching and opening.
func (f *fetch) parts(parent context.Context, done int, t *ticket, res *reservation, sum hash.Hash, out sink) error {
	g, ctx := errgroup.WithContext(parent)
	// Of the buffers one is open, and one more is written if there are three.
	open := min(2, res.count-1)
	ahead := res.count - open
	line := make(chan *piece, ahead-1) // one more is with the opener
	free, plain := make(chan struct{}, ahead), make(chan struct{}, open)
	g.Go(func() error {
		defer close(line)
		for n := done + 1; n <= f.count; n++ {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			p := &piece{number: n, buf: res.get(), done: make(chan error, 1)}
			g.Go(func() error {
				err := f.fetchPart(ctx, t, p)
				p.done <- err
				return err
			})
			select {
			case line <- p:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	opened := make(chan openPart)
	g.Go(func() error { return f.openAll(ctx, line, free, plain, res, sum, opened) })
	g.Go(func() error { return f.handOn(ctx, opened, plain, res, out) })
	err := g.Wait()
	if err != nil && parent.Err() != nil {
		return context.Cause(parent)
	}
	return err
}

// openPart is the plaintext of a part.
type openPart struct {
	number       int
	plain, state []byte
}

// handOn gives a sink what is open, while the next part is opened.
func (f *fetch) handOn(ctx context.Context, opened <-chan openPart, plain <-chan struct{}, res *reservation, out sink) error {
	for p := range opened {
		if err := out.part(ctx, p.number, p.plain, p.state); err != nil {
			return err
		}
		f.track.through(int64(p.number-1)*seal.FilePartPlain + int64(len(p.plain)))
		res.put(p.plain)
		<-plain
	}
	return nil
}

// openAll verifies and opens in order.
func (f *fetch) openAll(ctx context.Context, line <-chan *piece, free <-chan struct{}, open chan<- struct{}, res *reservation, sum hash.Hash, out chan<- openPart) error {
	defer close(out)
	cipher, err := cipherOf(f.file.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", errSpoiled, err)
	}
	defer cipher.Wipe()
	for p := range line {
		select {
		case err := <-p.done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := take(ctx, open); err != nil {
			return err
		}
		hashed := make(chan struct{})
		go func() {
			defer close(hashed)
			sum.Write(p.buf)
		}()
		plain, err := cipher.OpenPart(res.get(), p.buf, p.number, p.number == f.count)
		<-hashed
		if err != nil {
			return fmt.Errorf("%w: %w", errSpoiled, err)
		}
		res.put(p.buf)
		<-free
		state, err := saveHash(sum)
		if err != nil {
			return err
		}
		select {
		case out <- openPart{p.number, plain, state}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// fetchPart fetches one part, as often as it takes. What has come when a
// connection breaks stays: the next request asks for the rest.
func (f *fetch) fetchPart(ctx context.Context, t *ticket, p *piece) error {
	offset, length, err := seal.SealedPart(p.number, f.total)
	if err != nil {
		return fmt.Errorf("%w: %w", errSpoiled, err)
	}
	p.buf = p.buf[:length]
	w, got := f.waiting(), 0
	for {
		at, err := t.get(ctx)
		if err == nil {
			var n int
			n, err = f.s.o.Blobs.GetRange(ctx, at, offset+int64(got), p.buf[got:])
			if got += n; got == len(p.buf) {
				f.track.setPhase(local.PhaseFetching)
				return nil
			}
			if n > 0 {
				w = f.waiting() // it goes on
			}
			if errors.Is(err, ErrSize) {
				return fmt.Errorf("%w: %w", errSpoiled, err)
			}
			if errors.Is(err, ErrTicket) {
				t.drop(at)
			}
			if w.b.limited(err) {
				w.began = time.Now() // the server is there
			}
		}
		if err := w.after(ctx, err); err != nil {
			return err
		}
	}
}

// waiting bounds how long one thing is tried.
func (f *fetch) waiting() *waiting {
	return &waiting{f: f, began: time.Now(), patience: f.patience, b: backoff{s: f.s}}
}

type waiting struct {
	f        *fetch
	began    time.Time
	patience time.Duration // 0: for ever
	b        backoff
}

// after waits after a failure. It returns the error if trying again makes no
// sense, or if patience has ended.
func (w *waiting) after(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case final(err), errors.Is(err, errSpoiled):
		return err
	case w.b.enough(err):
		return err
	case w.patience > 0 && time.Since(w.began) > w.patience:
		return err
	}
	if !errors.Is(err, ErrTicket) || w.b.tries > 0 {
		w.f.track.waits(w.f.s.whyWaiting(err).Message)
	}
	w.f.s.o.Logger.Debug("fetch", "error", err)
	return w.b.wait(ctx, err)
}

// ticket is the ticket that the goroutines of a fetch share.
type ticket struct {
	f   *fetch
	now chan wire.BlobTicket // at most one
}

// renew asks for a ticket and checks that the blob has exactly the size that
// the reference claims (attack D9): nothing of another size is fetched.
func (t *ticket) renew(ctx context.Context) error {
	if t.now == nil {
		t.now = make(chan wire.BlobTicket, 1)
	}
	w := t.f.waiting()
	if t.f.first > 0 {
		w.patience, t.f.first = t.f.first, 0
	}
	for {
		d, err := t.f.s.o.Blobs.DownloadBlob(ctx, t.f.file.Blob)
		if err == nil && d.Size != t.f.total {
			return fmt.Errorf("%w: the server has %d bytes instead of %d", errSpoiled, d.Size, t.f.total)
		}
		if err == nil {
			d.Ticket.Size = t.f.total
			t.now <- d.Ticket
			return nil
		}
		if err := w.after(ctx, err); err != nil {
			return err
		}
	}
}

// get returns the present ticket; the first one to find none asks for it.
func (t *ticket) get(ctx context.Context) (wire.BlobTicket, error) {
	select {
	case at := <-t.now:
		if at.URL == "" {
			if err := t.renew(ctx); err != nil {
				t.now <- at // the next one tries
				return at, err
			}
			at = <-t.now
		}
		t.now <- at
		return at, nil
	case <-ctx.Done():
		return wire.BlobTicket{}, context.Cause(ctx)
	}
}

// drop marks a ticket as used up.
func (t *ticket) drop(at wire.BlobTicket) {
	now := <-t.now
	if now == at {
		now = wire.BlobTicket{}
	}
	t.now <- now
}

// checkReference refuses a reference that cannot be opened.
func checkReference(f *store.File) error {
	if f.Blob == "" || len(f.SHA256) != sha256.Size {
		return fmt.Errorf("%w: no reference", errSpoiled)
	}
	return nil
}
