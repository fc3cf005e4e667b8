package relay

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

const (
	// frameBuffer is the initial size of a pooled frame buffer.
	frameBuffer = 4 << 10
	// controlRate and controlBurst bound the pings and pongs of a peer. An honest peer answers one ping every 25 s and
	// may send some of its own.
	controlRate  = 5 // per second
	controlBurst = 50
)

// errProtocol means that the peer violates the protocol.
var errProtocol = errors.New("peer breaks the protocol")

// source provides the frames of a socket. next appends one whole frame to buf, or returns buf unchanged when there is
// none. Only the writer calls it.
type source interface {
	next(buf []byte) ([]byte, error)
	// bye encodes a Bye as the last frame.
	bye(b *wire.Bye) ([]byte, error)
}

// conn is the connection (contact or replica) that runs on a socket.
type conn interface {
	source
	// serve runs on the reader goroutine until the connection ends.
	serve()
}

// socket is one WebSocket with its reader goroutine, and a writer goroutine while there is something to write.
type socket struct {
	// constant after the reader has started
	relay   *Relay
	ws      *websocket.Conn
	account string
	device  key.DeviceID
	source  source
	reader  *bufio.Reader // the reader's buffer, below ws
	quiet   *quietConn    // the connection below TLS
	shallow bool          // the reader can wait outside of ws
	dead    chan struct{} // closed by kill
	done    chan struct{} // closed when the reader has cleaned up

	heard      atomic.Int64 // when the peer was last heard, as relay.since()
	readPaused atomic.Bool  // the reader waits for room, so it does not read from the peer

	// owned by the reader
	controls     float64
	controlsFrom time.Duration

	mu      sync.Mutex // guards below
	writing bool
	again   bool // more to write came while the writer ran
	pong    []byte
	pongDue bool
	pingDue bool
	pinged  time.Duration
	last    *wire.Bye // the Bye; nothing is read or written after it
	killed  bool
	timer   *time.Timer // kills a socket whose Bye cannot be written
}

func newSocket(r *Relay, ws *websocket.Conn, account string, device key.DeviceID) *socket {
	now := r.since()
	s := &socket{
		relay: r, ws: ws, account: account, device: device,
		dead: make(chan struct{}), done: make(chan struct{}),
		controls: controlBurst, controlsFrom: now, pinged: now,
	}
	s.heard.Store(int64(now))
	ws.SetReadLimit(wire.MaxFrame)
	ws.SetPongHandler(func(string) error { return s.control() })
	ws.SetPingHandler(func(data string) error { return s.ping([]byte(data)) })
	return s
}

// ping handles a peer's ping. Only the newest is answered (RFC 6455, section 5.5.3).
func (s *socket) ping(data []byte) error {
	if err := s.control(); err != nil {
		return err
	}
	s.mu.Lock()
	s.pong, s.pongDue = data, true
	s.mu.Unlock()
	s.wake()
	return nil
}

// control counts a control frame. Too many end the connection.
func (s *socket) control() error {
	now := s.relay.since()
	s.heard.Store(int64(now))
	s.controls = min(controlBurst, s.controls+(now-s.controlsFrom).Seconds()*controlRate)
	s.controlsFrom = now
	if s.controls < 1 {
		return errProtocol
	}
	s.controls--
	return nil
}

// read returns the next frame in a pooled buffer. The caller gives the buffer back with free.
func (s *socket) read() (*[]byte, error) {
	kind, r, err := s.ws.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.BinaryMessage {
		return nil, errProtocol
	}
	buf := s.relay.buffers.Get().(*[]byte)
	b := (*buf)[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			s.relay.buffers.Put(buf)
			return nil, err
		}
	}
	*buf = b
	s.heard.Store(int64(s.relay.since()))
	s.relay.counters.bytesIn.Add(uint64(len(b)))
	if s.ended() {
		s.relay.buffers.Put(buf)
		return nil, errProtocol
	}
	return buf, nil
}

func (s *socket) free(buf *[]byte) { s.relay.buffers.Put(buf) }

// ended reports whether the connection was closed or is ending with a Bye.
func (s *socket) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last != nil || s.killed
}

// wake starts the writer unless it is running.
func (s *socket) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeLocked()
}

func (s *socket) wakeLocked() {
	s.again = true
	if s.writing || s.killed {
		return
	}
	s.writing = true
	// The count cannot be zero here: the reader is counted, and it still runs or is about to wait in kill.
	s.relay.conns.Add(1)
	go s.write()
}

// end makes bye the last frame and closes the socket after it.
func (s *socket) end(bye *wire.Bye) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil || s.killed {
		return
	}
	s.last = bye
	s.timer = time.AfterFunc(s.relay.limits.Farewell, s.kill)
	s.wakeLocked()
}

// fail ends the connection of a peer that violates the protocol.
func (s *socket) fail(text string) {
	s.relay.counters.protocol.Add(1)
	s.end(&wire.Bye{Reason: wire.Reason_REASON_PROTOCOL, Text: text})
}

// readFailed ends the connection after a read error. A peer that violated the protocol gets a Bye.
func (s *socket) readFailed(err error) {
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case s.ended(), errors.As(err, &closed), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return
	}
	s.fail("only binary frames within the limits are taken")
}

// storeFailed ends a connection that cannot be opened because the store failed.
func (s *socket) storeFailed(op string, err error) {
	s.relay.log.Error("open connection", "op", op, "error", err)
	s.end(&wire.Bye{Reason: wire.Reason_REASON_UNAVAILABLE, RetryAfterMs: retryStore.Milliseconds(), Text: byeText(wire.Reason_REASON_UNAVAILABLE)})
}

// mayOpen ends the connection if its account was suspended after the token was checked. An account suspended later than
// this is found among the registered sockets.
func (s *socket) mayOpen(ctx context.Context) bool {
	info, err := s.relay.dir.account(ctx, s.account, true)
	if err != nil {
		s.storeFailed("account", err)
		return false
	}
	if info.exists && info.suspended {
		s.end(&wire.Bye{Reason: wire.Reason_REASON_SUSPENDED, Text: byeText(wire.Reason_REASON_SUSPENDED)})
		return false
	}
	return true
}

// waitEnd lets a Bye that has been started be written before the reader closes the socket.
func (s *socket) waitEnd() {
	s.mu.Lock()
	saying := s.last != nil
	s.mu.Unlock()
	if saying {
		<-s.dead
	}
}

// kill closes the socket at once.
func (s *socket) kill() {
	s.mu.Lock()
	if s.killed {
		s.mu.Unlock()
		return
	}
	s.killed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	close(s.dead)
	_ = s.ws.Close() // the peer may have closed it already
}

// write is the writer goroutine.
func (s *socket) write() {
	defer s.relay.conns.Done()
	buf := s.relay.buffers.Get().(*[]byte)
	defer s.relay.buffers.Put(buf)
	for {
		s.mu.Lock()
		if s.killed || (!s.again && s.last == nil) {
			s.writing = false
			s.mu.Unlock()
			return
		}
		s.again = false
		pong, pongDue, pingDue, last := s.pong, s.pongDue, s.pingDue, s.last
		s.pong, s.pongDue, s.pingDue = nil, false, false
		s.mu.Unlock()
		if err := s.writeSome(buf, pong, pongDue, pingDue, last); err != nil || last != nil {
			s.mu.Lock()
			s.writing = false
			s.mu.Unlock()
			s.kill()
			return
		}
	}
}

// writeSome writes control frames, then every frame that the source has.
func (s *socket) writeSome(buf *[]byte, pong []byte, pongDue, pingDue bool, last *wire.Bye) error {
	if pongDue {
		if err := s.ws.WriteControl(websocket.PongMessage, pong, time.Now().Add(s.relay.limits.Write)); err != nil {
			return err
		}
	}
	if pingDue {
		if err := s.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(s.relay.limits.Write)); err != nil {
			return err
		}
	}
	if last != nil {
		frame, err := s.source.bye(last)
		if err != nil {
			return err
		}
		if err := s.writeFrame(frame); err != nil {
			return err
		}
		return s.ws.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(s.relay.limits.Write))
	}
	for {
		frame, err := s.source.next((*buf)[:0])
		if err != nil {
			s.relay.log.Error("encode frame", "error", err)
			return err
		}
		if len(frame) == 0 {
			return nil
		}
		*buf = frame
		if err := s.writeFrame(frame); err != nil {
			return err
		}
		if s.ended() {
			return nil // the Bye is due
		}
	}
}

func (s *socket) writeFrame(frame []byte) error {
	if err := s.ws.SetWriteDeadline(time.Now().Add(s.relay.limits.Write)); err != nil {
		return err
	}
	s.relay.counters.bytesOut.Add(uint64(len(frame)))
	return s.ws.WriteMessage(websocket.BinaryMessage, frame)
}

// tick is called by the upkeep. It pings the peer when that is due, and closes the connection of a peer that has been
// silent for two intervals. The silence does not count while the reader itself does not read.
func (s *socket) tick(now time.Duration) {
	if s.readPaused.Load() {
		s.heard.Store(int64(now))
	}
	if now-time.Duration(s.heard.Load()) > 2*s.relay.limits.Ping {
		s.kill()
		return
	}
	if p, ok := s.source.(*replica); ok {
		p.overdue(now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now-s.pinged >= s.relay.limits.Ping {
		s.pinged, s.pingDue = now, true
		s.wakeLocked()
	}
}

// byeText is the text of a Bye; it contains no internals.
func byeText(reason wire.Reason) string {
	switch reason {
	case wire.Reason_REASON_REPLACED:
		return "a newer connection of this device took over"
	case wire.Reason_REASON_REVOKED:
		return "this device was revoked"
	case wire.Reason_REASON_SHUTDOWN:
		return "the server stops"
	case wire.Reason_REASON_SUSPENDED:
		return "the account is suspended"
	case wire.Reason_REASON_UNAVAILABLE:
		return "the server cannot store now"
	}
	return ""
}
