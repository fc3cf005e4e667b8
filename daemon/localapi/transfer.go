package localapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"secmsg/rpc/local"
	"secmsg/rpc/strict"
)

// hangupEvery is the interval at which a transfer checks that its caller is still
// connected. It polls, because nobody reads the connection meanwhile, and only a read
// would report its end.
const hangupEvery = 100 * time.Millisecond

// transfer handles file.send or file.get, which own the connection until they are answered.
// It reports whether the connection can still be used.
func (c *conn) transfer(ctx context.Context, r *bufio.Reader, open *local.DescriptorReader, req local.Request) bool {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { c.watchHangup(ctx, cancel) })
	defer watch.Wait()
	defer cancel(nil)
	if req.Method == local.MethodFileGet {
		return c.fileGet(ctx, r, req)
	}
	return c.fileSend(ctx, r, open, req)
}

// watchHangup cancels ctx when the caller has closed its connection. A read would not
// detect that while earlier data waits in the socket.
func (c *conn) watchHangup(ctx context.Context, cancel context.CancelCauseFunc) {
	t := time.NewTicker(hangupEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if hungUp(c.c) {
				cancel(local.ErrCallerLeft)
				return
			}
		}
	}
}

func (c *conn) fileSend(ctx context.Context, r *bufio.Reader, open *local.DescriptorReader, req local.Request) bool {
	p, err := decode[local.FileSendParams](req.Params)
	if err != nil {
		c.failed(req, err)
		return false // the data of a stream may follow, which must not be parsed as requests
	}
	var stream *upstream
	var input io.Reader
	handed := false
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.Stream && stream == nil {
			stream = &upstream{c: c, r: r}
			input = stream
		}
		if s.Descriptor {
			handed = true // after an error the caller's line may still arrive
			s.Open = func() (*os.File, error) { return c.descriptor(r, open, i) }
		}
	}
	out, err := c.s.backend.SendFiles(ctx, p, input, c.progress(p.Progress))
	if err != nil {
		c.failed(req, err)
	} else {
		c.answer(req.ID, out)
	}
	return (stream == nil || stream.ended.Load()) && (err == nil || !handed)
}

// descriptor asks the caller for the open file of a source.
func (c *conn) descriptor(r *bufio.Reader, open *local.DescriptorReader, source int) (*os.File, error) {
	ask := notification{"2.0", local.NotifyFileOpen, local.FileOpen{Source: source}}
	if err := c.writeLine(ask, time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	f, err := local.ReceiveDescriptor(r, open, source)
	if errors.Is(err, io.EOF) {
		err = local.ErrCallerLeft
	}
	return f, err
}

func (c *conn) fileGet(ctx context.Context, r *bufio.Reader, req local.Request) bool {
	p, err := decode[local.FileGetParams](req.Params)
	if err != nil {
		c.failed(req, err)
		return true
	}
	var stream *downstream
	var output io.WriteCloser
	if p.Stream {
		stream = &downstream{c: c, r: r}
		output = stream
	}
	out, err := c.s.backend.GetFile(ctx, p, output, c.progress(p.Progress))
	if err != nil {
		c.failed(req, err)
	} else {
		c.answer(req.ID, out)
	}
	return true
}

// progress returns a function that reports progress to the caller, or nil if it is not
// wanted.
func (c *conn) progress(wanted bool) func(local.FileProgress) {
	if !wanted {
		return nil
	}
	return func(p local.FileProgress) {
		if err := c.writeLine(notification{"2.0", local.NotifyFileProgress, p}, time.Now().Add(answerTimeout)); err != nil {
			_ = c.c.Close()
		}
	}
}

// upstream is the stream of a caller of file.send. It is for one goroutine, but Close may
// be called from another one and ends a blocked Read.
type upstream struct {
	c     *conn
	r     *bufio.Reader
	left  int         // unread data bytes after the last line
	ended atomic.Bool // atomic: a Read may still run when the answer is sent
	err   error
}

// Read implements io.Reader. If the connection ends without file.end, it returns
// io.ErrUnexpectedEOF.
func (s *upstream) Read(b []byte) (int, error) {
	if s.err != nil || len(b) == 0 {
		return 0, s.err
	}
	if s.left == 0 {
		if s.err = s.next(); s.err != nil {
			return 0, s.err
		}
	}
	n, err := s.r.Read(b[:min(len(b), s.left)])
	s.left -= n
	if err != nil {
		s.err = broken(err)
	}
	return n, s.err
}

// next reads the line before the next data.
func (s *upstream) next() error {
	f, err := readNotification(s.r)
	if err != nil {
		return broken(err)
	}
	switch f.Method {
	case local.NotifyFileEnd:
		if _, err := decode[local.Empty](f.Params); err != nil {
			return local.Errorf(local.CodeUsage, "file.end: %v", err)
		}
		s.ended.Store(true)
		return io.EOF
	case local.NotifyFileData:
		d, err := decode[local.FileData](f.Params)
		if err != nil {
			return local.Errorf(local.CodeUsage, "file.data: %v", err)
		}
		if d.Length < 1 || d.Length > local.MaxFileData {
			return local.Errorf(local.CodeUsage, "file.data must be followed by 1 to %d bytes", local.MaxFileData)
		}
		s.left = d.Length
		return nil
	}
	return local.Errorf(local.CodeUsage, "only file.data and file.end are allowed while a stream is sent, not %q", clip(f.Method))
}

// Close implements io.Closer.
func (s *upstream) Close() error { return s.c.c.SetReadDeadline(time.Unix(1, 0)) }

func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readNotification reads one line of a caller whose connection a transfer owns.
func readNotification(r *bufio.Reader) (local.Request, error) {
	line, err := local.ReadLine(r, local.MaxRequest)
	if err != nil {
		return local.Request{}, err
	}
	var f local.Request
	if err := strict.Unmarshal(line, &f, limits()); err != nil {
		return local.Request{}, local.Errorf(local.CodeUsage, "expected a notification during a transfer: %s", clip(err.Error()))
	}
	if f.Version != "2.0" || len(f.ID) > 0 {
		return local.Request{}, local.Errorf(local.CodeUsage, "expected a notification during a transfer")
	}
	return f, nil
}

// downstream is the stream to a caller of file.get.
type downstream struct {
	c *conn
	r *bufio.Reader
}

// Write implements io.Writer. It blocks while the caller does not read.
func (s *downstream) Write(b []byte) (int, error) { return writeChunks(b, local.MaxFileData, s.data) }

func (s *downstream) data(b []byte) error {
	line := append([]byte(`{"jsonrpc":"2.0","method":"`+local.NotifyFileData+`","params":{"length":`), strconv.Itoa(len(b))...)
	return s.c.writeData(append(line, "}}\n"...), b, nil)
}

// writeChunks writes b in parts of at most size bytes, and returns how many were written.
func writeChunks(b []byte, size int, write func([]byte) error) (int, error) {
	done := 0
	for part := range slices.Chunk(b, size) {
		if err := write(part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// writeData writes a notification and the data that follows it, without a deadline: the
// caller may read slowly. ready, unless nil, can still refuse once all earlier writes are done.
func (c *conn) writeData(line, data []byte, ready func() error) error {
	bufs := net.Buffers{line, data}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.c.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	if ready != nil {
		if err := ready(); err != nil {
			return err
		}
	}
	_, err := bufs.WriteTo(c.c)
	return err
}

// Close tells the caller that everything was sent and verified, and waits until the caller
// confirms that it has read everything.
func (s *downstream) Close() error {
	if err := s.c.writeLine(notification{"2.0", local.NotifyFileEnd, local.Empty{}}, time.Time{}); err != nil {
		return err
	}
	f, err := readNotification(s.r)
	switch {
	case err != nil:
		return broken(err)
	case f.Method != local.NotifyFileEnd:
		return local.Errorf(local.CodeUsage, "expected file.end after a stream, not %q", clip(f.Method))
	}
	if _, err := decode[local.Empty](f.Params); err != nil {
		return local.Errorf(local.CodeUsage, "file.end: %v", err)
	}
	return nil
}
