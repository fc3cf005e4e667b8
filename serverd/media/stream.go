package media

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"secmsg/serverd/limit"
)

const (
	// streamGrace is how long a TCP connection may be open without an allocation.
	streamGrace = 30 * time.Second
	// streamWrite bounds one write to a TCP connection. A client that does not read loses the
	// connection, because late media are worthless.
	streamWrite = 5 * time.Second
	// streamsPerSite bounds the TCP connections of an address (/64 for IPv6).
	streamsPerSite = 64
	// streamsPerAllocation times the bound of allocations is the bound of TCP connections.
	streamsPerAllocation = 2
)

// errFrame ends a stream that contains anything but STUN messages and ChannelData.
var errFrame = errors.New("media: the stream contains an invalid or oversized message")

// streamListener is a client-facing TCP listener. guard checks its messages before pion sees them.
type streamListener struct {
	net.Listener
	s *Server

	mu    sync.Mutex // guards below
	conns map[endpoint]*stream
	sites map[netip.Prefix]int
	shut  bool
	open  sync.WaitGroup // one for each connection
}

func newStreamListener(l net.Listener, s *Server) *streamListener {
	return &streamListener{Listener: l, s: s, conns: map[endpoint]*stream{}, sites: map[netip.Prefix]int{}}
}

// Accept returns the next connection within the bounds.
func (l *streamListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
				continue
			}
			return nil, err
		}
		from, ok := endpointOf(conn.RemoteAddr())
		c := &stream{Conn: conn, l: l, from: from, site: limit.Site(from.addr.Addr()), seen: time.Now()}
		if !ok || !l.add(c) {
			l.s.counters.refusedStreams.Add(1)
			_ = conn.Close()
			continue
		}
		return c, nil
	}
}

// add registers a connection within the bounds. A client's address may have only one: sessions are
// found by that address alone, and on a machine with several addresses it could have more.
func (l *streamListener) add(c *stream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut || l.conns[c.from] != nil || len(l.conns) >= streamsPerAllocation*l.s.opt.Limits.Total || l.sites[c.site] >= streamsPerSite {
		return false
	}
	l.conns[c.from] = c
	l.sites[c.site]++
	l.open.Add(1)
	return true
}

func (l *streamListener) remove(c *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[c.from] != c {
		return
	}
	delete(l.conns, c.from)
	if l.sites[c.site]--; l.sites[c.site] == 0 {
		delete(l.sites, c.site)
	}
	l.open.Done()
}

// len returns the number of connections.
func (l *streamListener) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Close closes the listener and its connections, which pion leaves open.
func (l *streamListener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	l.shut = true
	open := make([]*stream, 0, len(l.conns))
	for _, c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // the client notices
	}
	return err
}

// stream is a client's TCP connection. Each Read returns one whole message to pion, so pion buffers no
// more than that for a client.
type stream struct {
	net.Conn
	// constant
	l    *streamListener
	from endpoint
	site netip.Prefix

	seen  time.Time       // when it last had an allocation; owned by the reader
	frame [maxPacket]byte // owned by the reader
	rest  []byte          // the part that did not fit into the last Read; owned by the reader
}

// Read returns the next message for pion.
func (c *stream) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		now := time.Now()
		deadline := c.seen.Add(streamGrace)
		e := c.l.s.sessions.at(c.from)
		if e != nil {
			// By then, an allocation is refreshed or gone.
			c.seen, deadline = now, now.Add(c.l.s.opt.Limits.Lifetime)
		}
		// One deadline for a whole message, so that a slow trickle of bytes does not keep a connection
		// open.
		if err := c.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		n, err := readFrame(c.Conn, c.frame[:])
		if err != nil {
			return 0, err
		}
		if isChannelData(c.frame[:n]) {
			if e != nil {
				e.relay.forward(c.frame[:n])
			}
			continue
		}
		pass, answer := c.l.s.guard(c.frame[:n], c.from)
		if answer != nil {
			if _, err := c.Write(answer); err != nil {
				return 0, err
			}
		}
		c.rest = pass
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// readFrame reads one STUN message, or ChannelData with its padding (RFC 8656, section 12.5), into b
// and returns its length.
func readFrame(r io.Reader, b []byte) (int, error) {
	if _, err := io.ReadFull(r, b[:channelHeader]); err != nil {
		return 0, err
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	switch b[0] & 0xC0 {
	case 0x00:
		length += stunHeader
	case 0x40:
		length = channelHeader + (length+3)&^3
	default:
		return 0, errFrame
	}
	if length > len(b) {
		return 0, errFrame
	}
	if _, err := io.ReadFull(r, b[channelHeader:length]); err != nil {
		return 0, err
	}
	return length, nil
}

// Write sends one message. A truncated message would corrupt all that follow, so the connection ends
// then.
func (c *stream) Write(b []byte) (int, error) {
	err := c.SetWriteDeadline(time.Now().Add(streamWrite))
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// Close ends the connection.
func (c *stream) Close() error {
	err := c.Conn.Close()
	c.l.remove(c)
	return err
}
