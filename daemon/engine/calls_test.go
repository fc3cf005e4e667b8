package engine

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// heard is a CallHandler that keeps what it is told.
type heard struct {
	mu      sync.Mutex
	signals []CallSignal
	lost    []CallUndelivered
	changed []identity.Address
}

func (h *heard) CallSignal(s CallSignal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signals = append(h.signals, s)
}

func (h *heard) CallUndelivered(u CallUndelivered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = append(h.lost, u)
}

func (h *heard) CallKeyChanged(a identity.Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = append(h.changed, a)
}

func (h *heard) counts() (signals, lost, changed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.signals), len(h.lost), len(h.changed)
}

// hears gives a person's engine a handler of calls.
func (p *person) hears() *heard {
	h := new(heard)
	if err := p.engine.do(context.Background(), func() error { p.engine.signals.handler = h; return nil }); err != nil {
		p.t.Fatal(err)
	}
	return h
}

func ringSignal(n byte) *e2e.Call {
	id := make([]byte, 16)
	id[0] = n
	return &e2e.Call{Id: id, What: &e2e.Call_Offer{Offer: &e2e.CallOffer{
		Sdp: "v=0 the candidate of 192.0.2.7", Secret: make([]byte, 32), Fingerprint: make([]byte, 32), Audio: true, RingMs: 60_000,
	}}}
}

func (p *person) signal(to *person, c *e2e.Call) error {
	_, err := p.engine.SendCall(context.Background(), to.addr, nil, c)
	return err
}

func wantCode(t *testing.T, err error, code local.Code) {
	t.Helper()
	if err == nil || local.As(err).Code != code {
		t.Errorf("error %v, want code %s", err, code)
	}
}

// A signal goes to a contact without a session before, as class online, and
// nothing of it is kept: no outbox row, no envelope, no message.
func TestCallSignalTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		alice.add("bob")
		bob.add("alice")
		settleDown(time.Second)
		h := bob.hears()
		if err := alice.signal(bob, ringSignal(1)); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Second)
		if n, _, _ := h.counts(); n != 1 {
			t.Fatalf("%d signals", n)
		}
		s := h.signals[0]
		if s.Peer != alice.addr || s.Device != alice.device || s.Call.GetOffer().GetSdp() == "" {
			t.Errorf("signal %+v", s)
		}
		r.mu.Lock()
		for _, o := range r.seen {
			if o.GetClass() == wire.Class_CLASS_ONLINE && o.GetExpiresMs() == 0 {
				t.Error("a signal without end")
			}
		}
		r.mu.Unlock()
		out, err := alice.engine.Outbox(context.Background())
		if err != nil || len(out.Results) > 0 {
			t.Errorf("outbox: %v, %v", out.Results, err)
		}
		if len(alice.history("bob"))+len(bob.history("alice")) > 0 {
			t.Error("a signal is in history")
		}
	})
}

// Who is no contact, is blocked, or has changed its key is not called (attack
// F12), and without the server nothing waits.
func TestCallIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		err := alice.st.Update(context.Background(), func(tx *store.Tx) error { return alice.trust.Remove(tx, alice.account, bob.addr) })
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, alice.signal(bob, ringSignal(1)), local.CodeNotFound)
		alice.add("bob")
		bob.add("alice")
		settleDown(time.Second)
		h := bob.hears()
		own := alice.hears()
		if err := alice.signal(bob, ringSignal(1)); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Second)
		alice.changeKeyOf(bob)
		wantCode(t, alice.signal(bob, ringSignal(2)), local.CodeUntrusted)
		_, err = alice.engine.CheckCall(context.Background(), "bob")
		wantCode(t, err, local.CodeUntrusted)
		// What the changed one sends is dropped, not kept for a decision.
		if err := bob.signal(alice, ringSignal(3)); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Second)
		if n, _, _ := own.counts(); n != 0 {
			t.Error("a call of a changed key came through")
		}
		var parked int
		err = alice.st.View(context.Background(), func(tx *store.Tx) (err error) {
			parked, err = tx.CountAllParked(alice.account)
			return err
		})
		if err != nil || parked != 0 {
			t.Errorf("%d signals are kept, %v", parked, err)
		}
		if n, _, _ := h.counts(); n != 1 {
			t.Errorf("%d signals left", n)
		}
		bob.link.disconnect()
		settleDown(time.Second)
		wantCode(t, bob.signal(alice, ringSignal(4)), local.CodeUnreachable)
	})
}

// changeKeyOf notes another key of a peer, as a look-up that shows one does.
func (p *person) changeKeyOf(peer *person) {
	p.t.Helper()
	err := p.st.Update(context.Background(), func(tx *store.Tx) error {
		id, err := tx.FindPeer(p.account, peer.addr.String())
		if err != nil {
			return err
		}
		c, err := tx.Contact(p.account, id)
		if err != nil {
			return err
		}
		c.Changed = append([]byte{1}, c.Pin[1:]...)
		if err := tx.SaveContact(c); err != nil {
			return err
		}
		return p.engine.NotifyIdentity(tx, peer.addr, local.Identity{Change: local.ChangeKey, Fingerprint: "x"})
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// A change of key is told to the calls at once.
func TestCallsHearOfAChangedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		defer stopAll(people...)
		people[0].add("bob")
		people[1].add("alice")
		settleDown(time.Second)
		people[0].send("bob", "hi")
		settleDown(time.Second)
		h := people[0].hears()
		people[0].changeKeyOf(people[1])
		settleDown(time.Second)
		if _, _, n := h.counts(); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// A hundred offers a second from a contact (attack F13): few come through, the
// others are counted.
func TestCallOffersAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		alice.add("bob")
		bob.add("alice")
		settleDown(time.Second)
		h := bob.hears()
		for i := range 100 {
			if err := alice.signal(bob, ringSignal(byte(i))); err != nil {
				t.Fatal(err)
			}
			settleDown(10 * time.Millisecond)
		}
		settleDown(time.Second)
		n, _, _ := h.counts()
		if n < offerBurst || n > offerBurst+2 {
			t.Errorf("%d offers came through", n)
		}
		counts, err := bob.engine.Counts(context.Background())
		if err != nil || counts[countCallLimited] != int64(100-n) {
			t.Errorf("counts %v, %v", counts, err)
		}
		settleDown(time.Minute)
		if err := alice.signal(bob, ringSignal(200)); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Second)
		if m, _, _ := h.counts(); m != n+1 {
			t.Error("a call after the flood does not come through")
		}
	})
}

// The relay's refusals are told, each with what it means.
func TestUndeliveredSignalsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, people := world(t, "alice", "bob")
		alice, bob := people[0], people[1]
		defer stopAll(people...)
		alice.add("bob")
		bob.add("alice")
		settleDown(time.Second)
		h := alice.hears()
		for _, tc := range []struct {
			reason                   wire.Reason
			final                    bool
			offline, refused, denied bool
		}{
			{wire.Reason_REASON_OFFLINE, true, true, false, false},
			{wire.Reason_REASON_REQUEST, false, false, false, true},
			{wire.Reason_REASON_BLOCKED, true, false, false, true},
			{wire.Reason_REASON_DEVICE_GONE, true, false, true, false},
			{wire.Reason_REASON_EXPIRED, true, false, false, false},
			{wire.Reason_REASON_RATE, false, false, false, false},
		} {
			r.mu.Lock()
			r.reject = func(_ string, o *wire.Outgoing) (link.Result, bool) {
				return link.Result{Reason: tc.reason, Final: tc.final}, o.GetClass() == wire.Class_CLASS_ONLINE
			}
			r.mu.Unlock()
			h.mu.Lock()
			h.lost = nil
			h.mu.Unlock()
			if err := alice.signal(bob, ringSignal(9)); err != nil {
				t.Fatal(err)
			}
			settleDown(time.Second)
			h.mu.Lock()
			if len(h.lost) != 1 || h.lost[0] != (CallUndelivered{Call: [16]byte{9}, Device: key.DeviceID(bob.device), Offline: tc.offline, Refused: tc.refused, Denied: tc.denied}) {
				t.Errorf("%s: told %+v", tc.reason, h.lost)
			}
			h.mu.Unlock()
		}
	})
}

// A call is in the journal with each of its changes, and in history once it has
// ended; a peer that chose the id of a message changes nothing.
func TestCallsAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice := people[0]
		defer stopAll(people...)
		alice.add("bob")
		settleDown(time.Second)
		sent := alice.send("bob", "before")
		c := local.Call{ID: "01980000-0000-7000-8000-000000000001", State: local.CallRinging, Direction: local.DirectionIn, Audio: true}
		record := func(c local.Call) {
			t.Helper()
			if err := alice.engine.RecordCall(context.Background(), CallRecord{Peer: people[1].addr, Device: people[1].device, Began: time.Now(), Call: c}); err != nil {
				t.Fatal(err)
			}
		}
		record(c)
		c.State, c.Reason, c.Missed = local.CallEnded, local.CallNoAnswer, true
		record(c)
		c.ID = sent.ID
		record(c)
		events := alice.events(local.TypeCall)
		if len(events) != 3 || events[1].Call == nil || !events[1].Call.Missed || events[1].ID == events[1].Call.ID {
			t.Fatalf("events %+v", events)
		}
		h := alice.history("bob")
		if len(h) != 2 || h[0].Message == nil || h[0].Message.Text != "before" || h[1].Call == nil || h[1].ID != h[1].Call.ID {
			t.Fatalf("history %+v", h)
		}
		list, err := alice.engine.ListCalls(context.Background(), local.CallListParams{Peer: "bob"})
		if err != nil || len(list.Events) != 1 || list.Events[0].Type != local.TypeCall {
			t.Errorf("list %+v, %v", list, err)
		}
	})
}

// A daemon that is killed has recorded no end of its calls; the next start does,
// once. A missed call that rings again after that and is missed again is told
// once; one that is taken then is no missed one.
func TestCallsOfAKilledDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice", "bob")
		alice := people[0]
		defer stopAll(people...)
		alice.add("bob")
		settleDown(time.Second)
		call := func(n string) local.Call {
			return local.Call{ID: "01980000-0000-7000-8000-00000000000" + n, State: local.CallRinging, Direction: local.DirectionIn, Audio: true}
		}
		record := func(c local.Call) {
			t.Helper()
			if err := alice.engine.RecordCall(context.Background(), CallRecord{Peer: people[1].addr, Device: people[1].device, Began: time.Now(), Call: c}); err != nil {
				t.Fatal(err)
			}
		}
		ended := func(c local.Call, reason string) local.Call {
			c.State, c.Reason, c.Missed = local.CallEnded, reason, reason == local.CallNoAnswer
			return c
		}
		rings, talks, own, over := call("1"), call("2"), call("3"), call("4")
		record(rings)
		record(talks)
		talks.State = local.CallConnected
		record(talks)
		own.State, own.Direction = local.CallConnected, local.DirectionOut
		record(own)
		record(over)
		record(ended(over, local.CallHangup))
		for range 2 { // the second start has nothing to end
			alice.restart()
			settleDown(time.Second)
		}
		want := func(missed int, reasons ...string) {
			t.Helper()
			list, err := alice.engine.ListCalls(context.Background(), local.CallListParams{})
			if err != nil || len(list.Events) != 4 {
				t.Fatalf("list %+v, %v", list.Events, err)
			}
			of := map[string]local.Call{}
			for _, e := range list.Events {
				of[e.Call.ID] = *e.Call
			}
			for i, c := range []local.Call{rings, talks, own, over} {
				got := of[c.ID]
				if got.State != local.CallEnded || got.Reason != reasons[i] || got.Direction != c.Direction || !got.Audio || got.Missed != (i == 0 && reasons[0] == local.CallDaemonRestart) {
					t.Errorf("call %d: %+v", i+1, got)
				}
			}
			n := 0
			for _, e := range alice.events(local.TypeCall) {
				if e.Call.Missed {
					n++
				}
			}
			if n != missed {
				t.Errorf("%d events of missed calls, want %d", n, missed)
			}
		}
		restart := local.CallDaemonRestart
		want(1, restart, restart, restart, local.CallHangup)
		record(rings)
		record(ended(rings, local.CallNoAnswer))
		want(1, restart, restart, restart, local.CallHangup)
		record(rings)
		record(ended(rings, local.CallHangup))
		want(1, local.CallHangup, restart, restart, local.CallHangup)
		// A call that was not missed is not changed by one of the same id.
		record(ended(talks, local.CallDeclined))
		want(1, local.CallHangup, restart, restart, local.CallHangup)
	})
}

// A call waits for the connection of a daemon that has just started, as a send
// does, and no longer.
func TestCallWaitsForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, people := world(t, "alice")
		alice := people[0]
		defer stopAll(people...)
		ctx := context.Background()
		if err := alice.engine.Reachable(ctx); err != nil {
			t.Error(err)
		}
		alice.link.disconnect()
		began := time.Now()
		wantCode(t, alice.engine.Reachable(ctx), local.CodeUnreachable)
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("waited %s", d)
		}
		got := make(chan error, 1)
		go func() { got <- alice.engine.Reachable(ctx) }()
		settleDown(2 * time.Second)
		select {
		case err := <-got:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		alice.link.connect()
		settleDown(0)
		select {
		case err := <-got:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("waits on with a connection")
		}
	})
}
