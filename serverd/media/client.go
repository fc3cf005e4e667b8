package media

import "net"

// packetConn is a client-facing UDP socket. Requests pass guard before pion sees them; packets of
// channels are forwarded here, without pion.
type packetConn struct {
	*net.UDPConn
	s *Server

	// owned by the reader
	in      *reader
	failed  failures
	waiting []*relayConn // those with packets to send
}

func newPacketConn(c *net.UDPConn, s *Server) *packetConn {
	return &packetConn{UDPConn: c, s: s, in: newReader(c, clientBatch)}
}

// ReadFrom returns the next packet for pion.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p, ok := c.in.next()
		if !ok {
			c.flush()
			if err := c.in.fill(); !c.failed.pass(err) {
				return 0, nil, err
			}
			continue
		}
		if p.n == 0 || p.n > maxPacket {
			continue
		}
		if isChannelData(p.data()) {
			c.forward(p)
			continue
		}
		pass, answer := c.s.guard(p.data(), endpoint{addr: p.from})
		if answer != nil {
			_, _ = c.WriteToUDPAddrPort(answer, p.from) // best effort, as for any packet
		}
		if pass != nil {
			c.flush() // keep the order of arrival
			return copy(b, pass), net.UDPAddrFromAddrPort(p.from), nil
		}
	}
}

// forward queues ChannelData for the peer of its channel; the next flush sends it.
func (c *packetConn) forward(p packet) {
	e := c.s.sessions.at(endpoint{addr: p.from})
	number, data, ok := parseChannelData(p.data())
	// An allocation also belongs to the socket through which it was made (RFC 8656, section 2.1); that
	// socket's reader owns its outgoing packets.
	if e == nil || !ok || e.relay.via != c.UDPConn {
		return
	}
	ch := e.table.Load().channels[number]
	if ch == nil || !e.relay.admits(ch.peer, len(data)) {
		return
	}
	if e.relay.out.empty() {
		c.waiting = append(c.waiting, e.relay)
	}
	e.relay.out.add(data, ch.to)
}

func (c *packetConn) flush() {
	for _, r := range c.waiting {
		c.s.counters.failedPackets.Add(int64(r.out.flush()))
	}
	clear(c.waiting)
	c.waiting = c.waiting[:0]
}
