package media

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	// clientBatch and relayBatch bound the packets read by one system call, from all clients and from
	// the peers of one allocation. A reader starts with one buffer and adds more when more packets are
	// waiting, so a quiet allocation keeps only two.
	clientBatch = 32
	relayBatch  = 16
	// channelHeader is the length of a ChannelData header in bytes (RFC 8656, section 12.4).
	channelHeader = 4
	// readErrors is how many consecutive errors are attributed to single packets. After that, each
	// further error waits for readPause.
	readErrors = 64
	readPause  = 10 * time.Millisecond
)

// failures counts consecutive errors of a socket.
type failures int

// pass reports whether reading continues after err. Only a closed socket ends it. Other errors concern
// one packet (an ICMP answer to a packet sent, or a packet that is too long, which Windows reports as
// an error) or the kernel's memory. A stranger's packet must never stop the server.
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

// packet is a buffer that has been read into.
type packet struct {
	room []byte // room for a ChannelData header, then the packet, then unused bytes
	n    int    // length of the packet in bytes; above maxPacket it was truncated
	from netip.AddrPort
}

// data returns the packet's contents.
func (p packet) data() []byte { return p.room[channelHeader : channelHeader+p.n] }

// newRoom allocates the buffer of a packet. One byte more than maxPacket reveals truncation.
func newRoom() []byte { return make([]byte, channelHeader+maxPacket+1) }
