package link

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

func outgoing(n byte, size int) *wire.Outgoing {
	id := make([]byte, 16)
	id[15] = n
	return &wire.Outgoing{MessageId: id, Class: wire.Class_CLASS_DURABLE, Recipient: "bob", Device: make([]byte, key.DeviceIDSize), Ciphertext: make([]byte, size)}
}

func TestOpeningOrder(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	h.value = []byte("older value")
	fences := make(chan *wire.Fence, 1)
	f.contact = func(p *peer) { fences <- p.fence(); p.drain() }
	l, ended, cancel := start(t, f.options(h))
	up(t, h)
	fence := get(t, fences, "fence")
	if string(fence.GetValue()) != "older value" || fence.GetSteps() != 7 || fence.GetProtocol() != 1 {
		t.Errorf("fence %v", fence)
	}
	h.mu.Lock()
	stored := string(h.value)
	h.mu.Unlock()
	if stored != "fence value 0001" {
		t.Errorf("stored %q", stored)
	}
	h.mu.Lock()
	times := slices.Clone(h.serverTimes)
	h.mu.Unlock()
	for _, at := range times {
		if time.Since(at).Abs() > time.Minute {
			t.Errorf("the server's time is %s", at)
		}
	}
	if len(times) != 2 || l.current() == nil {
		t.Errorf("%d connections told their server's time; contact connection: %v", len(times), l.current())
	}
	cancel()
	wants(t, get(t, ended, "end"), context.Canceled)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.events, []string{"up contact", "up replica", "down replica", "down contact"}) {
		t.Errorf("events %v", h.events)
	}
}

func TestSendAndResults(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	const n = 300 // more than one frame
	f.contact = func(p *peer) {
		p.fence()
		next := uint64(1)
		for next <= n {
			m := p.readContact()
			if m == nil {
				return
			}
			s := m.GetSend()
			if len(s.GetEnvelopes()) > wire.MaxBatch || s.GetSteps() != 11 {
				t.Errorf("frame of %d, steps %d", len(s.GetEnvelopes()), s.GetSteps())
			}
			var r wire.SendResult
			for _, e := range s.GetEnvelopes() {
				if e.GetSeq() != next {
					t.Errorf("seq %d, expected %d", e.GetSeq(), next)
				}
				if next == 5 {
					r.Rejected = append(r.Rejected, &wire.Rejected{Seq: next, Reason: wire.Reason_REASON_QUOTA, RetryAfterMs: 1500})
				} else {
					r.Accepted = append(r.Accepted, next)
				}
				next++
			}
			p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Stale{Stale: &wire.StaleManifest{Account: "bob", Manifests: [][]byte{{1}}}}})
			p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Result{Result: &r}})
		}
		p.drain()
	}
	l, _, _ := start(t, f.options(h))
	if err := l.Send(t.Context(), []*wire.Outgoing{outgoing(1, 10)}, 1); !errors.Is(err, ErrDown) {
		t.Fatalf("send while down: %v", err)
	}
	up(t, h)
	var all []*wire.Outgoing
	for i := range n {
		all = append(all, outgoing(byte(i), 1000))
	}
	check(t, l.Send(t.Context(), all, 11))
	got := 0
	for got < n {
		for _, r := range get(t, h.results, "results") {
			got++
			if r.Recipient != "bob" || r.Class != wire.Class_CLASS_DURABLE {
				t.Errorf("result %+v", r)
			}
			if rejected := r.MessageID[15] == 4 && !r.Accepted; rejected {
				if r.Reason != wire.Reason_REASON_QUOTA || r.Final || r.RetryAfter != 1500*time.Millisecond {
					t.Errorf("rejection %+v", r)
				}
			} else if !r.Accepted {
				t.Errorf("result %+v", r)
			}
		}
	}
	if get(t, h.stale, "stale manifest") != "bob" {
		t.Error("stale manifest of another account")
	}
	wants(t, l.Send(t.Context(), []*wire.Outgoing{outgoing(1, wire.MaxCiphertext+1)}, 1), ErrTooLarge)
}

func TestDeliverIsAcknowledgedCumulatively(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	gate := make(chan struct{})
	var calls atomic.Int32
	h.deliver = func([]*wire.Envelope) error {
		if calls.Add(1) == 1 {
			<-gate
		}
		return nil
	}
	acks := make(chan uint64, 100)
	f.replica = func(p *peer) {
		p.opened()
		for i := range uint64(10) {
			p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Deliver{Deliver: &wire.Deliver{
				First: 2*i + 1, Envelopes: []*wire.Envelope{{Sender: "bob"}, {Sender: "bob"}}}}})
		}
		for {
			m := p.readReplica()
			if m == nil {
				return
			}
			if m.GetAck().GetSteps() != 9 {
				t.Errorf("ack %v", m.GetAck())
			}
			acks <- m.GetAck().GetThrough()
		}
	}
	start(t, f.options(h))
	up(t, h)
	close(gate)
	var last uint64
	for last < 20 {
		a := get(t, acks, "ack")
		if a <= last {
			t.Fatalf("ack %d after %d", a, last)
		}
		last = a
	}
	total := 0
	for total < 20 {
		total += len(get(t, h.delivered, "delivery"))
	}
	if calls.Load() == 10 {
		t.Error("nothing was batched while the first commit ran")
	}
}

// TestCaughtUp: the handler is notified once, when everything that waited on the server is
// committed, or at once if nothing waited.
func TestCaughtUp(t *testing.T) {
	for _, backlog := range []uint64{0, 3} {
		f, h := newFake(t, newRealm(t)), newRecorder()
		early := make(chan int, 1)
		h.deliver = func([]*wire.Envelope) error {
			select {
			case early <- len(h.caughtUp):
			default:
			}
			return nil
		}
		f.replica = func(p *peer) {
			p.readReplica()
			p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Opened{Opened: &wire.ReplicaOpened{TimeMs: time.Now().UnixMilli(), Backlog: backlog}}})
			for i := range uint64(4) {
				p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Deliver{Deliver: &wire.Deliver{First: i + 1, Envelopes: []*wire.Envelope{{Sender: "bob"}}}}})
			}
			for m := p.readReplica(); m != nil && m.GetAck().GetThrough() < 4; m = p.readReplica() {
			}
			p.drain()
		}
		_, _, stop := start(t, f.options(h))
		get(t, h.caughtUp, "caught up")
		if n := get(t, early, "delivery"); backlog > 0 && n != 0 {
			t.Errorf("backlog %d: told before the first commit", backlog)
		}
		stop()
		if len(h.caughtUp) != 0 {
			t.Errorf("backlog %d: told %d times more", backlog, len(h.caughtUp))
		}
	}
}

func TestDeliverFailureDropsWithoutAck(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	var fail atomic.Bool
	fail.Store(true)
	h.deliver = func([]*wire.Envelope) error {
		if fail.CompareAndSwap(true, false) {
			return errors.New("no space left")
		}
		return nil
	}
	acks := make(chan uint64, 100)
	f.replica = func(p *peer) {
		p.opened()
		p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Deliver{Deliver: &wire.Deliver{First: 1, Envelopes: []*wire.Envelope{{Sender: "bob"}}}}})
		if m := p.readReplica(); m != nil {
			acks <- m.GetAck().GetThrough()
		}
		p.drain()
	}
	start(t, f.options(h))
	get(t, h.delivered, "second delivery")
	if get(t, acks, "ack") != 1 {
		t.Error("wrong ack")
	}
	if f.count("/v1/replica") != 2 || f.count("/v1/contact") != 1 {
		t.Errorf("replica %d times, contact %d times", f.count("/v1/replica"), f.count("/v1/contact"))
	}
}

func TestReconnects(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"connection cut": func(p *peer) { _ = p.ws.NetConn().Close() },
		"replaced":       func(p *peer) { p.bye(wire.Reason_REASON_REPLACED, "") },
		"shutdown":       func(p *peer) { p.bye(wire.Reason_REASON_SHUTDOWN, "") },
		"garbage":        func(p *peer) { p.write([]byte{0xff, 0xff, 0xff, 0xff}, nil) },
		"text frame":     func(p *peer) { _ = p.ws.WriteMessage(websocket.TextMessage, []byte("hello")) },
		"too long":       func(p *peer) { p.write(make([]byte, wire.MaxFrame+1), nil) },
		"answer to nothing": func(p *peer) {
			p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Result{Result: &wire.SendResult{Accepted: []uint64{1}}}})
		},
		"second fence": func(p *peer) {
			p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Confirmed{Confirmed: &wire.FenceConfirmed{}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := newFake(t, newRealm(t)), newRecorder()
			var n atomic.Int32
			ready := make(chan struct{})
			f.contact = func(p *peer) {
				p.fence()
				if n.Add(1) == 1 {
					<-ready
					end(p)
				}
				p.drain()
			}
			start(t, f.options(h))
			up(t, h)
			close(ready)
			// The replica connection ends with the contact connection.
			if d := get(t, h.downs, "end"); d.role != wire.RoleReplica {
				t.Errorf("%s ended first", d.role)
			}
			if d := get(t, h.downs, "end"); d.role != wire.RoleContact || d.err == nil {
				t.Errorf("%s ended: %v", d.role, d.err)
			}
			up(t, h)
			if len(h.fatal) != 0 {
				t.Error("taken for fatal")
			}
		})
	}
}

func TestReplicaAlone(t *testing.T) {
	for name, bad := range map[string]func(p *peer){
		"cut": func(p *peer) { _ = p.ws.NetConn().Close() },
		"gap in numbers": func(p *peer) {
			p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Deliver{Deliver: &wire.Deliver{First: 2, Envelopes: []*wire.Envelope{{}}}}})
		},
		"empty deliver": func(p *peer) {
			p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Deliver{Deliver: &wire.Deliver{First: 1}}})
		},
		"garbage": func(p *peer) { p.write([]byte{0x0a, 0xff}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			f, h := newFake(t, newRealm(t)), newRecorder()
			var n atomic.Int32
			f.replica = func(p *peer) {
				p.opened()
				if n.Add(1) == 1 {
					bad(p)
				}
				p.drain()
			}
			start(t, f.options(h))
			up(t, h)
			if d := get(t, h.downs, "end"); d.role != wire.RoleReplica {
				t.Errorf("%s ended", d.role)
			}
			if got := get(t, h.ups, "replica"); got != wire.RoleReplica {
				t.Errorf("%s came up", got)
			}
			if f.count("/v1/contact") != 1 {
				t.Error("the contact connection was remade")
			}
		})
	}
}

func TestFatal(t *testing.T) {
	for _, reason := range []wire.Reason{wire.Reason_REASON_STALE_FENCE, wire.Reason_REASON_REVOKED} {
		t.Run(reason.String(), func(t *testing.T) {
			f, h := newFake(t, newRealm(t)), newRecorder()
			f.contact = func(p *peer) { p.readContact(); p.bye(reason, wire.ByeOtherCopy); p.drain() }
			_, ended, _ := start(t, f.options(h))
			if got := get(t, h.fatal, "fatal"); got != reason {
				t.Errorf("reason %s", got)
			}
			err := get(t, ended, "end")
			bye, ok := errors.AsType[*ByeError](err)
			if !ok || bye.Reason != reason || bye.Text != wire.ByeOtherCopy {
				t.Errorf("Run returned %v", err)
			}
			if f.count("/v1/contact") != 1 || f.count("/v1/replica") != 0 {
				t.Error("connected again, or opened the replica connection")
			}
		})
	}
	t.Run("revoked while it was away", func(t *testing.T) {
		f, h := newFake(t, newRealm(t)), newRecorder()
		f.revoked = true
		_, ended, _ := start(t, f.options(h))
		equal := get(t, h.fatal, "fatal") == wire.Reason_REASON_REVOKED
		bye, ok := errors.AsType[*ByeError](get(t, ended, "end"))
		if !equal || !ok || bye.Reason != wire.Reason_REASON_REVOKED {
			t.Errorf("Run returned %v", bye)
		}
		if f.count("/v1/tokens") != 1 || f.count("/v1/contact") != 0 {
			t.Error("asked again")
		}
	})
	t.Run("replica says stale: the next fence decides", func(t *testing.T) {
		f, h := newFake(t, newRealm(t)), newRecorder()
		var n atomic.Int32
		f.contact = func(p *peer) {
			if n.Add(1) == 2 {
				p.readContact()
				p.bye(wire.Reason_REASON_STALE_FENCE, "")
			} else {
				p.fence()
			}
			p.drain()
		}
		f.replica = func(p *peer) {
			p.readReplica()
			p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Bye{Bye: &wire.Bye{Reason: wire.Reason_REASON_STALE_FENCE}}})
			p.drain()
		}
		start(t, f.options(h))
		if got := get(t, h.fatal, "fatal"); got != wire.Reason_REASON_STALE_FENCE || n.Load() != 2 {
			t.Errorf("fatal %s after %d contact connections", got, n.Load())
		}
	})
}

// TestHalfOpen is fault 12: a server that stops reading and writing.
func TestHalfOpen(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	f.contact = func(p *peer) { p.fence(); <-release }
	o := f.options(h)
	o.Endpoint.Timing.Ping = 150 * time.Millisecond
	start(t, o)
	get(t, h.ups, "contact")
	begin := time.Now()
	for {
		if d := get(t, h.downs, "end"); d.role == wire.RoleContact {
			break
		}
	}
	if d := time.Since(begin); d > 3*o.Endpoint.Timing.Ping {
		t.Errorf("found after %s", d)
	}
}

// TestIdleStaysUp is the counterpart of TestHalfOpen: pings alone keep the connection open.
func TestIdleStaysUp(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	o := f.options(h)
	o.Endpoint.Timing.Ping = 50 * time.Millisecond
	pongs := make(chan struct{}, 100)
	f.contact = func(p *peer) {
		p.fence()
		ping := p.ws.PingHandler()
		p.ws.SetPingHandler(func(s string) error { pongs <- struct{}{}; return ping(s) })
		p.drain()
	}
	start(t, o)
	up(t, h)
	for range 6 {
		get(t, pongs, "ping")
	}
	if len(h.downs) != 0 {
		t.Errorf("went down: %v", (<-h.downs).err)
	}
}

func TestPresence(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	f.contact = func(p *peer) {
		p.fence()
		m := p.readContact()
		if got := m.GetSubscribe(); !slices.Equal(got.GetAccounts(), []string{"bob"}) || !got.GetAnnounce() {
			t.Errorf("subscribe %v", got)
		}
		p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Presence{Presence: &wire.Presence{States: []*wire.PresenceState{{Account: "bob", Mutual: true}}}}})
		p.drain()
	}
	l, _, _ := start(t, f.options(h))
	up(t, h)
	check(t, l.Subscribe(t.Context(), []string{"bob"}, true))
	if s := get(t, h.presence, "presence"); len(s) != 1 || !s[0].GetMutual() {
		t.Errorf("presence %v", s)
	}
	wants(t, l.Subscribe(t.Context(), make([]string, wire.MaxSubscribe+1), true), ErrTooLarge)
}

// TestKickDuringAnAttempt kicks once during an attempt that will fail: the next attempt
// follows without another kick.
func TestKickDuringAnAttempt(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	o := f.options(h)
	o.Endpoint.Timing.BackoffMin, o.Endpoint.Timing.BackoffMax = time.Hour, time.Hour
	var n atomic.Int32
	begun, kicked := make(chan struct{}), make(chan struct{})
	f.contact = func(p *peer) {
		if n.Add(1) == 1 {
			close(begun)
			<-kicked
			return
		}
		p.fence()
		p.drain()
	}
	l, _, _ := start(t, o)
	<-begun
	l.Kick()
	close(kicked)
	get(t, h.downs, "failed attempt")
	up(t, h)
}

func TestKickEndsWait(t *testing.T) {
	f, h := newFake(t, newRealm(t)), newRecorder()
	o := f.options(h)
	o.Endpoint.Timing.BackoffMin, o.Endpoint.Timing.BackoffMax = time.Hour, time.Hour
	var n atomic.Int32
	f.contact = func(p *peer) {
		if n.Add(1) == 1 {
			return
		}
		p.fence()
		p.drain()
	}
	l, _, _ := start(t, o)
	get(t, h.downs, "failed attempt")
	for len(h.ups) == 0 && t.Context().Err() == nil {
		l.Kick() // until the delay has begun
		select {
		case r := <-h.ups:
			h.ups <- r
		case <-time.After(10 * time.Millisecond):
		}
	}
	up(t, h)
}
