package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"

	"secmsg/serverd/limit"
)

// counters count since the server was created.
type counters struct {
	allocations, refusedLogin, refusedQuota, refusedPeers, refusedTCP, refusedStreams atomic.Int64

	packetsIn, packetsOut, bytesIn, bytesOut                       atomic.Int64
	refusedPackets, droppedPackets, failedPackets, droppedRequests atomic.Int64
	strangePackets                                                 atomic.Int64
}

// Server is a media server.
type Server struct {
	opt      Options // constant
	policy   *policy
	sessions *sessions
	requests *limit.Keyed[netip.Prefix]
	counters counters

	relay4, relay6 atomic.Pointer[relayAddress]

	mu      sync.Mutex // guards below
	turn    *turn.Server
	socks   []sockets
	streams []*streamListener
	addr    netip.AddrPort // as clients of this machine reach it
	closed  bool
	status  Status
}

// Status is the server's state.
type Status struct {
	Open   bool          // its sockets are open
	Listen string        // their address and port
	Relay  []string      // the addresses that relayed packets come from
	Err    error         // why the sockets could not be opened, or the error of the last self-test; nil if all is well
	Tested time.Time     // end of the last self-test; zero if there was none
	Took   time.Duration // duration of the last self-test
}

// New creates a server. It returns an error if the options are invalid. It opens nothing.
func New(opt Options) (*Server, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opt: opt, policy: newPolicy(opt.Loopback, opt.Allow),
		sessions: newSessions(opt.Limits, opt.Now), requests: limit.NewKeyed[netip.Prefix](opt.Limits.Requests, 0, opt.Now),
	}
	s.relay4.Store(&relayAddress{})
	s.relay6.Store(&relayAddress{})
	return s, nil
}

// Open opens the server's sockets and starts serving. It returns an error if a port is taken, and may
// then be called again. On an open server it does nothing.
func (s *Server) Open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != nil {
		return nil
	}
	if s.closed {
		return net.ErrClosed
	}
	err := s.openLocked(ctx)
	s.status.Err = err
	return err
}

func (s *Server) openLocked(ctx context.Context) error {
	socks, err := listen(ctx, s.opt.Listen)
	if err != nil {
		return fmt.Errorf("media: %w", err)
	}
	if err := s.findAddresses(ctx, socks); err != nil {
		return errors.Join(fmt.Errorf("media: %w", err), closeAll(socks))
	}
	config := turn.ServerConfig{
		Realm: s.opt.Realm, AuthHandler: s.authorize, QuotaHandler: s.mayAllocate, EventHandler: s.events(),
		AllocationLifetime: s.opt.Limits.Lifetime, LoggerFactory: quiet(), InboundMTU: maxPacket + 1,
	}
	var streams []*streamListener
	for _, sock := range socks {
		l := newStreamListener(sock.tcp, s)
		streams = append(streams, l)
		config.PacketConnConfigs = append(config.PacketConnConfigs, turn.PacketConnConfig{
			PacketConn: newPacketConn(sock.udp, s), RelayAddressGenerator: generator{s, sock.udp}, PermissionHandler: s.mayPermit,
		})
		config.ListenerConfigs = append(config.ListenerConfigs, turn.ListenerConfig{
			Listener: l, RelayAddressGenerator: generator{s, nil}, PermissionHandler: s.mayPermit,
		})
	}
	server, err := turn.NewServer(config)
	if err != nil {
		return errors.Join(fmt.Errorf("media: %w", err), closeAll(socks))
	}
	s.turn, s.streams, s.socks = server, streams, socks
	s.addr = socks[0].addr()
	s.status.Open, s.status.Listen = true, s.addr.String()
	if host, port, err := net.SplitHostPort(s.opt.Listen); err == nil && host == "" && port != "0" {
		s.status.Listen = s.opt.Listen
	}
	return nil
}

// quiet silences pion: its log would contain clients' addresses, which are private, and the counters
// cover the rest.
func quiet() logging.LoggerFactory {
	return &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
}

// mayAllocate is pion's QuotaHandler.
func (s *Server) mayAllocate(username, _ string, _ net.Addr) bool {
	account, _, err := parseUsername(username)
	if err != nil || !s.sessions.room(account) {
		s.counters.refusedQuota.Add(1)
		return false
	}
	return true
}

// events keep the table of sessions in step with pion. They identify an allocation by its relayed
// address, which no other allocation has during pion's callback.
func (s *Server) events() turn.EventHandler {
	change := func(relay net.Addr, f func(*session, *table)) {
		if advertised, ok := relay.(*net.UDPAddr); ok {
			s.sessions.change(unmapped(advertised.AddrPort()), f)
		}
	}
	return turn.EventHandler{
		OnAllocationCreated: func(src, _ net.Addr, _, _, _ string, relay net.Addr, _ int) {
			from, ok := endpointOf(src)
			if advertised, isUDP := relay.(*net.UDPAddr); ok && isUDP {
				s.sessions.bind(unmapped(advertised.AddrPort()), from)
			}
		},
		OnPermissionCreated: func(_, _ net.Addr, _, _, _ string, relay net.Addr, ip net.IP) {
			change(relay, func(_ *session, t *table) { t.permit(ip) })
		},
		OnPermissionDeleted: func(_, _ net.Addr, _, _, _ string, relay net.Addr, ip net.IP) {
			change(relay, func(_ *session, t *table) { t.forbid(ip) })
		},
		OnChannelCreated: func(_, _ net.Addr, _, _, _ string, relay, peer net.Addr, number uint16) {
			if u, ok := peer.(*net.UDPAddr); ok {
				change(relay, func(e *session, t *table) { t.open(number, unmapped(u.AddrPort()), e.relay) })
			}
		},
		OnChannelDeleted: func(_, _ net.Addr, _, _, _ string, relay, _ net.Addr, number uint16) {
			change(relay, func(_ *session, t *table) { t.close(number) })
		},
	}
}

// Addr returns the address at which this machine reaches the server. It is invalid while the server is
// not open.
func (s *Server) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Status returns the server's state.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	for _, r := range []*relayAddress{s.relay4.Load(), s.relay6.Load()} {
		if st.Open && r.advertised.IsValid() {
			st.Relay = append(st.Relay, r.advertised.String())
		}
	}
	return st
}

// Problems returns warnings for the administrator, for the statistics.
func (s *Server) Problems() []string {
	st := s.Status()
	var list []string
	switch {
	case st.Err != nil && !st.Open:
		list = append(list, "calls cannot be relayed: "+st.Err.Error())
	case st.Err != nil:
		list = append(list, "the self-test of the media server failed: "+st.Err.Error())
	}
	if s.opt.Loopback {
		return list
	}
	for _, r := range []*relayAddress{s.relay4.Load(), s.relay6.Load()} {
		if r.advertised.IsValid() && !s.publicOrServed(r.advertised) {
			list = append(list, fmt.Sprintf("media.public_address is not set, and %s is not a public address: devices outside of its network cannot use the relay", r.advertised))
		}
	}
	return list
}

// publicOrServed reports whether one of our addresses is public, or in a network that the operator serves.
func (s *Server) publicOrServed(a netip.Addr) bool {
	return newPolicy(false, s.opt.Allow).allows(a)
}

// Counters returns the server's part of the statistics.
func (s *Server) Counters() map[string]int64 {
	c := &s.counters
	s.mu.Lock()
	streams := 0
	for _, l := range s.streams {
		streams += l.len()
	}
	s.mu.Unlock()
	return map[string]int64{
		"allocations": int64(s.sessions.len()), "streams": int64(streams), "allocations_made": c.allocations.Load(),
		"refused_credentials": c.refusedLogin.Load(), "refused_quota": c.refusedQuota.Load(), "refused_peers": c.refusedPeers.Load(),
		"refused_tcp_relay": c.refusedTCP.Load(), "refused_streams": c.refusedStreams.Load(), "dropped_requests": c.droppedRequests.Load(),
		"packets_from_peers": c.packetsIn.Load(), "packets_to_peers": c.packetsOut.Load(),
		"bytes_from_peers": c.bytesIn.Load(), "bytes_to_peers": c.bytesOut.Load(),
		"dropped_bandwidth": c.droppedPackets.Load(), "dropped_peer": c.refusedPackets.Load(), "dropped_strangers": c.strangePackets.Load(), "failed_packets": c.failedPackets.Load(),
	}
}

// Drop ends an account's allocations and invalidates the credentials issued to it so far.
func (s *Server) Drop(account string) { s.sessions.drop(account) }

// Mint issues credentials for account on this server, valid for at most MaxLifetime.
func (s *Server) Mint(account string) (username, password string, expires time.Time) {
	return Mint(s.opt.Secret, account, s.opt.Now(), s.opt.Limits.Lifetime)
}

// Close ends all allocations and connections and waits for them. A second call
// does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	server, streams := s.turn, s.streams
	s.turn, s.streams, s.socks, s.closed = nil, nil, nil, true
	s.status.Open, s.addr = false, netip.AddrPort{}
	s.mu.Unlock()
	var err error
	if server != nil {
		err = server.Close()
	}
	s.sessions.close()
	for _, l := range streams {
		l.open.Wait()
	}
	if err != nil {
		return fmt.Errorf("media: %w", err)
	}
	return nil
}
