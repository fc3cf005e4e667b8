package call

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// desk is a device with a Service. Its signals reach other desks at once, and its media
// connect to media with the same keys.
type desk struct {
	t       *testing.T
	net     *desks
	address identity.Address
	device  key.DeviceID
	s       *Service
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	records []local.Call
	held    chan struct{} // nothing is recorded before it is closed; nil: at once
	auto    map[identity.Address]bool
	fail    error // when opening media
	opened  int
	closed  int
	last    *fakeSession
	refuse  error  // when sending and checking
	sends   error  // when sending
	mute    bool   // its service receives nothing
	away    error  // when connecting to the server
	deaf    bool   // its media never connect
	nothing error  // when answering an offer
	onClose func() // when a connection is closed
	onOpen  func(local.CallMedia) error
	checks  func()
	ending  atomic.Bool
}

// desks are all devices of a test.
type desks struct {
	mu       sync.Mutex
	list     []*desk
	sessions map[ID][]*fakeSession
}

func (n *desks) add(t *testing.T, address string, device int) *desk {
	d := &desk{t: t, net: n, address: account(address), device: deviceOf(device), auto: map[identity.Address]bool{}, done: make(chan struct{})}
	d.s = New(Options{Self: d.device, Signals: d, Media: d, Stopping: d.ending.Load})
	n.list = append(n.list, d)
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(d.done)
		_ = d.s.Run(ctx)
	}()
	return d
}

func (d *desk) stop() {
	d.cancel()
	<-d.done
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opened != d.closed {
		d.t.Errorf("%s: %d connections opened, %d closed", d.address, d.opened, d.closed)
	}
}

// Check implements Signals.
func (d *desk) Check(_ context.Context, name string) (identity.Address, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.checks != nil {
		d.checks()
	}
	return account(name), d.refuse
}

// Reachable implements Signals.
func (d *desk) Reachable(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.away
}

// Send implements Signals.
func (d *desk) Send(_ context.Context, peer identity.Address, to *key.DeviceID, c *e2e.Call) ([]key.DeviceID, error) {
	d.mu.Lock()
	refuse := d.refuse
	if refuse == nil {
		refuse = d.sends
	}
	d.mu.Unlock()
	if refuse != nil {
		return nil, refuse
	}
	var sent []key.DeviceID
	for _, other := range d.net.list {
		if other.address == peer && (to == nil || *to == other.device) {
			sent = append(sent, other.device)
			if other.mute {
				continue
			}
			other.s.Signal(d.address, d.device, c)
		}
	}
	if len(sent) == 0 {
		return nil, local.Errorf(local.CodeUnreachable, "nobody")
	}
	return sent, nil
}

// lastID returns this desk's call.
func (d *desk) lastID() ID {
	list, err := d.s.Status(context.Background())
	if err != nil || len(list.Calls) != 1 {
		d.t.Fatalf("calls %+v, %v", list, err)
	}
	id, err := ParseID(list.Calls[0].ID)
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}

// AutoAnswer implements Signals.
func (d *desk) AutoAnswer(_ context.Context, peer identity.Address) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.auto[peer], nil
}

// Record implements Signals.
func (d *desk) Record(_ context.Context, r Record) error {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		<-held
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = append(d.records, r.Call)
	return nil
}

// holdRecords has the recording of calls stand still until release is called.
func (d *desk) holdRecords() (release func()) {
	held := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = held
	return func() { close(held) }
}

// Event implements Signals.
func (d *desk) Event(r Record) local.Event {
	return local.Event{Type: local.TypeCall, Peer: r.Peer.String(), Call: &r.Call}
}

// Open implements Media.
func (d *desk) Open(_ context.Context, caller bool, m local.CallMedia, _ Streams) (Session, error) {
	if d.onOpen != nil {
		if err := d.onOpen(m); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return nil, d.fail
	}
	d.opened++
	d.last = &fakeSession{desk: d, caller: caller, events: make(chan MediaEvent, 100)}
	return d.last, nil
}

// fakeSession connects to the session with the same keys.
type fakeSession struct {
	desk   *desk
	caller bool
	events chan MediaEvent
	keys   Keys    // guarded by desks.mu
	muted  [2]bool // guarded by desks.mu
	closed bool    // guarded by desks.mu
}

func (f *fakeSession) Offers() (audio, video bool) { return true, false }

func (f *fakeSession) Offer(context.Context) (string, []byte, error) {
	f.events <- MediaEvent{Candidate: "caller's"}
	return "offer", print32(1), nil
}

func (f *fakeSession) Accept(context.Context, string, []byte) (string, []byte, error) {
	f.desk.mu.Lock()
	nothing := f.desk.nothing
	f.desk.mu.Unlock()
	if nothing != nil {
		return "", nil, nothing
	}
	f.events <- MediaEvent{Candidate: "callee's"}
	return "answer", print32(2), nil
}

func (f *fakeSession) Answer(string, []byte) error             { return nil }
func (f *fakeSession) Restart(context.Context) (string, error) { return "again", nil }
func (f *fakeSession) Events() <-chan MediaEvent               { return f.events }
func (f *fakeSession) AddCandidate(string) error               { return nil }
func (f *fakeSession) Close() (*local.CallStats, error) {
	n := f.desk.net
	f.desk.mu.Lock()
	onClose := f.desk.onClose
	f.desk.mu.Unlock()
	if onClose != nil {
		onClose()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f.closed = true
	close(f.events)
	f.desk.mu.Lock()
	f.desk.closed++
	f.desk.mu.Unlock()
	return &local.CallStats{Pair: "direct"}, nil
}

func (f *fakeSession) SetKeys(k Keys) error {
	n := f.desk.net
	n.mu.Lock()
	defer n.mu.Unlock()
	f.keys = k
	n.sessions[k.Call] = append(n.sessions[k.Call], f)
	for _, other := range n.sessions[k.Call] {
		if other != f && other.keys == k && !other.closed && !f.desk.deaf {
			f.events <- MediaEvent{Connected: true}
			other.events <- MediaEvent{Connected: true}
		}
	}
	return nil
}

func (f *fakeSession) Mute(video, on bool) {
	f.desk.net.mu.Lock()
	defer f.desk.net.mu.Unlock()
	if video {
		f.muted[1] = on
	} else {
		f.muted[0] = on
	}
}

// carried is a call that a goroutine waits for.
type carried struct {
	cancel context.CancelFunc
	end    chan struct{}
	mu     sync.Mutex
	states []string
	call   local.Call
	err    error
}

func carry(f func(ctx context.Context, events func(local.Event)) (local.Call, error)) *carried {
	ctx, cancel := context.WithCancel(context.Background())
	c := &carried{cancel: cancel, end: make(chan struct{})}
	go func() {
		defer close(c.end)
		defer cancel()
		c.call, c.err = f(ctx, func(e local.Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if n := len(c.states); n == 0 || c.states[n-1] != e.Call.State {
				c.states = append(c.states, e.Call.State)
			}
		})
	}()
	return c
}

func (d *desk) start(peer string) *carried {
	return carry(func(ctx context.Context, events func(local.Event)) (local.Call, error) {
		return d.s.Start(ctx, local.CallStartParams{Peer: peer}, nil, events)
	})
}

func (d *desk) answer(p local.CallAnswerParams) *carried {
	return carry(func(ctx context.Context, events func(local.Event)) (local.Call, error) {
		return d.s.Answer(ctx, p, nil, events)
	})
}

func (c *carried) want(t *testing.T, reason string, code local.Code, states ...string) {
	t.Helper()
	select {
	case <-c.end:
	case <-time.After(10 * time.Minute):
		t.Fatal("the call does not end")
	}
	got := local.Code("")
	if c.err != nil {
		got = local.As(c.err).Code
	}
	if c.call.Reason != reason || got != code {
		t.Errorf("ended %q with %v, want %q and %q", c.call.Reason, c.err, reason, code)
	}
	if len(states) > 0 && fmt.Sprint(c.states) != fmt.Sprint(states) {
		t.Errorf("states %v, want %v", c.states, states)
	}
}

func two(t *testing.T, f func(t *testing.T, alice, bob *desk)) {
	synctest.Test(t, func(t *testing.T) {
		n := &desks{sessions: map[ID][]*fakeSession{}}
		alice, bob := n.add(t, "alice@x", 1), n.add(t, "bob@x", 2)
		defer alice.stop()
		defer bob.stop()
		f(t, alice, bob)
	})
}

func settle(d time.Duration) {
	time.Sleep(d) // the fake clock of synctest
	synctest.Wait()
}
