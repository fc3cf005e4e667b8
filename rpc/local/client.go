package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// dialTimeout bounds connecting: the socket of a living daemon answers at once.
	dialTimeout = 5 * time.Second
	// readBuffer is the initial size of a reader's buffer in bytes; most lines fit.
	readBuffer = 16 << 10
)

// Client talks to the daemon over one connection. It is safe for concurrent use: each call waits for
// its own answer. The daemon starts sends in the order in which they are called. Subscribe opens a
// separate connection.
type Client struct {
	// constant
	target Target
	hello  Hello
	conn   *net.UnixConn
	done   chan struct{} // closed when the reader has ended

	writeMu sync.Mutex

	mu      sync.Mutex
	next    uint64
	pending map[string]chan<- frame
	err     error // why the connection ended
}

// Dial connects to the daemon of t. It returns an *Error of code no_daemon if no daemon listens, or if
// one does not answer; IsAbsent distinguishes the two.
func Dial(ctx context.Context, t Target) (*Client, error) {
	g, err := dial(ctx, t)
	if err != nil {
		return nil, err
	}
	// Later connections go to the same socket first.
	t.Sockets = append([]string{g.path}, slices.DeleteFunc(slices.Clone(t.Sockets), func(s string) bool { return s == g.path })...)
	c := &Client{target: t, hello: g.hello, conn: g.conn, done: make(chan struct{}), pending: map[string]chan<- frame{}}
	go c.read(g.r)
	return c, nil
}

// Hello returns the daemon's introduction.
func (c *Client) Hello() Hello { return c.hello }

// Target returns the daemon's location, with the socket that answered in first place.
func (c *Client) Target() Target { return c.target }

// Close ends the connection and all calls on it, and waits for the reader.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Call calls method and decodes its result into result, unless result is nil. It returns an *Error if
// the daemon answered with one, an *Error of code no_daemon if the connection broke, or the context's
// error. If ctx ends early, the daemon may still carry out the call.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	p, err := c.Start(method, params)
	if err != nil {
		return err
	}
	return p.Wait(ctx, result)
}

// Pending is a call whose answer has not arrived yet.
type Pending struct {
	c      *Client
	method string
	id     string
	answer <-chan frame
}

// Start sends a call without waiting for its answer. The daemon receives the calls of one goroutine in
// the order in which it starts them. The caller must call Wait.
func (c *Client) Start(method string, params any) (*Pending, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	answer, id, err := c.register()
	if err != nil {
		return nil, err
	}
	if err := c.write(Request{Version: rpcVersion, ID: json.RawMessage(id), Method: method, Params: raw}); err != nil {
		c.forget(id)
		return nil, err
	}
	return &Pending{c: c, method: method, id: id, answer: answer}, nil
}

// Wait waits for the answer. Result and error are those of Call. Call it only once.
func (p *Pending) Wait(ctx context.Context, result any) error {
	defer p.c.forget(p.id)
	look := time.NewTicker(stoppedPoll)
	defer look.Stop()
	for stopped := 0; ; {
		select {
		case f := <-p.answer:
			return f.decode(p.method, result)
		case <-p.c.done:
			// The answer may have come just before the connection ended.
			select {
			case f := <-p.answer:
				return f.decode(p.method, result)
			default:
				return p.c.lost()
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			h := ReadHolder(p.c.target.Lock)
			if !h.Stopped {
				stopped = 0
			} else if stopped++; stopped == stoppedLooks {
				return stoppedError(h.PID)
			}
		}
	}
}

const (
	// stoppedPoll is how often a waiting call checks whether the daemon was stopped by a signal, and
	// stoppedLooks how many consecutive checks must find it stopped: a debugger stops it only for a
	// moment.
	stoppedPoll  = time.Second
	stoppedLooks = 2
)

// stoppedError reports that the daemon exists but is stopped.
func stoppedError(pid int) *Error {
	return Errorf(CodeNoDaemon, "the daemon (pid %d) is suspended (SIGSTOP) and does not respond", pid).
		WithHint("resume it with: kill -CONT %d; or end it with: secmsg daemon stop --force", pid)
}

// decode stores a response's result, or returns its error.
func (f frame) decode(method string, result any) error {
	if f.Error != nil {
		return f.Error.asError()
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(f.Result, result); err != nil {
		return fmt.Errorf("decode answer to %s: %w", method, err)
	}
	return nil
}

// register creates the id of a new call and the channel for its answer.
func (c *Client) register() (<-chan frame, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, "", lostError(c.err)
	}
	c.next++
	id := strconv.FormatUint(c.next, 10)
	answer := make(chan frame, 1)
	c.pending[id] = answer
	return answer, id, nil
}

func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

func (c *Client) write(r Request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", r.Method, err)
	}
	if len(line) > MaxRequest {
		return Errorf(CodeUsage, "the request is longer than %d bytes", MaxRequest)
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return lostError(err)
	}
	return nil
}

// read passes each answer to its call until the connection ends.
func (c *Client) read(r *bufio.Reader) {
	defer close(c.done)
	for {
		f, err := readFrame(r)
		c.mu.Lock()
		if err != nil {
			c.err = err
			c.mu.Unlock()
			_ = c.conn.Close()
			return
		}
		if answer, ok := c.pending[string(f.ID)]; ok {
			delete(c.pending, string(f.ID)) // at most one answer each, so the send below cannot block
			answer <- f
		}
		c.mu.Unlock()
	}
}

// lost returns why the connection ended.
func (c *Client) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return lostError(c.err)
}

func lostError(cause error) *Error {
	if errors.Is(cause, ErrLineTooLong) {
		return Errorf(CodeInternal, "the daemon's answer is too long")
	}
	return Errorf(CodeNoDaemon, "the daemon closed the connection")
}

// readFrame reads one line from the daemon.
func readFrame(r *bufio.Reader) (frame, error) {
	line, err := ReadLine(r, MaxResponse)
	if err != nil {
		return frame{}, err
	}
	var f frame
	if err := json.Unmarshal(line, &f); err != nil {
		return frame{}, fmt.Errorf("decode line of the daemon: %w", err)
	}
	return f, nil
}

// nobody reports whether err means that nobody listens on the socket.
func nobody(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// DialRaw connects to a daemon for a caller that forwards lines. Only the greeting has been exchanged
// on the connection.
func DialRaw(ctx context.Context, t Target) (*net.UnixConn, error) {
	g, err := dial(ctx, t)
	return g.conn, err
}
