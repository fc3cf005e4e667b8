package media

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxSegments and maxSegmented bound the packets, and their total bytes, that the kernel accepts as
	// one send (UDP_MAX_SEGMENTS of Linux 4.18; 64 KiB minus headers).
	maxSegments  = 64
	maxSegmented = 65_000
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// mmsg calls recvmmsg or sendmmsg. Tests replace it.
type mmsg func(trap, fd uintptr, hs []mmsghdr) (int, syscall.Errno)

// callMmsg never blocks, because Go's sockets are non-blocking. So it bypasses the scheduler, which
// would take a call with several packets for a blocking one and wake another thread each time.
func callMmsg(trap, fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(&hs[0])), uintptr(len(hs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// name is a struct sockaddr_in or sockaddr_in6.
type name [unix.SizeofSockaddrInet6]byte

// set stores an address and returns its length in bytes.
func (s *name) set(a netip.AddrPort) uint32 {
	clear(s[:])
	binary.BigEndian.PutUint16(s[2:], a.Port())
	if a.Addr().Is4() {
		binary.NativeEndian.PutUint16(s[:], unix.AF_INET)
		ip := a.Addr().As4()
		copy(s[4:], ip[:])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(s[:], unix.AF_INET6)
	ip := a.Addr().As16()
	copy(s[8:], ip[:])
	return unix.SizeofSockaddrInet6
}

// get returns the address, which is invalid if its family is unknown. Scopes of link-local addresses
// are dropped: such addresses are never peers.
func (s *name) get() netip.AddrPort {
	port := binary.BigEndian.Uint16(s[2:])
	switch binary.NativeEndian.Uint16(s[:]) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[4:8])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(s[8:24])).Unmap(), port)
	}
	return netip.AddrPort{}
}

// rawOf returns the raw connection of a socket, or nil if the socket is closed.
func rawOf(c *net.UDPConn) syscall.RawConn {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// reader reads the packets of a socket, as many at once as are waiting. It belongs to one goroutine.
type reader struct {
	raw  syscall.RawConn
	call mmsg
	most int

	room  [][]byte
	names []*name
	iov   []*unix.Iovec
	hs    []mmsghdr // points to those
	at, n int       // index of the next packet, and the number of packets

	once  func(fd uintptr) bool // allocated once, since every call needs it
	errno syscall.Errno
}

func newReader(c *net.UDPConn, most int) *reader {
	r := &reader{raw: rawOf(c), call: callMmsg, most: most}
	r.once = r.read
	r.grow()
	return r
}

func (r *reader) grow() {
	for range min(max(len(r.hs), 1), r.most-len(r.hs)) {
		room, from := newRoom(), new(name)
		iov := &unix.Iovec{Base: &room[channelHeader]}
		iov.SetLen(len(room) - channelHeader)
		var h mmsghdr
		h.Name, h.Iov = &from[0], iov
		h.SetIovlen(1)
		r.room, r.names, r.iov, r.hs = append(r.room, room), append(r.names, from), append(r.iov, iov), append(r.hs, h)
	}
}

// next returns the next packet already read. If it returns false, fill reads more and reuses the
// buffers.
func (r *reader) next() (packet, bool) {
	if r.at == r.n {
		return packet{}, false
	}
	i := r.at
	r.at++
	return packet{r.room[i], int(r.hs[i].n), r.names[i].get()}, true
}

// fill waits for packets.
func (r *reader) fill() error {
	if r.n == len(r.hs) {
		r.grow()
	}
	r.at, r.n = 0, 0
	if r.raw == nil {
		return net.ErrClosed
	}
	if err := r.raw.Read(r.once); err != nil {
		return err
	}
	if r.errno != 0 {
		return r.errno
	}
	return nil
}

// read reads the packets that have arrived. It returns false if there are none, so that fill waits.
func (r *reader) read(fd uintptr) bool {
	for i := range r.hs {
		r.hs[i].Namelen = unix.SizeofSockaddrInet6
	}
	r.n, r.errno = r.call(unix.SYS_RECVMMSG, fd, r.hs)
	return r.errno != unix.EAGAIN
}

// message is a run of packets for one address, all of one length except for a shorter last one.
type message struct {
	to     netip.AddrPort
	name   name
	oob    [32]byte // the largest unix.CmsgSpace(2)
	first  int      // index into iov
	count  int
	length int // of the first packet in bytes
	size   int // of all
	full   bool
}

// writer collects packets for a socket. Consecutive packets of one length for one address pass through
// the kernel as one (UDP_SEGMENT). A writer belongs to one goroutine; several may share a socket.
type writer struct {
	raw      syscall.RawConn
	call     mmsg
	segments bool // the kernel supports segmentation

	ms  []message
	iov []unix.Iovec
	hs  []mmsghdr // made of them by flush

	once   func(fd uintptr) bool
	failed int
}

func newWriter(c *net.UDPConn) *writer {
	w := &writer{raw: rawOf(c), call: callMmsg}
	w.segments = canSegment(w.raw)
	w.once = func(fd uintptr) bool { w.write(fd); return true }
	return w
}

// canSegment reports whether the kernel supports UDP_SEGMENT.
func canSegment(raw syscall.RawConn) bool {
	if raw == nil {
		return false
	}
	var asked error
	err := raw.Control(func(fd uintptr) { _, asked = unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT) })
	return err == nil && asked == nil
}

// empty reports whether there is nothing to send.
func (w *writer) empty() bool { return len(w.ms) == 0 }

// add takes a packet. Its bytes must not change until flush.
func (w *writer) add(b []byte, to netip.AddrPort) {
	iov := unix.Iovec{}
	if len(b) > 0 {
		iov.Base = &b[0]
	}
	iov.SetLen(len(b))
	w.iov = append(w.iov, iov)
	if len(w.ms) > 0 && w.segments && len(b) > 0 {
		m := &w.ms[len(w.ms)-1]
		if m.to == to && !m.full && len(b) <= m.length && m.count < maxSegments && m.size+len(b) <= maxSegmented {
			m.count++
			m.size += len(b)
			m.full = len(b) < m.length // only the last may be shorter
			return
		}
	}
	w.ms = append(w.ms, message{to: to, first: len(w.iov) - 1, count: 1, length: len(b), size: len(b), full: len(b) == 0})
}

// flush sends the collected packets and returns how many the kernel refused. It does not wait: a sender
// that exceeds the socket's capacity loses packets, as on any network path.
func (w *writer) flush() (failed int) {
	if len(w.ms) == 0 {
		return 0
	}
	w.failed = 0
	if w.raw == nil || w.raw.Write(w.once) != nil {
		w.failed = len(w.iov) // the socket is closed
	}
	clear(w.iov)
	clear(w.hs)
	w.ms, w.iov, w.hs = w.ms[:0], w.iov[:0], w.hs[:0]
	return w.failed
}

// write sends all messages.
func (w *writer) write(fd uintptr) {
	for i := range w.ms {
		m := &w.ms[i]
		var h mmsghdr
		h.Name, h.Namelen, h.Iov = &m.name[0], m.name.set(m.to), &w.iov[m.first]
		h.SetIovlen(m.count)
		if m.count > 1 {
			h.Control = &m.oob[0]
			h.SetControllen(segmentControl(m.oob[:], m.length))
		}
		w.hs = append(w.hs, h)
	}
	for at := 0; at < len(w.hs); {
		sent, errno := w.call(unix.SYS_SENDMMSG, fd, w.hs[at:])
		if errno != 0 || sent <= 0 {
			w.failed += w.apart(fd, at)
			sent = 1
		}
		at += sent
	}
}

// apart sends the packets of a message one by one, after the kernel refused it as a whole: the network
// card cannot segment, or the packets exceed the path's MTU.
func (w *writer) apart(fd uintptr, at int) (failed int) {
	m := &w.ms[at]
	if m.count == 1 {
		return 1
	}
	one := w.hs[at : at+1]
	one[0].Control = nil
	one[0].SetControllen(0)
	one[0].SetIovlen(1)
	for i := range m.count {
		one[0].Iov = &w.iov[m.first+i]
		if sent, errno := w.call(unix.SYS_SENDMMSG, fd, one); errno != 0 || sent <= 0 {
			failed++
		}
	}
	if failed == 0 {
		w.segments = false // the kernel refuses segmentation, not the peer
	}
	return failed
}

// segmentControl writes the control message of UDP_SEGMENT (udp(7), cmsg(3)) and returns its length in
// bytes.
func segmentControl(b []byte, length int) int {
	if unix.SizeofPtr == 8 {
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(unix.CmsgLen(2)))
	}
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[unix.SizeofPtr+4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(length))
	return unix.CmsgSpace(2)
}
