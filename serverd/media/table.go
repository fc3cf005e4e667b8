package media

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
)

// table holds the peers that an allocation's client may hear from, and its channels, as pion reports
// them. It is read for each packet without a lock.
type table struct {
	permitted map[netip.Addr]bool
	channels  map[uint16]*boundChannel
	numbers   map[netip.AddrPort]uint16
}

// boundChannel is a channel (RFC 8656, section 12).
type boundChannel struct {
	peer netip.AddrPort
	to   netip.AddrPort // the address that packets for peer are sent to
}

func (t *table) clone() *table {
	next := &table{maps.Clone(t.permitted), maps.Clone(t.channels), maps.Clone(t.numbers)}
	if next.permitted == nil {
		next.permitted = map[netip.Addr]bool{}
	}
	if next.channels == nil {
		next.channels, next.numbers = map[uint16]*boundChannel{}, map[netip.AddrPort]uint16{}
	}
	return next
}

func (t *table) permit(ip net.IP) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		t.permitted[addr.Unmap()] = true
	}
}

func (t *table) forbid(ip net.IP) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		delete(t.permitted, addr.Unmap())
	}
}

func (t *table) open(number uint16, peer netip.AddrPort, r *relayConn) {
	t.channels[number] = &boundChannel{peer, r.behind(peer)}
	t.numbers[peer] = number
}

func (t *table) close(number uint16) {
	if c := t.channels[number]; c != nil {
		delete(t.channels, number)
		delete(t.numbers, c.peer)
	}
}

// isChannelData reports whether b is ChannelData and not STUN. b must not be empty.
func isChannelData(b []byte) bool { return b[0]&0xC0 == 0x40 }

// parseChannelData returns the channel and the content of ChannelData (RFC 8656, section 12.4). Padding
// may follow the content.
func parseChannelData(b []byte) (number uint16, data []byte, ok bool) {
	if len(b) < channelHeader {
		return 0, nil, false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length > len(b)-channelHeader {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[channelHeader : channelHeader+length], true
}

// channelData puts the header in front of a packet. It adds no padding, which only streams need.
func channelData(p packet, number uint16) []byte {
	binary.BigEndian.PutUint16(p.room, number)
	binary.BigEndian.PutUint16(p.room[2:], uint16(p.n))
	return p.room[:channelHeader+p.n]
}
