package localapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"secmsg/rpc/local"
)

// callWindow bounds the buffered bytes of a caller's stream, and with it the delay added
// here: a second of raw PCM has 96,000 bytes.
const callWindow = 32 << 10

// call handles call.start or call.answer, which own the connection until the call has
// ended. It reports whether the connection can still be used.
func (c *conn) call(ctx context.Context, r *bufio.Reader, req local.Request) bool {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { c.watchHangup(ctx, cancel) })
	defer watch.Wait()
	defer cancel(nil)
	k := &callConn{c: c, inputs: make(map[string]*callInput), outputs: make(map[string]bool)}
	var run func() (local.Call, error)
	if req.Method == local.MethodCallStart {
		p, err := decode[local.CallStartParams](req.Params)
		if err != nil {
			c.failed(req, err)
			return true
		}
		k.prepare(p.CallMedia)
		run = func() (local.Call, error) { return c.s.backend.StartCall(ctx, p, k, k.event) }
	} else {
		p, err := decode[local.CallAnswerParams](req.Params)
		if err != nil {
			c.failed(req, err)
			return true
		}
		k.prepare(p.CallMedia)
		run = func() (local.Call, error) { return c.s.backend.AnswerCall(ctx, p, k, k.event) }
	}
	var reader sync.WaitGroup
	if len(k.inputs) > 0 {
		reader.Go(func() {
			if err := k.read(r); !errors.Is(err, io.EOF) { // after EOF watchHangup decides: the caller may only have closed its sending side
				cancel(local.ErrCallerLeft)
			}
		})
	}
	out, err := run()
	k.end()
	if err != nil {
		c.failed(req, err)
	} else {
		c.answer(req.ID, out)
	}
	if len(k.inputs) == 0 {
		return true
	}
	// The reader may have consumed part of the next request's line.
	_ = c.c.SetReadDeadline(time.Unix(1, 0))
	reader.Wait()
	return false
}

// callConn has the media streams of one call on its caller's connection.
type callConn struct {
	c       *conn
	inputs  map[string]*callInput
	outputs map[string]bool
}

// prepare creates the streams that a call's media refer to.
func (k *callConn) prepare(m local.CallMedia) {
	for name, spec := range map[string]string{local.StreamAudioIn: m.AudioIn, local.StreamVideoIn: m.VideoIn} {
		if spec == "-" {
			k.inputs[name] = newCallInput(k.c, name)
		}
	}
	for name, spec := range map[string]string{local.StreamAudioOut: m.AudioOut, local.StreamVideoOut: m.VideoOut} {
		if spec == "-" {
			k.outputs[name] = true
		}
	}
}

// Left reports whether the caller has disconnected.
func (k *callConn) Left() bool { return hungUp(k.c.c) }

// event sends an event to the caller.
func (k *callConn) event(e local.Event) {
	if err := k.c.writeLine(notification{"2.0", local.NotifyCall, e}, time.Now().Add(answerTimeout)); err != nil {
		_ = k.c.c.Close()
	}
}

// end marks the end of the streams to the caller.
func (k *callConn) end() {
	for name := range k.outputs {
		_ = k.c.writeLine(notification{"2.0", local.NotifyCallEnd, local.CallEnd{Stream: name}}, time.Now().Add(answerTimeout))
	}
}

// Input implements call.Streams.
func (k *callConn) Input(name string) (io.ReadCloser, error) {
	in := k.inputs[name]
	if in == nil {
		return nil, local.Errorf(local.CodeUsage, "the caller did not open the stream %s", name)
	}
	return &inputHandle{in: in}, nil
}

// Output implements call.Streams.
func (k *callConn) Output(name string) (io.WriteCloser, error) {
	if !k.outputs[name] {
		return nil, local.Errorf(local.CodeUsage, "the caller does not receive the stream %s", name)
	}
	return &callOutput{c: k.c, name: name}, nil
}

// read reads the caller's data until the connection ends. It never blocks on a full buffer,
// since every granted byte has room; so one stream never delays the other.
func (k *callConn) read(r *bufio.Reader) error {
	err := k.readAll(r)
	for _, in := range k.inputs {
		in.finish(broken(err))
	}
	return err
}

func (k *callConn) readAll(r *bufio.Reader) error {
	for {
		f, err := readNotification(r)
		if err != nil {
			return err
		}
		switch f.Method {
		case local.NotifyCallEnd:
			d, err := decode[local.CallEnd](f.Params)
			if err != nil {
				return local.Errorf(local.CodeUsage, "call.end: %v", err)
			}
			in, err := k.input(d.Stream)
			if err != nil {
				return err
			}
			in.finish(io.EOF)
		case local.NotifyCallData:
			d, err := decode[local.CallData](f.Params)
			if err != nil {
				return local.Errorf(local.CodeUsage, "call.data: %v", err)
			}
			in, err := k.input(d.Stream)
			switch {
			case err != nil:
				return err
			case d.Length < 1 || d.Length > local.MaxCallData:
				return local.Errorf(local.CodeUsage, "call.data must be followed by 1 to %d bytes", local.MaxCallData)
			}
			if err := in.take(r, d.Length); err != nil {
				return err
			}
		default:
			return local.Errorf(local.CodeUsage, "only call.data and call.end are allowed during a call, not %q", clip(f.Method))
		}
	}
}

// input returns a stream that the caller sends.
func (k *callConn) input(name string) (*callInput, error) {
	in := k.inputs[name]
	if in == nil {
		return nil, local.Errorf(local.CodeUsage, "stream %q does not exist", clip(name))
	}
	return in, nil
}

// callInput buffers the unread data of one stream.
type callInput struct {
	c    *conn
	name string

	mu      sync.Mutex
	ready   *sync.Cond
	buf     []byte // has room for all granted bytes; guarded by mu
	granted int    // bytes that the caller may still send; guarded by mu
	used    int    // bytes read since the last grant; guarded by mu
	err     error  // result of Read after buf is empty; guarded by mu
}

func newCallInput(c *conn, name string) *callInput {
	in := &callInput{c: c, name: name, used: callWindow} // so the first Read grants the whole window
	in.ready = sync.NewCond(&in.mu)
	return in
}

// take reads n bytes of data.
func (in *callInput) take(r *bufio.Reader, n int) error {
	in.mu.Lock()
	ok := n <= in.granted
	in.granted -= n
	in.mu.Unlock()
	if !ok {
		return local.Errorf(local.CodeUsage, "more data for %s than was granted", in.name)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return broken(err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.buf = append(in.buf, b...)
	in.ready.Broadcast()
	return nil
}

func (in *callInput) finish(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil {
		in.err = err
	}
	in.ready.Broadcast()
}

// grantLocked returns how many more bytes the caller may send. It grants at least half a
// window at a time, to keep the number of lines low.
func (in *callInput) grantLocked() int {
	if in.err != nil || in.used < callWindow/2 {
		return 0
	}
	n := in.used
	in.used, in.granted = 0, in.granted+n
	return n
}

// inputHandle is one reader of a stream. Its Close ends only its own Read.
type inputHandle struct {
	in     *callInput
	closed bool // guarded by in.mu
}

// Read implements io.Reader.
func (h *inputHandle) Read(b []byte) (int, error) {
	h.in.mu.Lock()
	more := h.in.grantLocked()
	h.in.mu.Unlock()
	if more > 0 {
		err := h.in.c.writeLine(notification{"2.0", local.NotifyCallMore, local.CallMore{Stream: h.in.name, Length: more}}, time.Now().Add(answerTimeout))
		if err != nil {
			return 0, err
		}
	}
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	for len(h.in.buf) == 0 && h.in.err == nil && !h.closed {
		h.in.ready.Wait()
	}
	switch {
	case h.closed:
		return 0, io.ErrClosedPipe
	case len(h.in.buf) > 0:
		n := copy(b, h.in.buf)
		h.in.buf = h.in.buf[n:]
		h.in.used += n
		return n, nil
	}
	return 0, h.in.err
}

// Close implements io.Closer.
func (h *inputHandle) Close() error {
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	h.closed = true
	h.in.ready.Broadcast()
	return nil
}

// callOutput is one writer of a stream to the caller.
type callOutput struct {
	c    *conn
	name string

	mu      sync.Mutex
	writing bool // guarded by mu
	closed  bool // guarded by mu
}

// Write implements io.Writer. It blocks while the caller does not read.
func (o *callOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	o.writing = true
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.writing = false
		o.mu.Unlock()
	}()
	return writeChunks(b, local.MaxCallData, o.data)
}

func (o *callOutput) data(b []byte) error {
	line, err := json.Marshal(notification{"2.0", local.NotifyCallData, local.CallData{Stream: o.name, Length: len(b)}})
	if err != nil {
		return err
	}
	return o.c.writeData(append(line, '\n'), b, func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.closed { // Close came before the deadline was reset, so it did not unblock this Write
			return io.ErrClosedPipe
		}
		return nil
	})
}

// Close implements io.Closer. If a Write is blocked because the caller does not read, Close
// ends it, and with it the connection, because a line may be incomplete.
func (o *callOutput) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.writing {
		return o.c.c.SetWriteDeadline(time.Unix(1, 0))
	}
	return nil
}
