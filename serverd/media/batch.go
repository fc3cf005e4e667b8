package media

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	// clientBatch and relayBatch bound the packets that one call of the kernel
	// reads, from all clients and from the peers of one allocation. A reader begins
	// with one and takes more when more are waiting, so that a quiet allocation
	// keeps two buffers only.
	clientBatch = 32
	relayBatch  = 16
	// channelHeader is the length of a ChannelData header in bytes (RFC 8656, 12.4).
	channelHeader = 4
	// readErrors is how many errors in a row are taken for those of packets before
	// each more waits for readPause.
	readErrors = 64
	readPause  = 10 * time.Millisecond
)

// failures counts the errors of a socket in a row.
type failures int

// pass reports whether reading goes on after err. Only a closed socket is at its
// end: the others are of a packet, such as an ICMP answer to one that was sent, or
// one that is too long, which Windows tells as an error; or of the kernel's memory.
// A stranger must not be able to end the server with a packet.
func (f *failures) pass(err error) bool {
	switch {
	case err == nil:
		*f = 0
	case errors.Is(err, net.ErrClosed):
		return false
	case *f >= readErrors:
		<-time.After(readPause)
	default:
		*f++
	}
	return true
}

// packet is a buffer that was read into.
type packet struct {
	room []byte // a ChannelData header in front, the packet, and what was not filled
	n    int    // length of the packet in bytes; over maxPacket, it was cut
	from netip.AddrPort
}

// data is the packet.
func (p packet) data() []byte { return p.room[channelHeader : channelHeader+p.n] }

// newRoom makes a buffer of a packet. The byte beyond maxPacket tells what is cut.
func newRoom() []byte { return make([]byte, channelHeader+maxPacket+1) }
