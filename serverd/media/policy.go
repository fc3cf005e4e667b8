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

// policy decides which peers the relay may send to: public unicast addresses of other hosts, and those
// that the operator allows (attack F6, crypto/ATTACKS.md). It checks addresses only; ports matter only
// for our own relayed address, see mayReach.
type policy struct {
	// constant
	loopback bool
	allow    []netip.Prefix
	never    []netip.Prefix // refused even if the operator allows them
	special4 []netip.Prefix // IPv4 that is not public unicast
	special6 []netip.Prefix // IPv6 in 2000::/3 that is not public unicast
	global6  netip.Prefix
	nat64    netip.Prefix
	sixTo4   netip.Prefix

	own atomic.Pointer[map[netip.Addr]bool] // this host's addresses, and the broadcast addresses of its networks
}

func newPolicy(loopback bool, allow []netip.Prefix) *policy {
	p := &policy{
		loopback: loopback, allow: allow,
		never: prefixes(
			"0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8",
			"169.254.169.254/32", "fd00:ec2::254/128", // cloud metadata services, which hand out credentials to any local client
			"64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", // IPv4 embedded in IPv6 in forms that do not reveal the address
		),
		// IANA IPv4 Special-Purpose Address Registry (RFC 6890 and successors).
		special4: prefixes(
			"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
			"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		),
		// 2001::/23 holds Teredo, benchmarking and ORCHID (RFC 2928); the other two are documentation.
		special6: prefixes("2001::/23", "2001:db8::/32", "3fff::/20"),
		global6:  netip.MustParsePrefix("2000::/3"), // RFC 4291, section 2.4: all global unicast so far
		nat64:    netip.MustParsePrefix("64:ff9b::/96"),
		sixTo4:   netip.MustParsePrefix("2002::/16"),
	}
	none := map[netip.Addr]bool{}
	p.own.Store(&none)
	return p
}

// setOwn replaces this host's addresses and its networks' broadcast addresses.
func (p *policy) setOwn(list []netip.Addr) {
	own := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		own[a.Unmap().WithZone("")] = true
	}
	p.own.Store(&own)
}

// allows reports whether packets may be relayed to addr, including an IPv4 address embedded in IPv6.
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

// embedded returns the IPv4 address to which a translator or tunnel would forward (RFC 6052, section
// 2.2; RFC 3056, section 2).
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

// hostAddresses returns the addresses of all interfaces and the broadcast addresses of their networks,
// to which Go's sockets may send.
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

// broadcastOf returns the last and the first address of an IPv4 network; some systems treat the first
// as broadcast too (RFC 1122, section 3.2.1.3). It returns none for a point-to-point link (RFC 3021)
// and for IPv6.
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
