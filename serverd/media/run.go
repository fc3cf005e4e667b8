package media

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/pion/turn/v5"
)

const (
	// testEvery is how often the server tests itself and rereads its host's addresses.
	testEvery = 5 * time.Minute
	// retryEvery is the same interval while something is wrong.
	retryEvery = 30 * time.Second
	// testTimeout bounds one self-test, which stays on this machine.
	testTimeout = 5 * time.Second
	// probeSize is the length of the packet that a self-test relays, in bytes.
	probeSize = 32
	// probes is how often a lost packet is sent again.
	probes = 5
)

// Run tests the server periodically, and opens it if it is not open, until ctx ends. It does not close
// the server.
func (s *Server) Run(ctx context.Context) {
	var failed error
	for first := true; ; first = false {
		err := s.Open(ctx)
		if err == nil {
			err = s.Test(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && (failed == nil || failed.Error() != err.Error()) {
			s.opt.Logger.Warn("calls cannot be relayed", "error", err)
		} else if err == nil && (failed != nil || first) {
			st := s.Status()
			s.opt.Logger.Info("calls can be relayed", "listen", st.Listen, "relay", st.Relay)
		}
		failed = err
		s.sessions.prune()
		wait := testEvery
		if err != nil {
			wait = retryEvery
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		s.refresh(ctx)
	}
}

// refresh rereads the host's addresses.
func (s *Server) refresh(ctx context.Context) {
	s.mu.Lock()
	socks := append([]sockets(nil), s.socks...)
	s.mu.Unlock()
	if len(socks) == 0 {
		return
	}
	if err := s.findAddresses(ctx, socks); err != nil {
		s.opt.Logger.Warn("could not read the addresses of this machine", "error", err)
	}
}

// Test is the self-test: over UDP and TCP it asks for its own address (STUN), allocates, and relays a
// packet to itself. Status reports the result.
func (s *Server) Test(ctx context.Context) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	s.mu.Lock()
	socks := append([]sockets(nil), s.socks...)
	s.mu.Unlock()
	if len(socks) == 0 {
		return net.ErrClosed
	}
	err := s.testAll(ctx, socks)
	if parent := context.Cause(ctx); err != nil && errors.Is(parent, context.Canceled) {
		return err // the server is stopped
	}
	s.mu.Lock()
	s.status.Err, s.status.Tested, s.status.Took = err, time.Now(), time.Since(begin)
	s.mu.Unlock()
	return err
}

// testAll tests every family that is relayed.
func (s *Server) testAll(ctx context.Context, socks []sockets) error {
	var errs []error
	tested := false
	for _, k := range socks {
		if relay := s.relayOf(k.ip); !relay.advertised.IsValid() {
			continue // a machine without a route in this family
		}
		tested = true
		for _, network := range []string{"udp", "tcp"} {
			if err := s.test(ctx, network, k.addr().String()); err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", network, k.addr(), err))
			}
		}
	}
	if !tested {
		return errors.New("this machine has no address to relay from, only loopback addresses")
	}
	return errors.Join(errs...)
}

// relayOf returns the relayed address of the family of ip.
func (s *Server) relayOf(ip netip.Addr) relayAddress {
	if ip.Is4() {
		return *s.relay4.Load()
	}
	return *s.relay6.Load()
}

func (s *Server) test(ctx context.Context, network, to string) error {
	conn, err := dialTest(ctx, network, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	username, password, _ := Mint(s.opt.Secret, selfAccount, s.opt.Now(), s.opt.Limits.Lifetime)
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: to, TURNServerAddr: to, Username: username, Password: password, Realm: s.opt.Realm, Conn: conn, LoggerFactory: quiet(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	// Closing the socket unblocks calls that take no context.
	stop := context.AfterFunc(ctx, func() { client.Close(); _ = conn.Close() })
	defer stop()
	if err := client.Listen(); err != nil {
		return err
	}
	if _, err := client.SendBindingRequest(); err != nil {
		return fmt.Errorf("binding: %w", err)
	}
	relay, err := client.AllocateWithContext(ctx)
	if err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	defer relay.Close()
	return probe(ctx, relay)
}

// dialTest opens a socket for a TURN client.
func dialTest(ctx context.Context, network, to string) (net.PacketConn, error) {
	if network == "tcp" {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, to)
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	}
	var lc net.ListenConfig
	if strings.HasPrefix(to, "[") {
		return lc.ListenPacket(ctx, "udp6", "[::]:0")
	}
	return lc.ListenPacket(ctx, "udp4", "0.0.0.0:0")
}

// probe sends packets from an allocation to itself until one arrives.
func probe(ctx context.Context, relay net.PacketConn) error {
	var sent, got [probeSize]byte
	rand.Read(sent[:])
	deadline, _ := ctx.Deadline()
	var failed error
	for i := range probes {
		if _, err := relay.WriteTo(sent[:], relay.LocalAddr()); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		wait := time.Now().Add(time.Duration(i+1) * time.Second / 10)
		if wait.After(deadline) {
			wait = deadline
		}
		if err := relay.SetReadDeadline(wait); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		n, _, err := relay.ReadFrom(got[:])
		if err == nil && n == probeSize && got == sent {
			return nil
		}
		failed = err
	}
	if failed == nil {
		return errors.New("receive: another packet came back")
	}
	return fmt.Errorf("receive: %w", failed)
}
