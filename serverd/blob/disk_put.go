package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"secmsg/rpc/wire"
)

const (
	// bufferSize is the size of the buffer between connection and file, in bytes. TLS returns at most 16 KiB
	// at once; even four times that would cost one system call for each 64 KiB.
	bufferSize = 256 << 10
	// stepSize is how many bytes must move before the deadline is extended.
	stepSize = 64 << 10
	// writeAhead is how many bytes of a part are received before the disk starts writing
	// them: enough for one large request.
	writeAhead = 1 << 20
	// passingSize is the size in bytes above which a part is dropped from the page cache: large files
	// are read once and would displace data that is read often, such as the database.
	passingSize = 4 << 20
)

// buffers keeps buffers of bufferSize between transfers.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[bufferSize]byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p
	}
	return new([bufferSize]byte)
}

func (b *buffers) put(p *[bufferSize]byte) { b.pool.Put(p) }

type putKey struct {
	id     [16]byte
	number int
}

// put is an incoming part.
type put struct {
	account string
	rc      *http.ResponseController
	ctx     context.Context
	cancel  context.CancelFunc
	ended   atomic.Bool // a newer put replaces it
	done    chan struct{}
}

// step extends the deadline for the next step, unless a newer put replaces this one.
func (p *put) step(within time.Duration) error {
	if err := p.rc.SetReadDeadline(time.Now().Add(within)); err != nil {
		return fmt.Errorf("blobs: put: %w", err)
	}
	if p.ended.Load() { // checked last, because its deadline may just have been extended
		return errBody
	}
	return nil
}

// begin makes p the only put of a part. It first ends an older put, whose client has probably lost its
// connection, so that incoming data fits into the reservation.
func (d *Disk) begin(ctx context.Context, key putKey, p *put) error {
	for {
		d.mu.Lock()
		older := d.puts[key]
		if older == nil {
			d.puts[key] = p
			d.mu.Unlock()
			return nil
		}
		older.ended.Store(true)
		older.cancel()
		_ = older.rc.SetReadDeadline(time.Unix(1, 0)) // its connection may already be gone
		d.mu.Unlock()
		select {
		case <-older.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *Disk) end(key putKey, p *put) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.puts, key)
	close(p.done)
}

// servePut receives one part.
func (d *Disk) servePut(w http.ResponseWriter, r *http.Request, g grant) {
	switch {
	case r.ContentLength < 0:
		d.refuse(w, http.StatusLengthRequired, &wire.Error{Code: wire.CodeMalformed, Message: "a part needs a Content-Length"})
		return
	case r.ContentLength > g.size:
		d.refuse(w, http.StatusRequestEntityTooLarge, &wire.Error{Code: wire.CodeTooLarge, Message: "the part is larger than its ticket"})
		return
	case r.ContentLength < g.size:
		d.refuse(w, http.StatusBadRequest, &wire.Error{Code: wire.CodeMalformed, Message: "the part is smaller than its ticket"})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	p := &put{account: g.account, rc: http.NewResponseController(w), ctx: ctx, cancel: cancel, done: make(chan struct{})}
	key := putKey{g.id, g.number}
	if err := d.begin(r.Context(), key, p); err != nil {
		d.fail(w, err)
		return
	}
	defer d.end(key, p)
	name, err := d.store(p, g, r.Body)
	if err != nil {
		d.fail(w, err)
		return
	}
	d.putCount.Add(1)
	d.putBytes.Add(g.size)
	// The response has its own deadline; that of the whole request is long past.
	if err := p.rc.SetWriteDeadline(time.Now().Add(d.opt.Stall)); err != nil {
		d.fail(w, err)
		return
	}
	w.Header().Set("ETag", `"`+name+`"`)
	w.WriteHeader(http.StatusOK)
}

// store writes a part to a temporary file and, once that is durable, moves it into place. It returns
// the part's ETag.
func (d *Disk) store(p *put, g grant, body io.Reader) (name string, err error) {
	if err := d.open(g.id); err != nil {
		return "", err
	}
	var random [8]byte
	rand.Read(random[:])
	tmp := path.Join(tmpDir, FormatID(g.id)+"."+partFile(g.number)+"."+hex.EncodeToString(random[:]))
	f, err := d.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, privateFile)
	if err != nil {
		return "", d.failed("put", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
			_ = d.root.Remove(tmp) // otherwise the next start removes it
		}
	}()
	if err := d.receive(p, f, body, g.size); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", d.failed("put", err)
	}
	if g.size >= passingSize {
		dropCache(f)
	}
	info, err := f.Stat()
	if err != nil {
		return "", d.failed("put", err)
	}
	if p.ended.Load() {
		return "", errBody
	}
	// A complete part is kept even if its client has gone: on its return the client asks which parts
	// are stored.
	if err := d.place(g, tmp); err != nil {
		return "", err
	}
	if err := d.syncDir(blobDir(g.id)); err != nil {
		return "", d.failed("put", err)
	}
	if err := f.Close(); err != nil {
		return "", d.failed("put", err)
	}
	return etag(info), nil
}

// open returns an error unless the blob accepts parts.
func (d *Disk) open(id [16]byte) error {
	if _, err := d.root.Stat(blobDir(id)); err != nil {
		return d.failed("put", err)
	}
	if _, err := d.root.Stat(path.Join(blobDir(id), indexFile)); err == nil {
		return ErrConflict
	}
	return nil
}

// place renames a temporary file to a part, unless the blob is complete.
func (d *Disk) place(g grant, tmp string) error {
	l := d.lock(g.id)
	l.Lock()
	defer l.Unlock()
	if err := d.open(g.id); err != nil {
		return err
	}
	if err := d.root.Rename(tmp, path.Join(blobDir(g.id), partFile(g.number))); err != nil {
		return d.failed("put", err)
	}
	return nil
}

// receive copies exactly size bytes from body to f. Each step has a time limit, which starts when the
// shaper admits the step.
func (d *Disk) receive(p *put, f *os.File, body io.Reader, size int64) error {
	buf := d.buffers.get()
	defer d.buffers.put(buf)
	filled, allowed := 0, 0
	var written, started int64
	for left := size; left > 0; {
		if allowed <= 0 {
			allowed = int(min(stepSize, left))
			if err := d.shape.wait(p.ctx, p.account, allowed); err != nil {
				return fmt.Errorf("%w: %w", errBody, err)
			}
			if err := p.step(d.opt.Stall); err != nil {
				return err
			}
		}
		end := min(int64(bufferSize), int64(filled)+left)
		if d.shape != nil {
			end = min(end, int64(filled+allowed))
		}
		n, err := body.Read(buf[filled:end])
		filled, allowed, left = filled+n, allowed-n, left-int64(n)
		if filled == bufferSize || left == 0 {
			if _, err := f.Write(buf[:filled]); err != nil {
				return d.failed("put", err)
			}
			written += int64(filled)
			filled = 0
			if written-started >= writeAhead {
				startWrite(f, started, written-started)
				started = written
			}
		}
		if err != nil && left > 0 {
			return fmt.Errorf("%w: %w", errBody, err)
		}
	}
	return nil
}

// errBody means that a part did not arrive completely or in time.
var errBody = errors.New("the part did not arrive completely in time")
