package blob

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"sort"
	"strings"
	"time"

	"secmsg/rpc/wire"
)

// ServeHTTP serves wire.PathBlobData: PUT of a part, GET and HEAD of a blob, each by a URL of this
// store. A connection without a valid signature is closed after the answer, and nothing is read from
// it.
func (d *Disk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	id, below := strings.CutPrefix(r.URL.Path, wire.PathBlobData)
	q, err := url.ParseQuery(r.URL.RawQuery)
	g, ok := d.check(method, id, q, d.opt.Now())
	if !ok || !below || err != nil || method != http.MethodPut && method != http.MethodGet {
		d.refuse(w, http.StatusForbidden, &wire.Error{Code: wire.CodeTicket, Message: "the ticket is expired or not valid"})
		return
	}
	if d.opt.Authenticated != nil {
		d.opt.Authenticated(r.Context())
	}
	if d.opt.Allowed != nil {
		if err := d.opt.Allowed(r.Context(), g.account); err != nil {
			d.fail(w, err)
			return
		}
	}
	if !d.enter(g.account) {
		d.refuse(w, http.StatusTooManyRequests, &wire.Error{Code: wire.CodeRateLimited, Message: "too many transfers at a time", RetryAfter: 1})
		return
	}
	defer d.leave(g.account)
	// Nothing of a body is requested or read before its turn.
	if err := d.shape.enter(r.Context(), g.account); err != nil {
		d.fail(w, err)
		return
	}
	defer d.shape.leave(g.account)
	if method == http.MethodPut {
		d.servePut(w, r, g)
		return
	}
	d.serveGet(w, r, g)
}

func (d *Disk) enter(account string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[account] >= d.opt.Parallel {
		return false
	}
	d.running[account]++
	return true
}

func (d *Disk) leave(account string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[account]--; d.running[account] == 0 {
		delete(d.running, account)
	}
}

// refuse answers and closes the connection, whose body may be unread.
func (d *Disk) refuse(w http.ResponseWriter, status int, e *wire.Error) {
	d.refused.Add(1)
	// A transfer may have outlasted the deadline of the whole request.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d.opt.Stall)) // on failure the older deadline remains
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.ErrorBody{Error: e}) // an error means that the client is gone
}

// fail maps an error. An unexpected one is logged in full.
func (d *Disk) fail(w http.ResponseWriter, err error) {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		status := http.StatusForbidden
		switch e.Code {
		case wire.CodeUnavailable:
			status = http.StatusServiceUnavailable
		case wire.CodeRateLimited:
			status = http.StatusTooManyRequests
		}
		d.refuse(w, status, e)
		return
	}
	switch {
	case errors.Is(err, ErrNotFound):
		d.refuse(w, http.StatusNotFound, &wire.Error{Code: wire.CodeNotFound, Message: "no such blob"})
	case errors.Is(err, ErrConflict):
		d.refuse(w, http.StatusConflict, &wire.Error{Code: wire.CodeConflict, Message: "the blob is complete"})
	case errors.Is(err, errBody), errors.Is(err, context.Canceled):
		// The connection is at fault, not the client: the same part may succeed a second later.
		d.refuse(w, http.StatusServiceUnavailable, &wire.Error{Code: wire.CodeUnavailable, Message: errBody.Error(), RetryAfter: 1})
	case errors.Is(err, ErrFull):
		d.opt.Logger.Error("could not store a part", "error", err)
		d.refuse(w, http.StatusInsufficientStorage, &wire.Error{Code: wire.CodeUnavailable, Message: "the server's storage is full", RetryAfter: 10})
	default:
		d.opt.Logger.Error("transfer failed", "error", err)
		d.refuse(w, http.StatusInternalServerError, &wire.Error{Code: wire.CodeInternal, Message: "internal error; the server's log has the details"})
	}
}

// serveGet sends a blob or a range of it.
func (d *Disk) serveGet(w http.ResponseWriter, r *http.Request, g grant) {
	sizes, err := d.index(g.id)
	if err != nil {
		d.fail(w, err)
		return
	}
	c := newContent(d, g.id, sizes)
	defer c.close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", `"`+FormatID(g.id)+`"`) // a blob is immutable
	if strings.Contains(r.Header.Get("Range"), ",") {
		// Responses with many ranges help no honest client, but they help an attacker.
		w.Header().Del("Content-Type")
		d.refuse(w, http.StatusRequestedRangeNotSatisfiable, &wire.Error{Code: wire.CodeMalformed, Message: "one range at a time"})
		return
	}
	d.getCount.Add(1)
	http.ServeContent(&steadyWriter{w, http.NewResponseController(w), d, r.Context(), g.account}, r, "", time.Time{}, c)
	if c.err == nil {
		return
	}
	if _, err := d.index(g.id); !errors.Is(err, ErrNotFound) { // otherwise it was deleted meanwhile
		d.opt.Logger.Error("could not read a blob", "blob", FormatID(g.id), "error", c.err)
	}
}

// steadyWriter is a ResponseWriter whose every step has a time limit, which starts when the shaper
// admits the step.
type steadyWriter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	d       *Disk
	ctx     context.Context
	account string
}

// Write sends b in steps.
func (s *steadyWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		step := b[:min(len(b), stepSize)]
		if err := s.d.shape.wait(s.ctx, s.account, len(step)); err != nil {
			return n, err
		}
		if err := s.rc.SetWriteDeadline(time.Now().Add(s.d.opt.Stall)); err != nil {
			return n, err
		}
		m, err := s.ResponseWriter.Write(step)
		s.d.getBytes.Add(int64(m))
		n += m
		if err != nil {
			return n, err
		}
		b = b[len(step):]
	}
	return n, nil
}

// ReadFrom sends the contents of r with a large buffer.
func (s *steadyWriter) ReadFrom(r io.Reader) (total int64, err error) {
	buf := s.d.buffers.get()
	defer s.d.buffers.put(buf)
	for {
		n, err := r.Read(buf[:])
		m, werr := s.Write(buf[:n])
		total += int64(m)
		switch {
		case werr != nil:
			return total, werr
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// Unwrap serves http.ResponseController.
func (s *steadyWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// content reads the parts of a blob as one stream. Only the part being read is open.
type content struct {
	d      *Disk
	id     [16]byte
	ends   []int64 // end of each part within the blob
	offset int64
	part   int // index of file
	file   *os.File
	err    error // first error other than io.EOF
}

func newContent(d *Disk, id [16]byte, sizes []int64) *content {
	c := &content{d: d, id: id, ends: make([]int64, len(sizes))}
	var end int64
	for i, size := range sizes {
		end += size
		c.ends[i] = end
	}
	return c
}

func (c *content) size() int64 {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

// Seek implements io.Seeker.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.offset
	case io.SeekEnd:
		offset += c.size()
	}
	if offset < 0 {
		return 0, os.ErrInvalid
	}
	c.offset = offset
	return offset, nil
}

// Read reads from one part.
func (c *content) Read(p []byte) (int, error) {
	i := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > c.offset })
	if i == len(c.ends) {
		return 0, io.EOF
	}
	start := int64(0)
	if i > 0 {
		start = c.ends[i-1]
	}
	if c.file == nil || c.part != i {
		c.close()
		f, err := c.d.root.Open(path.Join(blobDir(c.id), partFile(i+1)))
		if err != nil {
			return 0, c.fail(err)
		}
		c.file, c.part = f, i
	}
	if left := c.ends[i] - c.offset; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := c.file.ReadAt(p, c.offset-start)
	c.offset += int64(n)
	if n < len(p) {
		return n, c.fail(errors.Join(io.ErrUnexpectedEOF, err)) // the part has become shorter
	}
	return n, nil
}

func (c *content) fail(err error) error {
	if c.err == nil {
		c.err = err
	}
	return err
}

func (c *content) close() {
	if c.file != nil {
		if info, err := c.file.Stat(); err == nil && info.Size() >= passingSize {
			dropCache(c.file)
		}
		_ = c.file.Close() // the file was only read
		c.file = nil
	}
}
