package media

import (
	"net"
	"net/netip"
)

const (
	// clientBatch and relayBatch bound the packets that one call of the kernel
	// reads, from all clients and from the peers of one allocation. A reader begins
	// with one and takes more when more are waiting, so that a quiet allocation
	// keeps two buffers only.
	clientBatch = 64
	relayBatch  = 16
	// channelHeader is the length of a ChannelData header in bytes (RFC 8656, 12.4).
	channelHeader = 4
)

// packet is a buffer that was read into.
type packet struct {
	room []byte // a ChannelData header in front, the packet, and what was not filled
	n    int    // length of the packet in bytes; over maxPacket, it was cut
	from *net.UDPAddr
}

// data is the packet.
func (p packet) data() []byte { return p.room[channelHeader : channelHeader+p.n] }

// source is where the packet comes from.
func (p packet) source() netip.AddrPort { return unmapped(p.from.AddrPort()) }

// newRoom makes a buffer of a packet. The byte beyond maxPacket tells what is cut.
func newRoom() []byte { return make([]byte, channelHeader+maxPacket+1) }
