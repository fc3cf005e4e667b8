package media

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
)

// prefixes parses constants.
func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		list[i] = netip.MustParsePrefix(t)
	}
	return list
}

// policy says which peers the relay may send to: public unicast addresses of
// others, and what the operator allows (attack F6). Checks are by address;
// ports matter only on our own relayed address, see relayed ports in sessions.
type policy struct {
	// constant
	loopback bool
	allow    []netip.Prefix
	never    []netip.Prefix // whatever the operator allows
	special4 []netip.Prefix // IPv4 that is not public unicast
	special6 []netip.Prefix // IPv6 in 2000::/3 that is not public unicast
	global6  netip.Prefix
	nat64    netip.Prefix
	sixTo4   netip.Prefix

	own atomic.Pointer[map[netip.Addr]bool] // this host's addresses, and those of its networks' broadcasts
}

func newPolicy(loopback bool, allow []netip.Prefix) *policy {
	p := &policy{
		loopback: loopback, allow: allow,
		never: prefixes(
			"0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8",
			"169.254.169.254/32", "fd00:ec2::254/128", // metadata of clouds: credentials for who can ask
			"64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", // IPv4 within IPv6 in ways that hide which
		),
		// IANA IPv4 Special-Purpose Address Registry (RFC 6890 and successors).
		special4: prefixes(
			"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
			"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		),
		// 2001::/23 holds Teredo, benchmarking and ORCHID (RFC 2928); then documentation twice.
		special6: prefixes("2001::/23", "2001:db8::/32", "3fff::/20"),
		global6:  netip.MustParsePrefix("2000::/3"), // RFC 4291, 2.4: all global unicast so far
		nat64:    netip.MustParsePrefix("64:ff9b::/96"),
		sixTo4:   netip.MustParsePrefix("2002::/16"),
	}
	none := map[netip.Addr]bool{}
	p.own.Store(&none)
	return p
}

// setOwn replaces the addresses that are this host's, or everybody's beside it.
func (p *policy) setOwn(list []netip.Addr) {
	own := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		own[a.Unmap().WithZone("")] = true
	}
	p.own.Store(&own)
}

// allows reports whether packets may be relayed to addr, which may be IPv4 in
// any of its disguises.
func (p *policy) allows(addr netip.Addr) bool {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	if addr.IsLoopback() {
		return p.loopback
	}
	if (*p.own.Load())[addr] || contains(p.never, addr) {
		return false
	}
	if inner, ok := p.embedded(addr); ok {
		return !inner.IsLoopback() && p.allows(inner)
	}
	if contains(p.allow, addr) {
		return true
	}
	if addr.Is4() {
		return !contains(p.special4, addr)
	}
	return p.global6.Contains(addr) && !contains(p.special6, addr)
}

// embedded returns the IPv4 address that a translator or a tunnel would send to
// (RFC 6052, 2.2; RFC 3056, 2).
func (p *policy) embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	switch {
	case addr.Is4():
	case p.nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case p.sixTo4.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// hostAddresses returns the addresses of all interfaces, and those that reach
// everybody in the networks of these: Go's sockets may send there.
func hostAddresses() (own, broadcast []netip.Addr, err error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, nil, err
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		own = append(own, ip.Unmap())
		bits, _ := n.Mask.Size()
		broadcast = append(broadcast, broadcastOf(ip.Unmap(), bits)...)
	}
	return own, broadcast, nil
}

// broadcastOf returns the last address of an IPv4 network and the first, which
// some systems take for the same (RFC 1122, 3.2.1.3); none for one of a link's two
// ends (RFC 3021), and for IPv6.
func broadcastOf(ip netip.Addr, bits int) []netip.Addr {
	p, err := ip.Prefix(bits)
	if err != nil || !ip.Is4() || bits >= ip.BitLen()-1 {
		return nil
	}
	first := p.Addr()
	b := first.As4()
	last := binary.BigEndian.Uint32(b[:]) | (1<<(ip.BitLen()-bits) - 1)
	binary.BigEndian.PutUint32(b[:], last)
	return []netip.Addr{first, netip.AddrFrom4(b)}
}
