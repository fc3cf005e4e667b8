package localapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"secmsg/rpc/local"
)

// callWindow is how many bytes of a caller's stream are held at most. It is the
// delay that a stream gets here: a second of raw PCM has 96,000.
const callWindow = 32 << 10

// call carries out call.start or call.answer, which own the connection until the
// call has ended. It reports whether the connection can be used further.
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
			if err := k.read(r); !errors.Is(err, io.EOF) { // the watch tells who left from who has no more to say
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
	// What the reader has read of a line is lost to the next request.
	_ = c.c.SetReadDeadline(time.Unix(1, 0))
	reader.Wait()
	return false
}

// callConn is the streams of one call on its caller's connection.
type callConn struct {
	c       *conn
	inputs  map[string]*callInput
	outputs map[string]bool
}

// prepare makes the streams that a call's media name.
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

// Left reports whether the caller's connection has ended.
func (k *callConn) Left() bool { return hungUp(k.c.c) }

// event tells the caller what happens.
func (k *callConn) event(e local.Event) {
	if err := k.c.writeLine(notification{"2.0", local.NotifyCall, e}, time.Now().Add(answerTimeout)); err != nil {
		_ = k.c.c.Close()
	}
}

// end says that the streams to the caller are complete.
func (k *callConn) end() {
	for name := range k.outputs {
		_ = k.c.writeLine(notification{"2.0", local.NotifyCallEnd, local.CallEnd{Stream: name}}, time.Now().Add(answerTimeout))
	}
}

// Input implements call.Streams.
func (k *callConn) Input(name string) (io.ReadCloser, error) {
	in := k.inputs[name]
	if in == nil {
		return nil, local.Errorf(local.CodeUsage, "the caller has no stream %s", name)
	}
	return &inputHandle{in: in}, nil
}

// Output implements call.Streams.
func (k *callConn) Output(name string) (io.WriteCloser, error) {
	if !k.outputs[name] {
		return nil, local.Errorf(local.CodeUsage, "the caller takes no stream %s", name)
	}
	return &callOutput{c: k.c, name: name}, nil
}

// read takes what the caller sends until the connection ends. What was granted
// finds room, so that one stream never waits for the other.
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
				return local.Errorf(local.CodeUsage, "call.data has 1 to %d bytes behind its line", local.MaxCallData)
			}
			if err := in.take(r, d.Length); err != nil {
				return err
			}
		default:
			return local.Errorf(local.CodeUsage, "during a call there is only call.data and call.end, not %q", clip(f.Method))
		}
	}
}

// input returns a stream that the caller carries.
func (k *callConn) input(name string) (*callInput, error) {
	in := k.inputs[name]
	if in == nil {
		return nil, local.Errorf(local.CodeUsage, "there is no stream %q", clip(name))
	}
	return in, nil
}

// callInput holds what came of one stream and was not read.
type callInput struct {
	c    *conn
	name string

	mu      sync.Mutex
	ready   *sync.Cond
	buf     []byte // guarded by mu; what was granted has room
	granted int    // guarded by mu; bytes that may still come
	used    int    // guarded by mu; bytes read since the last grant
	err     error  // guarded by mu; what comes after buf
}

func newCallInput(c *conn, name string) *callInput {
	in := &callInput{c: c, name: name, used: callWindow} // the first read grants all
	in.ready = sync.NewCond(&in.mu)
	return in
}

// take reads n bytes behind a line.
func (in *callInput) take(r *bufio.Reader, n int) error {
	in.mu.Lock()
	ok := n <= in.granted
	in.granted -= n
	in.mu.Unlock()
	if !ok {
		return local.Errorf(local.CodeUsage, "more of %s than was granted", in.name)
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

// grantLocked lets the caller send what there is room for, in few lines.
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

// Write implements io.Writer. It waits as long as the caller does not read.
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
	done := 0
	for done < len(b) {
		part := b[done:min(len(b), done+local.MaxCallData)]
		if err := o.data(part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

func (o *callOutput) data(b []byte) error {
	line, err := json.Marshal(notification{"2.0", local.NotifyCallData, local.CallData{Stream: o.name, Length: len(b)}})
	if err != nil {
		return err
	}
	bufs := net.Buffers{append(line, '\n'), b}
	o.c.writeMu.Lock()
	defer o.c.writeMu.Unlock()
	if err := o.c.c.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	if closed { // before the deadline was taken back, which would have ended this
		return io.ErrClosedPipe
	}
	_, err = bufs.WriteTo(o.c.c)
	return err
}

// Close implements io.Closer. A Write that waits for a caller who does not read
// ends, and with it the connection, since a line of it is incomplete.
func (o *callOutput) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.writing {
		return o.c.c.SetWriteDeadline(time.Unix(1, 0))
	}
	return nil
}
