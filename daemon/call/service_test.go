package call

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	defer d.mu.Unlock()
	d.records = append(d.records, r.Call)
	return nil
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

// The callee opens nothing before it answers. Then media flow and can be muted, and either
// side ends the call for both; the events are recorded.
func TestServiceCall(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		if bob.opened != 0 {
			t.Fatal("media are open before the accept")
		}
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		if _, err := alice.s.Mute(context.Background(), "", false, true); err != nil {
			t.Fatal(err)
		}
		settle(5 * time.Second)
		if !alice.last.muted[0] {
			t.Error("not muted")
		}
		list, err := bob.s.Status(context.Background())
		if err != nil || len(list.Calls) != 1 || list.Calls[0].State != local.CallConnected {
			t.Errorf("status %+v, %v", list, err)
		}
		if _, err := alice.s.Start(context.Background(), local.CallStartParams{Peer: "bob@x"}, nil, nil); local.As(err).Code != local.CodeUsage {
			t.Errorf("a second call: %v", err)
		}
		if _, err := bob.s.Hangup(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
		out.want(t, local.CallHangup, "", "initiating", "ringing", "connecting", "connected", "ended")
		in.want(t, local.CallHangup, "", "connecting", "connected", "ended")
		if out.call.Duration < 5 || out.call.Stats == nil {
			t.Errorf("end %+v", out.call)
		}
		if n := len(bob.records); n != 3 || bob.records[0].State != local.CallRinging || bob.records[1].State != local.CallConnected {
			t.Errorf("records %+v", bob.records)
		}
	})
}

// Each way to fail has its own reason and code.
func TestServiceRefusals(t *testing.T) {
	t.Run("declined", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			if _, err := bob.s.Reject(context.Background(), ""); err != nil {
				t.Fatal(err)
			}
			out.want(t, local.CallDeclined, local.CodeRefused)
			settle(time.Second)
			if bob.records[1].Missed {
				t.Error("a call that was declined is missed")
			}
		})
	})
	t.Run("no answer", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			alice.start("bob@x").want(t, local.CallNoAnswer, local.CodeTimeout, "initiating", "ringing", "ended")
			settle(time.Minute)
			if len(bob.records) != 2 || !bob.records[1].Missed {
				t.Errorf("a missed call leaves %+v", bob.records)
			}
		})
	})
	t.Run("held back", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			for range 3 { // the caller had repeated it
				bob.s.LateOffer(account("alice@x"), alice.device, offerFor(idOf(77), 1))
				settle(time.Second)
			}
			if n := len(bob.records); n != 1 || !bob.records[0].Missed || bob.records[0].State != local.CallEnded {
				t.Errorf("an offer that was held back leaves %+v", bob.records)
			}
			// An existing call is not affected and is not replaced.
			out := alice.start("bob@x")
			settle(time.Second)
			bob.s.LateOffer(account("alice@x"), alice.device, offerFor(idOf(1), 1))
			settle(time.Second)
			if n := len(bob.records); n != 3 || !bob.records[2].Missed {
				t.Errorf("records %+v", bob.records)
			}
			out.cancel()
			out.want(t, local.CallCancelled, local.CodeInterrupted)
		})
	})
	t.Run("caller leaves", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			out.cancel()
			out.want(t, local.CallCancelled, local.CodeInterrupted)
			settle(time.Second)
			if n := len(bob.records); n != 2 || bob.records[1].Reason != local.CallCancelled || !bob.records[1].Missed {
				t.Errorf("records %+v", bob.records)
			}
		})
	})
	t.Run("nobody there", func(t *testing.T) {
		two(t, func(t *testing.T, alice, _ *desk) {
			alice.start("carol@x").want(t, local.CallOffline, local.CodeUnreachable)
		})
	})
	t.Run("no server", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			alice.away = local.Errorf(local.CodeUnreachable, "the server cannot be reached")
			out := alice.start("bob@x")
			out.want(t, "", local.CodeUnreachable)
			if alice.opened != 0 || local.As(out.err).Message != "the server cannot be reached" {
				t.Errorf("opened %d, %v", alice.opened, out.err)
			}
		})
	})
	t.Run("hung up before it was connected", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			alice.deaf, bob.deaf = true, true
			out := alice.start("bob@x")
			settle(time.Second)
			in := bob.answer(local.CallAnswerParams{})
			settle(time.Second)
			in.cancel()
			in.want(t, local.CallHangup, local.CodeInterrupted)
			out.want(t, local.CallHangup, local.CodeRefused, "initiating", "ringing", "connecting", "ended")
		})
	})
	t.Run("key changes while it rings", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			bob.s.KeyChanged(account("alice@x"))
			settle(time.Second)
			if _, err := bob.s.Answer(context.Background(), local.CallAnswerParams{}, nil, nil); local.As(err).Code != local.CodeNotFound {
				t.Errorf("answer: %v", err)
			}
			if bob.opened != 0 || bob.records[1].Reason != local.CallIdentity {
				t.Errorf("opened %d, records %+v", bob.opened, bob.records)
			}
			out.cancel()
			out.want(t, local.CallCancelled, local.CodeInterrupted)
		})
	})
	t.Run("no media at the callee", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			bob.fail = errors.New("no device")
			if _, err := bob.s.Answer(context.Background(), local.CallAnswerParams{}, nil, nil); err == nil {
				t.Error("answered without media")
			}
			bob.fail = nil // it keeps ringing
			in := bob.answer(local.CallAnswerParams{})
			settle(time.Second)
			in.cancel()
			in.want(t, local.CallHangup, "")
			out.want(t, local.CallHangup, "")
		})
	})
	t.Run("none rings", func(t *testing.T) {
		two(t, func(t *testing.T, _, bob *desk) {
			bob.answer(local.CallAnswerParams{}).want(t, "", local.CodeNotFound)
			bob.answer(local.CallAnswerParams{ID: "nonsense"}).want(t, "", local.CodeNotFound)
			bob.answer(local.CallAnswerParams{Auto: true, Timeout: 5}).want(t, "", local.CodeTimeout)
		})
	})
}

// A waiter for a peer's calls gets only that peer's calls. With the contact's policy a call
// is answered without a waiter.
func TestServiceAutoAnswer(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		others := bob.answer(local.CallAnswerParams{Auto: true, From: []string{"carol@x"}})
		policy := bob.answer(local.CallAnswerParams{Auto: true})
		settle(time.Second)
		out := alice.start("bob@x")
		settle(5 * time.Second)
		if bob.opened != 0 {
			t.Fatal("a call was taken that nobody waits for")
		}
		mine := bob.answer(local.CallAnswerParams{Auto: true, From: []string{"alice@x"}})
		settle(time.Second)
		mine.cancel()
		mine.want(t, local.CallHangup, "")
		out.want(t, local.CallHangup, "")

		bob.mu.Lock()
		bob.auto[account("alice@x")] = true
		bob.mu.Unlock()
		out = alice.start("bob@x")
		settle(time.Second)
		policy.cancel()
		policy.want(t, local.CallHangup, "")
		out.want(t, local.CallHangup, "")

		out = alice.start("bob@x") // no waiter: the device answers it
		settle(time.Second)
		out.cancel()
		out.want(t, local.CallHangup, "", "initiating", "ringing", "connecting", "connected", "ended")
		others.cancel()
		<-others.end
		if !errors.Is(others.err, context.Canceled) {
			t.Errorf("who waited for another: %v", others.err)
		}
	})
}

// A device that fails to answer a call automatically leaves it to a waiter that came
// meanwhile.
func TestServiceCannotAnswerAlone(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		bob.auto[account("alice@x")] = true
		bob.onOpen = func(m local.CallMedia) error {
			if m == (local.CallMedia{}) {
				settle(2 * time.Second)
				return local.Errorf(local.CodeIO, "there is no microphone")
			}
			return nil
		}
		out := alice.start("bob@x")
		settle(time.Second)
		p := local.CallAnswerParams{Auto: true}
		p.AudioIn = "test"
		in := bob.answer(p)
		settle(2 * time.Second)
		in.cancel()
		in.want(t, local.CallHangup, "")
		out.want(t, local.CallHangup, "", "initiating", "ringing", "connecting", "connected", "ended")
	})
}

// Two users call each other at the same time: both commands get the same call.
func TestServiceGlare(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		a := alice.start("bob@x")
		b := bob.start("alice@x")
		settle(5 * time.Second)
		a.cancel()
		a.want(t, local.CallHangup, "")
		b.want(t, local.CallHangup, "")
		if a.call.ID != b.call.ID || a.call.Direction == b.call.Direction || a.call.Duration == 0 {
			t.Errorf("%+v and %+v", a.call, b.call)
		}
	})
}

// A daemon that stops ends its calls, notifies the peers and leaves no goroutine.
func TestServiceStops(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		bob.cancel()
		in.want(t, local.CallDaemonRestart, local.CodeNoDaemon)
		out.want(t, local.CallHangup, "")
		<-bob.done
		if _, err := bob.s.Status(context.Background()); err == nil {
			t.Error("a service that has ended answers")
		}
	})
}

// A call given to a waiter that disconnects at that moment keeps ringing for the next one.
func TestServiceGivesBack(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		bob.auto[account("alice@x")] = true
		first := bob.answer(local.CallAnswerParams{Auto: true})
		settle(time.Second)
		second := bob.answer(local.CallAnswerParams{Auto: true})
		settle(time.Second)
		bob.checks = func() { first.cancel(); bob.checks = nil }
		out := alice.start("bob@x")
		settle(5 * time.Second)
		<-first.end
		if !errors.Is(first.err, context.Canceled) {
			t.Errorf("who left: %v", first.err)
		}
		second.cancel()
		second.want(t, local.CallHangup, "", "connecting", "connected", "ended")
		out.want(t, local.CallHangup, "")
	})
}

// A call ended by a stopping daemon was not hung up by its caller.
func TestServiceCallerOfStoppingDaemon(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		bob.ending.Store(true)
		in.cancel()
		in.want(t, local.CallDaemonRestart, local.CodeNoDaemon)
		out.want(t, local.CallHangup, "")
		if r := bob.records[len(bob.records)-1]; r.Reason != local.CallDaemonRestart {
			t.Errorf("kept %+v", r)
		}
	})
}
