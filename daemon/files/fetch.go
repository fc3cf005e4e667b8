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

// errBadContent says that the server's content is not what the sender sealed.
var errBadContent = errors.New("the content differs from the sealed file")

// fetch downloads and decrypts one file, part by part. Several goroutines download parts;
// one verifies and opens them in order; one passes the plaintext to a sink.
type fetch struct {
	s     *Service
	file  *store.File
	track *tracker
	// patience is how long the server may be unreachable; 0: forever.
	patience time.Duration
	// first replaces patience until the server has answered once; 0: use patience.
	first time.Duration
	// most is the number of buffers it takes if memory is available.
	most int

	total int64 // sealed size in bytes
	count int   // number of parts
}

// sink receives the plaintext in order. state is the digest's state of the blob at the end
// of the part.
type sink interface {
	part(ctx context.Context, number int, plain, state []byte) error
}

// piece is a part being downloaded.
type piece struct {
	number int
	buf    []byte
	done   chan error
}

// newFetch checks the size that the reference claims before anything is requested.
func (s *Service) newFetch(f *store.File, track *tracker) (*fetch, error) {
	total, err := seal.SealedFileSize(f.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: a size of %d bytes", errBadContent, f.Size)
	}
	count, err := seal.FileParts(total)
	if err != nil || count > wire.MaxBlobParts {
		return nil, fmt.Errorf("%w: a size of %d bytes", errBadContent, f.Size)
	}
	return &fetch{s: s, file: f, track: track, most: fetchBuffers, total: total, count: int(count)}, nil
}

// run downloads the parts after the first done ones; state is the digest's state at that
// point. The file is what its sender sealed only if run returns nil.
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
		return fmt.Errorf("%w: the digest differs", errBadContent)
	}
	return nil
}

// parts runs the stages: download, open, hand on.
func (f *fetch) parts(parent context.Context, done int, t *ticket, res *reservation, sum hash.Hash, out sink) error {
	g, ctx := errgroup.WithContext(parent)
	// One buffer holds the part being opened, and with three or more buffers another one
	// holds the part being written. The rest hold downloaded parts.
	open := min(2, res.count-1)
	ahead := res.count - open
	line := make(chan *piece, ahead-1) // and one more is with openAll
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

// handOn passes plaintext to the sink, while the next part is opened.
func (f *fetch) handOn(ctx context.Context, opened <-chan openPart, plain <-chan struct{}, res *reservation, out sink) error {
	for p := range opened {
		if err := out.part(ctx, p.number, p.plain, p.state); err != nil {
			return err
		}
		f.track.setDone(int64(p.number-1)*seal.FilePartPlain + int64(len(p.plain)))
		res.put(p.plain)
		<-plain
	}
	return nil
}

// openAll verifies and opens the parts in order.
func (f *fetch) openAll(ctx context.Context, line <-chan *piece, free <-chan struct{}, open chan<- struct{}, res *reservation, sum hash.Hash, out chan<- openPart) error {
	defer close(out)
	cipher, err := cipherOf(f.file.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadContent, err)
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
			return fmt.Errorf("%w: %w", errBadContent, err)
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

// fetchPart downloads one part with retries. Bytes received before a connection broke are
// kept: the next request asks for the rest.
func (f *fetch) fetchPart(ctx context.Context, t *ticket, p *piece) error {
	offset, length, err := seal.SealedPart(p.number, f.total)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadContent, err)
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
				w = f.waiting() // there was progress: start patience anew
			}
			if errors.Is(err, ErrSize) {
				return fmt.Errorf("%w: %w", errBadContent, err)
			}
			if errors.Is(err, ErrTicket) {
				t.drop(at)
			}
			if w.b.limited(err) {
				w.began = time.Now() // the server is reachable
			}
		}
		if err := w.after(ctx, err); err != nil {
			return err
		}
	}
}

// waiting returns a bound on how long one request is retried.
func (f *fetch) waiting() *waiting {
	return &waiting{f: f, began: time.Now(), patience: f.patience, b: retries{s: f.s}}
}

type waiting struct {
	f        *fetch
	began    time.Time
	patience time.Duration // 0: forever
	b        retries
}

// after waits after a failure. It returns err if a retry is pointless or patience has run
// out.
func (w *waiting) after(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case final(err), errors.Is(err, errBadContent):
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

// ticket is the download ticket that the goroutines of a fetch share.
type ticket struct {
	f   *fetch
	now chan wire.BlobTicket // capacity 1: holds the ticket, which doubles as the lock; an empty URL: used up
}

// renew requests a ticket and checks that the blob has exactly the size that the reference
// claims (attack D9 in crypto/ATTACKS.md). A blob of another size is not fetched.
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
			return fmt.Errorf("%w: the server has %d bytes instead of %d", errBadContent, d.Size, t.f.total)
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

// get returns the current ticket. The first goroutine that finds it used up requests a new
// one.
func (t *ticket) get(ctx context.Context) (wire.BlobTicket, error) {
	select {
	case at := <-t.now:
		if at.URL == "" {
			if err := t.renew(ctx); err != nil {
				t.now <- at // let the next caller try
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

// checkReference rejects a reference that cannot be opened.
func checkReference(f *store.File) error {
	if f.Blob == "" || len(f.SHA256) != sha256.Size {
		return fmt.Errorf("%w: no reference", errBadContent)
	}
	return nil
}
