package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
)

const (
	// outQueue is the number of frames that may wait for the writer. When it is full, a
	// sender waits for at most one write timeout.
	outQueue = 64
	// bufferSize is the size of a connection's read and write buffers: gorilla's default.
	bufferSize = 4096
)

// conn is one WebSocket connection. Its owner reads; a writer goroutine writes and pings.
// The first failure on either side ends the connection.
type conn struct {
	// constant
	ws     *websocket.Conn
	timing Timing
	out    chan []byte
	done   chan struct{} // closed by fail
	wg     sync.WaitGroup

	once sync.Once
	err  error // written before done is closed
}

// open opens the WebSocket connection of a role. If the server rejects the token, it gets a
// new one, once.
func (c *Client) open(ctx context.Context, path string, role wire.Role) (*conn, error) {
	var err error
	for range 2 {
		var bearer string
		if bearer, err = c.Token(ctx, role); err != nil {
			return nil, at(c.hostPort, revoked(err))
		}
		var conn *conn
		if conn, err = c.upgrade(ctx, path, bearer); err == nil {
			return conn, nil
		}
		if wire.CodeOf(err) != wire.CodeUnauthorized {
			return nil, err
		}
		c.dropToken(role, bearer)
	}
	return nil, err
}

// revoked turns the final answer to a login into the Bye that a connected device would have
// received. It returns other errors unchanged.
func revoked(err error) error {
	if wire.CodeOf(err) != wire.CodeRevoked {
		return err
	}
	return &ByeError{Reason: wire.Reason_REASON_REVOKED, Text: err.Error()}
}

func (c *Client) upgrade(ctx context.Context, path, bearer string) (*conn, error) {
	budget := new(budgetConn)
	d := websocket.Dialer{
		Proxy: nil,
		NetDialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, _, err := c.endpoint.dial(ctx)
			if err != nil {
				return nil, err
			}
			budget.Conn = conn
			budget.left.Store(maxHeader)
			return budget, nil
		},
		HandshakeTimeout:  c.timing.Dial,
		ReadBufferSize:    bufferSize,
		WriteBufferSize:   bufferSize,
		EnableCompression: false,
	}
	ws, resp, err := d.DialContext(ctx, "wss"+c.base[len("https"):]+path, c.header(bearer))
	if err != nil {
		return nil, at(c.hostPort, upgradeError(ctx, path, resp, err))
	}
	budget.unlimited.Store(true)
	conn := &conn{ws: ws, timing: c.timing, out: make(chan []byte, outQueue), done: make(chan struct{})}
	ws.SetReadLimit(wire.MaxFrame)
	ws.SetPingHandler(conn.onPing)
	ws.SetPongHandler(func(string) error { return conn.heard() })
	conn.wg.Go(conn.write)
	return conn, nil
}

func upgradeError(ctx context.Context, path string, resp *http.Response, err error) error {
	if resp == nil || !errors.Is(err, websocket.ErrBadHandshake) {
		return unreachable(ctx, "open "+path, err)
	}
	body, readErr := io.ReadAll(resp.Body) // gorilla limits it to 1024 bytes
	_ = resp.Body.Close()
	if readErr != nil {
		body = nil
	}
	return fmt.Errorf("open %s: %w", path, errorOf(resp.StatusCode, body))
}

// fail ends the connection. The first reason is kept.
func (c *conn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.done)
		_ = c.ws.Close() // unblocks a read or write
	})
}

// close sends a close message, ends the connection and waits for its goroutine.
func (c *conn) close() {
	select {
	case <-c.done:
	default:
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(c.timing.Write/10)) // best effort
	}
	c.fail(net.ErrClosed)
	c.wg.Wait()
}

// reason returns why the connection ended; err is the reader's error.
func (c *conn) reason(err error) error {
	select {
	case <-c.done:
		return c.err
	default:
		return err
	}
}

// onPing answers a ping. It ignores write errors, which the writer detects.
func (c *conn) onPing(data string) error {
	_ = c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(c.timing.Write/10))
	return c.heard()
}

// heard postpones the read timeout. Only the reader calls it.
func (c *conn) heard() error {
	return c.ws.SetReadDeadline(time.Now().Add(2 * c.timing.Ping))
}

// read returns the next binary message. A silence of two ping intervals ends the
// connection, so a half-open one is detected.
func (c *conn) read() ([]byte, error) {
	if err := c.heard(); err != nil {
		return nil, c.reason(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	return c.readMessage()
}

// readWithin is read with its own timeout, for the frames that open a connection.
func (c *conn) readWithin(d time.Duration) ([]byte, error) {
	if err := c.ws.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, c.reason(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	return c.readMessage()
}

func (c *conn) readMessage() ([]byte, error) {
	kind, b, err := c.ws.ReadMessage()
	if err != nil {
		if errors.Is(err, websocket.ErrReadLimit) {
			return nil, c.reason(fmt.Errorf("%w: %w", ErrProtocol, err))
		}
		return nil, c.reason(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	if kind != websocket.BinaryMessage {
		return nil, fmt.Errorf("%w: message of type %d", ErrProtocol, kind)
	}
	return b, nil
}

// enqueue queues a frame for the writer, in the order of calls.
func (c *conn) enqueue(ctx context.Context, b []byte) error {
	select {
	case <-c.done:
		return ErrDown
	default:
	}
	select {
	case c.out <- b:
		return nil
	case <-c.done:
		return ErrDown
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write writes frames, and pings so that an idle server answers.
func (c *conn) write() {
	ping := time.NewTicker(c.timing.Ping)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-c.done:
			return
		case b := <-c.out:
			if err = c.ws.SetWriteDeadline(time.Now().Add(c.timing.Write)); err == nil {
				err = c.ws.WriteMessage(websocket.BinaryMessage, b)
			}
		case <-ping.C:
			err = c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.timing.Write))
		}
		if err != nil {
			c.fail(fmt.Errorf("%w: write: %w", ErrUnreachable, err))
			return
		}
	}
}

// budgetConn bounds the bytes read during the upgrade, because gorilla does not limit the
// header of an answer.
type budgetConn struct {
	net.Conn
	left      atomic.Int64
	unlimited atomic.Bool
}

func (b *budgetConn) Read(p []byte) (int, error) {
	if b.unlimited.Load() {
		return b.Conn.Read(p)
	}
	left := b.left.Load()
	if left <= 0 {
		return 0, fmt.Errorf("%w: header too long", ErrProtocol)
	}
	if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := b.Conn.Read(p)
	b.left.Add(-int64(n))
	return n, err
}

func byeError(b *wire.Bye) error {
	text := b.GetText()
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	return &ByeError{
		Reason: b.GetReason(), Text: text,
		RetryAfter: wire.Wait(b.GetRetryAfterMs()),
	}
}

// serverFrame is a frame that the server sends on one of the two connections.
type serverFrame interface {
	wire.Frame
	Check() error
	GetBye() *wire.Bye
}

// readFrame reads one frame into f and returns it; a Bye becomes an error. If within is 0,
// the keep-alive's timeout applies.
func readFrame[F serverFrame](c *conn, within time.Duration, f F) (F, error) {
	var none F
	read := c.read
	if within > 0 {
		read = func() ([]byte, error) { return c.readWithin(within) }
	}
	b, err := read()
	if err != nil {
		return none, err
	}
	if err := wire.Unmarshal(b, f); err != nil {
		return none, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if err := f.Check(); err != nil {
		return none, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if bye := f.GetBye(); bye != nil {
		return none, byeError(bye)
	}
	return f, nil
}
