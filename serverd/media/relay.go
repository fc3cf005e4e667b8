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

// errNoRelay refuses unsupported allocations: TCP (RFC 6062; attack F9, crypto/ATTACKS.md), reserved
// and even ports (WebRTC does not use them), and a family without an address.
var errNoRelay = errors.New("media: this kind of relaying is not supported")

// relayAddress holds the address to which a family's relayed sockets are bound, and that address as the
// outside sees it. Both are invalid if the family is not relayed.
type relayAddress struct {
	bound, advertised netip.Addr
}

// generator opens the sockets of allocations. It is pion's RelayAddressGenerator.
type generator struct {
	s   *Server
	udp *net.UDPConn // the client-facing socket; nil for TCP
}

// Validate does nothing: New has already checked the options.
func (g generator) Validate() error { return nil }

// AllocateListener refuses: TCP is not relayed.
func (g generator) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoRelay
}

// AllocateConn refuses: TCP is not relayed.
func (g generator) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoRelay }

// AllocatePacketConn opens the socket of one allocation.
func (g generator) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	account, expires, err := parseUsername(c.UserID) // "" when pion looks for an even port
	if err != nil || c.RequestedPort != 0 {
		return nil, nil, errNoRelay
	}
	family := &g.s.relay4
	if c.Network == "udp6" {
		family = &g.s.relay6
	}
	address := *family.Load()
	if !address.advertised.IsValid() {
		return nil, nil, errNoRelay
	}
	conn, err := listenRelay(c.Network, address.bound, g.s.opt.MinPort, g.s.opt.MaxPort)
	if err != nil {
		return nil, nil, err
	}
	r := &relayConn{UDPConn: conn, s: g.s, via: g.udp, bound: address.bound, in: newReader(conn, relayBatch), out: newWriter(conn)}
	if g.udp != nil {
		r.back = newWriter(g.udp)
	}
	r.advertised = netip.AddrPortFrom(address.advertised, uint16(conn.LocalAddr().(*net.UDPAddr).Port))
	r.session = &session{account: account, username: c.UserID, expires: expires, created: g.s.opt.Now(), relay: r}
	r.session.table.Store(&table{})
	if err := g.s.sessions.add(r.session); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	g.s.counters.allocations.Add(1)
	return r, net.UDPAddrFromAddrPort(r.advertised), nil
}

// listenRelay opens a socket on a random port, so that ports cannot be guessed.
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

// relayConn is the socket of one allocation. The goroutine that reads the client's socket writes the
// client's packets to it; a goroutine of pion reads the peers' packets.
type relayConn struct {
	*net.UDPConn
	// constant
	s          *Server
	session    *session
	bound      netip.Addr
	advertised netip.AddrPort
	client     netip.AddrPort // set before the first read
	via        *net.UDPConn   // the client's socket; nil if it speaks TCP

	out    *writer // to peers; owned by the client's reader
	in     *reader // owned by our reader, like the fields below
	failed failures
	back   *writer // to the client; nil if it speaks TCP

	once sync.Once
}

// forward sends ChannelData that came over TCP.
func (r *relayConn) forward(b []byte) {
	number, data, ok := parseChannelData(b)
	if !ok {
		return
	}
	if ch := r.session.table.Load().channels[number]; ch != nil {
		_, _ = r.WriteTo(data, net.UDPAddrFromAddrPort(ch.peer)) // WriteTo counts failures
	}
}

// WriteTo sends the data of a Send indication, or of a client over TCP.
func (r *relayConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a UDP address")
	}
	peer := unmapped(u.AddrPort())
	if !r.admits(peer, len(b)) {
		return len(b), nil
	}
	if _, err := r.WriteToUDPAddrPort(b, r.behind(peer)); err != nil {
		r.s.counters.failedPackets.Add(1) // no route, or the peer's port is closed; not the client's fault
	}
	return len(b), nil
}

// admits reports whether a packet may go to peer: the policy allows the peer, and the account has
// bandwidth left. A packet that may not go is dropped.
func (r *relayConn) admits(peer netip.AddrPort, n int) bool {
	c := &r.s.counters
	if !r.s.mayReach(peer) {
		c.refusedPackets.Add(1)
		return false
	}
	if !mayRelay(r.session.bytes, n) {
		c.droppedPackets.Add(1)
		return false
	}
	c.packetsOut.Add(1)
	c.bytesOut.Add(int64(n))
	return true
}

// behind translates a peer's address to the one that packets are sent to. Another allocation of this
// server is reached at its local address, because a NAT in front of us may not loop packets to our
// public address back.
func (r *relayConn) behind(peer netip.AddrPort) netip.AddrPort {
	if peer.Addr() == r.advertised.Addr() {
		return netip.AddrPortFrom(r.bound, peer.Port())
	}
	return peer
}

// ReadFrom forwards packets of channels to a client that uses UDP. It returns the next packet of any
// other kind to pion.
func (r *relayConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p, ok := r.in.next()
		if !ok {
			r.flushBack()
			if err := r.in.fill(); !r.failed.pass(err) {
				return 0, nil, err
			}
			continue
		}
		from := r.front(p.from)
		number, bound, ok := r.accepts(from, p)
		switch {
		case !ok:
		case bound && r.back != nil:
			r.back.add(channelData(p, number), r.client)
		default:
			r.flushBack()
			return copy(b, p.data()), net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// accepts reports whether a peer's packet is for the client, and the number of its channel if there is
// one. A peer that the client has not permitted cannot use up the account's bandwidth.
func (r *relayConn) accepts(from netip.AddrPort, p packet) (number uint16, bound, ok bool) {
	c, t := &r.s.counters, r.session.table.Load()
	number, bound = t.numbers[from]
	if p.n > maxPacket || !bound && !t.permitted[from.Addr()] {
		c.strangePackets.Add(1)
		return 0, false, false
	}
	if !mayRelay(r.session.bytes, p.n) {
		c.droppedPackets.Add(1)
		return 0, false, false
	}
	c.packetsIn.Add(1)
	c.bytesIn.Add(int64(p.n))
	return number, bound, true
}

// front is the inverse of behind.
func (r *relayConn) front(from netip.AddrPort) netip.AddrPort {
	if from.Addr() == r.bound && r.bound != r.advertised.Addr() {
		if advertised := netip.AddrPortFrom(r.advertised.Addr(), from.Port()); r.s.sessions.relayed(advertised) {
			return advertised
		}
	}
	return from
}

func (r *relayConn) flushBack() {
	if r.back != nil {
		r.s.counters.failedPackets.Add(int64(r.back.flush()))
	}
}

// Close removes the allocation from the table. A second Close is no error: on an error, pion would
// leave the other allocations open.
func (r *relayConn) Close() error {
	var err error
	r.once.Do(func() {
		err = r.UDPConn.Close()
		r.s.sessions.remove(r.session)
	})
	return err
}

// mayReach reports whether packets may be relayed to a peer. On our own relayed address only the ports
// of current allocations may be reached, so that two devices that both relay here can talk, and nothing
// else on this host.
func (s *Server) mayReach(peer netip.AddrPort) bool {
	if peer.Port() == 0 {
		return false
	}
	return s.policy.allows(peer.Addr()) || s.isAdvertised(peer.Addr()) && s.sessions.relayed(peer)
}

// isAdvertised reports whether addr is the relayed address that clients are given.
func (s *Server) isAdvertised(addr netip.Addr) bool {
	return addr.IsValid() && (addr == s.relay4.Load().advertised || addr == s.relay6.Load().advertised)
}

// mayPermit is pion's check by address alone. Requests reach it only after guard has checked them with
// their ports; WriteTo checks the packets again.
func (s *Server) mayPermit(_ net.Addr, ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	if ok && s.mayReachAddress(addr.Unmap()) {
		return true
	}
	s.counters.refusedPeers.Add(1)
	return false
}

func (s *Server) mayReachAddress(addr netip.Addr) bool {
	return s.policy.allows(addr) || s.isAdvertised(addr)
}
