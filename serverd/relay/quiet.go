package relay

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// A reader that waits inside gorilla and crypto/tls holds a deep stack, and keeps the larger one that an envelope needed.
// Every idle client has two such readers. So a reader waits for the first bytes itself, with a shallow stack, and after
// a long wait the work that needs a deep stack runs on another goroutine, whose stack is freed afterwards.
//
// Measured with 1,000 idle TLS connections (BenchmarkIdleTLS, Go 1.26, three rounds): one that has handled an envelope
// keeps 4.0 to 4.3 KB of stack instead of 8.1 to 8.6 KB; stageSize takes 1.2 KB of that gain. One that has only been
// opened keeps 4.1 KB either way, so the gain shows in a server that has run for a while, and not in the memory of
// clients that have just connected.

const (
	// stageSize is the buffer for the bytes a reader waits for. A short message in its TLS record fits, so it needs no
	// second system call. Together with the other fields, a quietConn fills a size class of Go's allocator.
	stageSize = 1216
	// longWait is the wait after which a frame is handled on another goroutine's stack.
	longWait = time.Second
)

// errWait is returned by a Read that would have to wait. It is a temporary net.Error, after which crypto/tls allows
// further reads.
type errWait struct{}

// Error implements net.Error.
func (errWait) Error() string { return "nothing to read yet" }

// Timeout implements net.Error.
func (errWait) Timeout() bool { return true }

// Temporary implements net.Error.
func (errWait) Temporary() bool { return true }

// quietConn is a connection under TLS whose reader can wait outside of Read. The reader owns its fields.
type quietConn struct {
	net.Conn

	poll     bool // Read must not block
	from, to int  // the unread bytes of stage
	stage    [stageSize]byte
}

// Read returns the bytes that wait has read, then reads from the connection. While poll is set it returns errWait
// instead of blocking.
func (c *quietConn) Read(p []byte) (int, error) {
	if c.from < c.to {
		n := copy(p, c.stage[c.from:c.to])
		c.from += n
		return n, nil
	}
	if c.poll {
		return 0, errWait{}
	}
	return c.Conn.Read(p)
}

// NetConn returns the underlying connection.
func (c *quietConn) NetConn() net.Conn { return c.Conn }

// wait blocks until there is something to read.
func (c *quietConn) wait() error {
	n, err := c.Conn.Read(c.stage[:])
	c.from, c.to = 0, n
	if n > 0 {
		return nil // the next read returns the error again
	}
	return err
}

type quietListener struct{ net.Listener }

// Listener wraps l in a listener whose idle connections cost a Relay less memory. It belongs below TLS; connections
// without TLS do not need it.
func Listener(l net.Listener) net.Listener { return quietListener{l} }

// Accept returns the next connection.
func (l quietListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &quietConn{Conn: c}, nil
}

// quietWriter is a ResponseWriter that keeps a reference to the connection and to the buffer from which gorilla will
// read.
type quietWriter struct {
	http.ResponseWriter
	reader  *bufio.Reader
	quiet   *quietConn // nil without TLS
	shallow bool       // false for TLS without a quietConn below it
}

// Hijack implements http.Hijacker.
func (w *quietWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil || brw.Reader.Buffered() > 0 {
		return c, brw, err // gorilla refuses a client that sends before the answer
	}
	w.shallow = true
	if t, ok := c.(*tls.Conn); ok {
		w.quiet, w.shallow = t.NetConn().(*quietConn)
	}
	w.reader = bufio.NewReaderSize(c, readBuffer)
	return c, bufio.NewReadWriter(w.reader, brw.Writer), nil
}

// await returns when a frame begins or the connection fails, and reports whether the wait was long. While it waits,
// neither gorilla nor crypto/tls is on the stack.
func (s *socket) await() (long bool, err error) {
	if !s.shallow || s.reader.Buffered() > 0 {
		return false, nil
	}
	if s.quiet != nil {
		s.quiet.poll = true
		_, err = s.reader.Peek(1)
		s.quiet.poll = false
		if !errors.Is(err, errWait{}) {
			return false, err
		}
	}
	start := s.relay.since()
	if s.quiet != nil {
		err = s.quiet.wait()
	} else {
		_, err = s.reader.Peek(1)
	}
	return s.relay.since()-start > longWait, err
}

// elsewhere runs f on a new goroutine and returns its result.
func elsewhere(f func() bool) bool {
	done := make(chan bool, 1)
	go func() { done <- f() }()
	return <-done
}

// frames calls each for every message until it returns false or the connection fails.
func (s *socket) frames(each func() bool) {
	next := func() bool {
		control, err := s.takeControl()
		if err != nil {
			s.readFailed(err)
			return false
		}
		return control || each()
	}
	for {
		long, err := s.await()
		switch {
		case err != nil:
			s.readFailed(err)
			return
		case long:
			if !elsewhere(next) {
				return
			}
		case !next():
			return
		}
	}
}

// Parts of a frame's header (RFC 6455, section 5.2).
const (
	frameHeader = 2    // bytes of a short header
	finAndRSV   = 0xf0 // of the first byte
	opcodeBits  = 0x0f
	fin         = 0x80
	masked      = 0x80 // of the second byte
	maskSize    = 4
	maxControl  = 125 // bytes of a control frame's payload
)

// takeControl handles the next frame if it is a ping or pong, and reports whether it was. gorilla would handle it too,
// but would then block until a message comes.
func (s *socket) takeControl() (bool, error) {
	if !s.shallow {
		return false, nil
	}
	head, err := s.reader.Peek(frameHeader)
	if err != nil {
		return false, err
	}
	op, size := int(head[0]&opcodeBits), int(head[1]&^masked)
	whole := frameHeader + maskSize + size
	if op != websocket.PingMessage && op != websocket.PongMessage ||
		head[0]&finAndRSV != fin || head[1]&masked == 0 || size > maxControl {
		return false, nil // a message, a close frame, or something that gorilla refuses
	}
	frame, err := s.reader.Peek(whole)
	if err != nil {
		return false, err
	}
	if op == websocket.PingMessage {
		data := append([]byte(nil), frame[frameHeader+maskSize:]...)
		for i := range data {
			data[i] ^= frame[frameHeader+i%maskSize]
		}
		err = s.ping(data)
	} else {
		err = s.control()
	}
	if err != nil {
		return false, err
	}
	_, err = s.reader.Discard(whole)
	return true, err
}
