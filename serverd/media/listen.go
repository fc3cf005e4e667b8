package media

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
)

const (
	// listenTries is how many ports are tried to find one that is free for both UDP and TCP.
	listenTries = 16
	// socketBuffer is the buffer size requested for the sockets that all clients write to, in bytes.
	// The kernel grants up to net.core.rmem_max.
	socketBuffer = 4 << 20
)

// Addresses whose routes are looked up: the root servers a and k, which do not move. Nothing is sent to
// them.
const (
	far4 = "198.41.0.4:53"
	far6 = "[2001:7fd::1]:53"
)

// sockets are the two listeners of one address.
type sockets struct {
	udp *net.UDPConn
	tcp net.Listener
	ip  netip.Addr
}

// addr is the address at which this machine reaches the sockets.
func (k sockets) addr() netip.AddrPort {
	port := unmapped(k.udp.LocalAddr().(*net.UDPAddr).AddrPort()).Port()
	switch {
	case !k.ip.IsUnspecified():
		return netip.AddrPortFrom(k.ip, port)
	case k.ip.Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), port)
}

func closeAll(list []sockets) error {
	var errs []error
	for _, k := range list {
		errs = append(errs, k.udp.Close(), k.tcp.Close())
	}
	return errors.Join(errs...)
}

// listen opens UDP and TCP at HOST:PORT, for IPv4 and IPv6 if there is no host.
func listen(ctx context.Context, address string) ([]sockets, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	if host != "" {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, err
		}
		k, err := listenBoth(ctx, ips[0].Unmap(), number)
		if err != nil {
			return nil, err
		}
		return []sockets{k}, nil
	}
	four, err := listenBoth(ctx, netip.IPv4Unspecified(), number)
	if err != nil {
		return nil, err
	}
	six, err := listenBoth(ctx, netip.IPv6Unspecified(), int(four.addr().Port()))
	switch {
	case err == nil:
		return []sockets{four, six}, nil
	case errors.Is(err, syscall.EADDRINUSE) && number != 0:
		return nil, errors.Join(err, closeAll([]sockets{four}))
	}
	return []sockets{four}, nil // this machine has no IPv6
}

// listenBoth opens UDP and TCP on one port; port 0 picks a free one.
func listenBoth(ctx context.Context, ip netip.Addr, port int) (sockets, error) {
	var lc net.ListenConfig
	v := "4"
	if ip.Is6() {
		v = "6"
	}
	tries := 1
	if port == 0 {
		tries = listenTries
	}
	var failed error
	for range tries {
		pc, err := lc.ListenPacket(ctx, "udp"+v, net.JoinHostPort(ip.String(), strconv.Itoa(port)))
		if err != nil {
			return sockets{}, err
		}
		k := sockets{udp: pc.(*net.UDPConn), ip: ip}
		_ = k.udp.SetReadBuffer(socketBuffer) // a smaller buffer also works
		_ = k.udp.SetWriteBuffer(socketBuffer)
		taken := k.udp.LocalAddr().(*net.UDPAddr).Port
		if k.tcp, failed = lc.Listen(ctx, "tcp"+v, net.JoinHostPort(ip.String(), strconv.Itoa(taken))); failed == nil {
			return k, nil
		}
		failed = errors.Join(failed, k.udp.Close())
	}
	return sockets{}, failed
}

// findAddresses determines this host's addresses: those that are never allowed as peers, and those that
// allocations are bound to.
func (s *Server) findAddresses(ctx context.Context, socks []sockets) error {
	own, broadcast, err := hostAddresses()
	if err != nil {
		return fmt.Errorf("addresses of this machine: %w", err)
	}
	var four, six relayAddress
	for _, k := range socks {
		r, far, network := &four, far4, "udp4"
		if k.ip.Is6() {
			r, far, network = &six, far6, "udp6"
		}
		r.bound = k.ip
		if k.ip.IsUnspecified() {
			r.bound = s.routeAddress(ctx, network, far)
			if !r.bound.IsValid() {
				r.bound = anyAddress(own, k.ip.Is4())
			}
		}
		r.advertised = r.bound
		for _, p := range s.opt.Public {
			if !r.bound.IsValid() || p.Is4() != r.bound.Is4() {
				continue
			}
			r.advertised = p
			if k.ip.IsUnspecified() && slices.Contains(own, p) {
				r.bound = p // the operator chose one of several addresses
			}
		}
	}
	s.policy.setOwn(slices.Concat(own, broadcast, s.opt.Public))
	s.relay4.Store(&four)
	s.relay6.Store(&six)
	return nil
}

// anyAddress returns an address of this machine that others may reach, for a machine without a route to
// the Internet. It is invalid if there is none.
func anyAddress(own []netip.Addr, four bool) netip.Addr {
	for _, a := range own {
		if a.Is4() == four && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() {
			return a
		}
	}
	return netip.Addr{}
}

// routeAddress returns the address that this machine uses towards the Internet, according to its
// routes. It is invalid if there is no route.
func (s *Server) routeAddress(ctx context.Context, network, far string) netip.Addr {
	if s.opt.Loopback {
		if network == "udp4" {
			return netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return netip.IPv6Loopback()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, far)
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	return unmapped(conn.LocalAddr().(*net.UDPAddr).AddrPort()).Addr()
}
