//go:build !linux

package media

import (
	"net"
	"net/netip"
)

// reader reads the packets of a socket one by one. It belongs to one goroutine.
type reader struct {
	conn *net.UDPConn
	last packet
	have bool
}

func newReader(c *net.UDPConn, _ int) *reader {
	return &reader{conn: c, last: packet{room: newRoom()}}
}

// next returns the packet already read. If it returns false, fill reads another.
func (r *reader) next() (packet, bool) {
	have := r.have
	r.have = false
	return r.last, have
}

// fill waits for a packet.
func (r *reader) fill() error {
	n, from, err := r.conn.ReadFromUDPAddrPort(r.last.room[channelHeader:])
	r.last.n, r.last.from, r.have = n, unmapped(from), err == nil
	return err
}

// writer sends each packet at once. It belongs to one goroutine; several may share a socket.
type writer struct {
	udp    *net.UDPConn
	failed int
}

func newWriter(c *net.UDPConn) *writer { return &writer{udp: c} }

// empty reports whether there is nothing to send.
func (w *writer) empty() bool { return w.failed == 0 }

// add takes a packet.
func (w *writer) add(b []byte, to netip.AddrPort) {
	if _, err := w.udp.WriteToUDPAddrPort(b, to); err != nil {
		w.failed++
	}
}

// flush returns how many packets the kernel refused.
func (w *writer) flush() (failed int) {
	failed, w.failed = w.failed, 0
	return failed
}
