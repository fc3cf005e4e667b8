package media

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/turn/v5"
)

// portTries is how many random ports are tried before an allocation fails.
const portTries = 32

// errNoRelay refuses what is not relayed: TCP (RFC 6062, attack F9), reserved and
// even ports (which WebRTC does not use), and a family without an address.
var errNoRelay = errors.New("media: this is not relayed")

// relayAddress says where relayed sockets of a family are bound, and as what the
// world knows that address. Both are invalid if the family is not relayed.
type relayAddress struct {
	bound, told netip.Addr
}

// generator makes the sockets of allocations; it is pion's RelayAddressGenerator.
type generator struct{ s *Server }

// Validate does nothing: New has checked the options.
func (g generator) Validate() error { return nil }

// AllocateListener refuses: TCP is not relayed.
func (g generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoRelay
}

// AllocateConn refuses: TCP is not relayed.
func (g generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoRelay }

// AllocatePacketConn makes the socket of one allocation.
func (g generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	account, _, err := parseUsername(c.UserID) // "" for a search for an even port
	if err != nil || c.RequestedPort != 0 {
		return nil, nil, errNoRelay
	}
	family := &g.s.relay4
	if c.Network == "udp6" {
		family = &g.s.relay6
	}
	address := *family.Load()
	if !address.told.IsValid() {
		return nil, nil, errNoRelay
	}
	conn, err := listenRelay(c.Network, address.bound, g.s.opt.MinPort, g.s.opt.MaxPort)
	if err != nil {
		return nil, nil, err
	}
	r := &relayConn{UDPConn: conn, s: g.s, bound: address.bound}
	r.told = netip.AddrPortFrom(address.told, uint16(conn.LocalAddr().(*net.UDPAddr).Port))
	r.session = &session{account: account, username: c.UserID, created: g.s.opt.Now(), relay: r}
	if err := g.s.sessions.add(r.session); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	g.s.counters.allocations.Add(1)
	return r, net.UDPAddrFromAddrPort(r.told), nil
}

// listenRelay opens a socket at a random port, so that ports cannot be guessed.
func listenRelay(network string, addr netip.Addr, first, last uint16) (*net.UDPConn, error) {
	var failed error
	for range portTries {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(last)-int64(first)+1))
		if err != nil {
			return nil, fmt.Errorf("random port: %w", err)
		}
		port := first + uint16(n.Int64())
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("no free port for an allocation: %w", failed)
}

// relayConn is the socket of one allocation. pion writes to it what the client
// sends, from the goroutines of listeners, and reads from it in one of its own.
type relayConn struct {
	*net.UDPConn
	// constant
	s       *Server
	session *session
	bound   netip.Addr
	told    netip.AddrPort

	// lastAddr and lastPeer save an allocation for each packet of the same peer;
	// owned by the reader.
	lastAddr netip.AddrPort
	lastPeer *net.UDPAddr

	once sync.Once
}

// WriteTo sends a packet to a peer, if that peer may be reached and the account
// has bandwidth left; else the packet is lost, as packets are.
func (r *relayConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a UDP address")
	}
	peer := unmapped(u.AddrPort())
	c := &r.s.counters
	if !r.s.mayReach(peer) {
		c.refusedPackets.Add(1)
		return len(b), nil
	}
	if !r.session.bytes.take(len(b)) {
		c.droppedPackets.Add(1)
		return len(b), nil
	}
	c.packetsOut.Add(1)
	c.bytesOut.Add(int64(len(b)))
	if peer.Addr() == r.told.Addr() {
		// Another allocation of ours. A NAT in front of us need not send back
		// what goes to our own public address, so it does not see it.
		peer = netip.AddrPortFrom(r.bound, peer.Port())
	}
	if _, err := r.WriteToUDPAddrPort(b, peer); err != nil {
		c.failedPackets.Add(1) // no route, or the peer's port is closed: not an error of the client's
	}
	return len(b), nil
}

// ReadFrom returns the next packet from a peer that the account has bandwidth for.
func (r *relayConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c := &r.s.counters
	for {
		n, from, err := r.ReadFromUDPAddrPort(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && n == 0 && isRefused(err) {
				continue // an ICMP error of an earlier packet
			}
			return n, nil, err
		}
		from = unmapped(from)
		if from.Addr() == r.bound && r.bound != r.told.Addr() {
			if told := netip.AddrPortFrom(r.told.Addr(), from.Port()); r.s.sessions.relayed(told) {
				from = told
			}
		}
		if !r.session.bytes.take(n) {
			c.droppedPackets.Add(1)
			continue
		}
		c.packetsIn.Add(1)
		c.bytesIn.Add(int64(n))
		if from != r.lastAddr {
			r.lastAddr, r.lastPeer = from, net.UDPAddrFromAddrPort(from)
		}
		return n, r.lastPeer, nil
	}
}

// Close ends the allocation's part in the table. Closing again is no error:
// pion would leave the other allocations open after one.
func (r *relayConn) Close() error {
	var err error
	r.once.Do(func() {
		err = r.UDPConn.Close()
		r.s.sessions.remove(r.session)
	})
	return err
}

// mayReach reports whether packets may be relayed to a peer. Our own relayed
// address is open for the ports that are allocated now, so that two devices
// that both relay here can talk, and for nothing else of this host.
func (s *Server) mayReach(peer netip.AddrPort) bool {
	if peer.Port() == 0 {
		return false
	}
	return s.policy.allows(peer.Addr()) || s.isTold(peer.Addr()) && s.sessions.relayed(peer)
}

// isTold reports whether addr is what allocations are told to be at.
func (s *Server) isTold(addr netip.Addr) bool {
	return addr.IsValid() && (addr == s.relay4.Load().told || addr == s.relay6.Load().told)
}

// mayPermit is pion's own check, by address alone: requests come here only after
// guard has looked at them with their ports, and packets before WriteTo does.
func (s *Server) mayPermit(_ net.Addr, ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	if ok && s.mayReachAddress(addr.Unmap()) {
		return true
	}
	s.counters.refusedPeers.Add(1)
	return false
}

func (s *Server) mayReachAddress(addr netip.Addr) bool {
	return s.policy.allows(addr) || s.isTold(addr)
}
