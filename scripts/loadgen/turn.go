package loadgen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// turnTry is how long a request to a media server waits before it is repeated.
	turnTry = 500 * time.Millisecond
	// turnTries is how often it is sent.
	turnTries = 4
	// turnStall is how long nothing may come back before the packets in flight count as lost.
	turnStall = 200 * time.Millisecond
	// turnChannel is the only channel of an allocation (RFC 8656, section 12).
	turnChannel = 0x4000
	// turnHeader is the length of a ChannelData header in bytes.
	turnHeader = 4
	// turnStamp is the length of the timestamp in a packet, in bytes.
	turnStamp = 8
	// maxTurnPacket bounds a packet in bytes, to fit a path's MTU.
	maxTurnPacket = 1400
	// turnSamples bounds the round trips recorded for one allocation.
	turnSamples = 1 << 16
	// protocolUDP is UDP in REQUESTED-TRANSPORT (RFC 8656, section 18.8).
	protocolUDP = 17
)

// TurnLoad is load for a media server over UDP: Pairs allocations, each with a peer on this machine
// that returns every packet, so that each round trip is two relayed packets. Window packets of a pair
// are in flight, so the server never gets more than it can do. It works with any TURN server. With
// ours, limits.turn.bandwidth and limits.turn.allocations must be raised.
type TurnLoad struct {
	Server string // HOST:PORT
	// Credentials returns the username and password of the nth pair.
	Credentials func(n int) (username, password string)
	Peer        netip.Addr // where peers listen; zero: 127.0.0.1
	Pairs       int
	Window      int           // packets in flight of each pair
	Size        int           // bytes of a packet, 8 to 1400
	Duration    time.Duration // of the measurement, after everything is allocated
}

// TurnResult is the result of a TurnLoad.
type TurnResult struct {
	Relayed int64 // packets, both directions
	Lost    int64 // round trips that were not completed
	Elapsed time.Duration
	P50     time.Duration // of a round trip, which passes the server twice
	P99     time.Duration
}

// PerSecond returns the packets relayed per second.
func (r TurnResult) PerSecond() float64 { return float64(r.Relayed) / r.Elapsed.Seconds() }

// Run generates the load.
func (l TurnLoad) Run(ctx context.Context) (TurnResult, error) {
	if l.Pairs <= 0 || l.Window <= 0 || l.Size < turnStamp || l.Size > maxTurnPacket || l.Duration <= 0 || l.Credentials == nil {
		return TurnResult{}, errors.New("turn load: a field is missing or out of its range")
	}
	if !l.Peer.IsValid() {
		l.Peer = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	pairs := make([]*turnPair, 0, l.Pairs)
	var open sync.WaitGroup
	defer func() {
		for _, p := range pairs {
			_ = p.client.Close()
			_ = p.peer.Close()
		}
		open.Wait()
	}()
	for n := range l.Pairs {
		p, err := l.open(ctx, n)
		if err != nil {
			return TurnResult{}, fmt.Errorf("turn load: pair %d: %w", n, err)
		}
		pairs = append(pairs, p)
		open.Go(p.reflect)
	}
	var load sync.WaitGroup
	begin := time.Now()
	for _, p := range pairs {
		load.Go(func() { p.drive(ctx, l, begin.Add(l.Duration)) })
	}
	load.Wait()
	res := TurnResult{Elapsed: time.Since(begin)}
	var trips []time.Duration
	for _, p := range pairs {
		res.Relayed += 2 * p.trips.Load()
		res.Lost += p.lost
		trips = append(trips, p.samples...)
		if p.err != nil {
			return res, fmt.Errorf("turn load: %w", p.err)
		}
	}
	if len(trips) == 0 {
		return res, errors.New("turn load: nothing was relayed")
	}
	slices.Sort(trips)
	res.P50, res.P99 = trips[len(trips)/2], trips[len(trips)*99/100]
	return res, ctx.Err()
}

// turnPair is an allocation and its peer.
type turnPair struct {
	client *net.UDPConn // connected to the server
	peer   *net.UDPConn

	trips   atomic.Int64
	lost    int64 // owned by drive, like the fields below
	samples []time.Duration
	err     error
}

// open creates the nth pair and binds its channel.
func (l TurnLoad) open(ctx context.Context, n int) (p *turnPair, err error) {
	p = &turnPair{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", l.Server)
	if err != nil {
		return p, err
	}
	p.client = conn.(*net.UDPConn)
	if p.peer, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Peer, 0))); err != nil {
		return p, err
	}
	username, password := l.Credentials(n)
	first, err := p.ask(stun.MethodAllocate, turnAttribute{stun.AttrRequestedTransport, []byte{protocolUDP, 0, 0, 0}})
	if err != nil {
		return p, err
	}
	var realm stun.Realm
	var nonce stun.Nonce
	if err := errors.Join(realm.GetFrom(first), nonce.GetFrom(first)); err != nil {
		return p, err
	}
	sign := []stun.Setter{stun.NewUsername(username), realm, nonce, stun.NewLongTermIntegrity(username, realm.String(), password)}
	for _, request := range []struct {
		method stun.Method
		more   []stun.Setter
	}{
		{stun.MethodAllocate, []stun.Setter{turnAttribute{stun.AttrRequestedTransport, []byte{protocolUDP, 0, 0, 0}}}},
		{stun.MethodChannelBind, []stun.Setter{turnAttribute{stun.AttrChannelNumber, []byte{turnChannel >> 8, turnChannel & 0xff, 0, 0}}, turnPeer(p.peer.LocalAddr().(*net.UDPAddr).AddrPort())}},
	} {
		m, err := p.ask(request.method, append(request.more, sign...)...)
		if err != nil {
			return p, err
		}
		if m.Type.Class != stun.ClassSuccessResponse {
			var code stun.ErrorCodeAttribute
			_ = code.GetFrom(m) // zero means that there is none
			return p, fmt.Errorf("%v: error %d", request.method, code.Code)
		}
	}
	return p, nil
}

func (p *turnPair) close() error {
	var errs []error
	for _, c := range []*net.UDPConn{p.client, p.peer} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// ask repeats a request until it is answered.
func (p *turnPair) ask(method stun.Method, setters ...stun.Setter) (*stun.Message, error) {
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, setters...)...)
	if err != nil {
		return nil, err
	}
	var b [2 * maxTurnPacket]byte
	for range turnTries {
		if _, err := p.client.Write(m.Raw); err != nil {
			return nil, err
		}
		if err := p.client.SetReadDeadline(time.Now().Add(turnTry)); err != nil {
			return nil, err
		}
		for {
			n, err := p.client.Read(b[:])
			if isTimeout(err) {
				break
			}
			if err != nil {
				return nil, err
			}
			got := &stun.Message{Raw: slices.Clone(b[:n])}
			if got.Decode() == nil && got.TransactionID == m.TransactionID {
				return got, nil
			}
		}
	}
	return nil, fmt.Errorf("%v: no answer", method)
}

// reflect returns every packet that the peer receives, until its socket is closed.
func (p *turnPair) reflect() {
	var b [2 * maxTurnPacket]byte
	for {
		n, from, err := p.peer.ReadFromUDPAddrPort(b[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = p.peer.WriteToUDPAddrPort(b[:n], from) // the other end counts losses
		}
	}
}

// drive keeps a window of packets in flight until end.
func (p *turnPair) drive(ctx context.Context, l TurnLoad, end time.Time) {
	out := make([]byte, turnHeader+l.Size)
	binary.BigEndian.PutUint16(out, turnChannel)
	binary.BigEndian.PutUint16(out[2:], uint16(l.Size))
	begin := time.Now()
	fill := func(n int) {
		for range n {
			binary.BigEndian.PutUint64(out[turnHeader:], uint64(time.Since(begin)))
			if _, err := p.client.Write(out); err != nil && p.err == nil {
				p.err = err
			}
		}
	}
	var b [2 * maxTurnPacket]byte
	fill(l.Window)
	stall := time.Time{}
	for p.err == nil && ctx.Err() == nil {
		now := time.Now()
		if !now.Before(end) {
			return
		}
		// Setting a deadline for each packet would cost more than the packet.
		if stall.Sub(now) < turnStall/2 {
			stall = now.Add(turnStall)
			if err := p.client.SetReadDeadline(stall); err != nil {
				p.err = err
				return
			}
		}
		n, err := p.client.Read(b[:])
		switch {
		case isTimeout(err):
			p.lost += int64(l.Window)
			stall = time.Time{}
			fill(l.Window)
		case err != nil:
			p.err = err
		case n >= turnHeader+turnStamp && binary.BigEndian.Uint16(b[:]) == turnChannel:
			p.trips.Add(1)
			if len(p.samples) < turnSamples {
				p.samples = append(p.samples, time.Since(begin)-time.Duration(binary.BigEndian.Uint64(b[turnHeader:])))
			}
			fill(1)
		}
	}
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// turnAttribute is an attribute given by its bytes.
type turnAttribute struct {
	t stun.AttrType
	v []byte
}

// AddTo adds the attribute.
func (a turnAttribute) AddTo(m *stun.Message) error { m.Add(a.t, a.v); return nil }

// turnPeer is XOR-PEER-ADDRESS.
type turnPeer netip.AddrPort

// AddTo adds the attribute.
func (p turnPeer) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().Unmap().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}
