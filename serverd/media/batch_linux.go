package media

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	// maxSegments and maxSegmented bound the packets, and their bytes together,
	// that the kernel takes as one (UDP_MAX_SEGMENTS of Linux 4.18; 64 KiB less headers).
	maxSegments  = 64
	maxSegmented = 65_000
)

// batchConn reads and writes several packets in one call: recvmmsg, sendmmsg.
type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

func batchOf(c *net.UDPConn) batchConn {
	if c.LocalAddr().(*net.UDPAddr).IP.To4() == nil {
		return ipv6.NewPacketConn(c)
	}
	return ipv4.NewPacketConn(c)
}

// reader reads the packets of a socket, as many at once as are waiting. It
// belongs to one goroutine.
type reader struct {
	conn batchConn
	max  int
	ms   []ipv4.Message
	room [][]byte // of ms
	at   int      // the next of n
	n    int
}

func newReader(c *net.UDPConn, most int) *reader {
	r := &reader{conn: batchOf(c), max: most}
	r.grow()
	return r
}

func (r *reader) grow() {
	for range min(max(len(r.ms), 1), r.max-len(r.ms)) {
		room := newRoom()
		r.room = append(r.room, room)
		r.ms = append(r.ms, ipv4.Message{Buffers: [][]byte{room[channelHeader:]}})
	}
}

// next returns the next packet that was read; false: fill reads more, and
// takes the buffers of those before.
func (r *reader) next() (packet, bool) {
	for r.at < r.n {
		i := r.at
		r.at++
		if from, ok := r.ms[i].Addr.(*net.UDPAddr); ok {
			return packet{r.room[i], r.ms[i].N, from}, true
		}
	}
	return packet{}, false
}

// fill waits for packets.
func (r *reader) fill() error {
	if r.n == len(r.ms) {
		r.grow()
	}
	var err error
	r.at = 0
	r.n, err = r.conn.ReadBatch(r.ms, 0)
	r.n = max(r.n, 0)
	return err
}

// writer gathers packets for a socket. Those of one length for one address, one
// behind the other, go through the kernel as one (UDP_SEGMENT). It belongs to one
// goroutine; several may have the same socket.
type writer struct {
	udp      *net.UDPConn
	conn     batchConn
	segments bool // the kernel can
	ms       []ipv4.Message
	n        int // of ms, to be sent
	size     int // bytes of the last
	full     bool
}

func newWriter(c *net.UDPConn) *writer {
	return &writer{udp: c, conn: batchOf(c), segments: canSegment(c)}
}

// canSegment asks the kernel whether it knows UDP_SEGMENT.
func canSegment(c *net.UDPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var asked error
	err = raw.Control(func(fd uintptr) { _, asked = unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT) })
	return err == nil && asked == nil
}

// empty reports whether there is nothing to send.
func (w *writer) empty() bool { return w.n == 0 }

// add takes a packet, whose bytes and address must stay as they are until flush.
func (w *writer) add(b []byte, to *net.UDPAddr) {
	if w.n > 0 && w.segments {
		m := &w.ms[w.n-1]
		if length := len(m.Buffers[0]); m.Addr == net.Addr(to) && !w.full && len(b) > 0 && len(b) <= length && len(m.Buffers) < maxSegments && w.size+len(b) <= maxSegmented {
			m.Buffers = append(m.Buffers, b)
			w.size += len(b)
			w.full = len(b) < length // only the last may be shorter
			return
		}
	}
	if w.n == len(w.ms) {
		w.ms = append(w.ms, ipv4.Message{})
	}
	m := &w.ms[w.n]
	m.Buffers, m.Addr, m.OOB = append(m.Buffers[:0], b), to, m.OOB[:0]
	w.n++
	w.size, w.full = len(b), len(b) == 0
}

// flush sends what was added, and returns how many packets the kernel did not
// take. It does not wait: who sends too much loses packets, as on any path.
func (w *writer) flush() (failed int) {
	rest := w.ms[:w.n]
	w.n = 0
	for i := range rest {
		if m := &rest[i]; len(m.Buffers) > 1 {
			m.OOB = segmentControl(m.OOB, len(m.Buffers[0]))
		}
	}
	for len(rest) > 0 {
		sent, err := w.conn.WriteBatch(rest, unix.MSG_DONTWAIT)
		if err != nil || sent <= 0 {
			failed += w.apart(&rest[0])
			sent = 1
		}
		rest = rest[sent:]
	}
	return failed
}

// apart sends the packets of a message that could not be sent as one: the
// network card cannot, or they are longer than the path's MTU.
func (w *writer) apart(m *ipv4.Message) (failed int) {
	if len(m.Buffers) == 1 {
		return 1
	}
	one := []ipv4.Message{{Addr: m.Addr}}
	for _, b := range m.Buffers {
		one[0].Buffers = [][]byte{b}
		if sent, err := w.conn.WriteBatch(one, unix.MSG_DONTWAIT); err != nil || sent <= 0 {
			failed++
		}
	}
	if failed == 0 {
		w.segments = false // it is the form, not the peer
	}
	return failed
}

// segmentControl makes the control message of UDP_SEGMENT in b: udp(7), cmsg(3).
func segmentControl(b []byte, length int) []byte {
	space := unix.CmsgSpace(2)
	if cap(b) < space {
		b = make([]byte, space)
	}
	b = b[:space]
	clear(b)
	if unix.SizeofPtr == 8 {
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(unix.CmsgLen(2)))
	}
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr+4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(length))
	return b
}
