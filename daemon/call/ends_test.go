package call

import (
	"context"
	"testing"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// steps feeds events to a machine that has no calls, and returns all effects.
func steps(t *testing.T, s State, list ...Event) (State, []Effect) {
	t.Helper()
	var all []Effect
	for _, e := range list {
		var f []Effect
		s, f = Next(s, e)
		all = append(all, f...)
	}
	return s, all
}

// told returns how a call ended, according to the effects.
func told(list []Effect) (end Tell, ended int) {
	for _, f := range list {
		if x, ok := f.(Tell); ok && x.Reason != "" {
			end = x
			ended++
		}
	}
	return end, ended
}

// calling returns the events of a call that was offered to devices 1 and 2.
func calling(id ID) []Event {
	return []Event{
		Start{ID: id, Peer: account("bob@x"), Ring: time.Minute},
		Described{ID: id, SDP: "offer", Fingerprint: print32(1)},
		Sent{ID: id, Devices: []key.DeviceID{deviceOf(1), deviceOf(2)}},
	}
}

func signalOf(d int, c *e2e.Call) Signal {
	return Signal{Peer: account("bob@x"), Device: deviceOf(d), Call: c}
}

// A busy answer may arrive before it is known which devices got the offer: another one may
// still answer the call.
func TestBusyBeforeTheOthersAreKnown(t *testing.T) {
	id := idOf(1)
	list := calling(id)
	s, _ := steps(t, State{}, list[0], list[1], signalOf(1, endSignal(id, e2e.CallReason_CALL_REASON_BUSY)))
	if s.Find(id) == nil {
		t.Fatal("one busy device ended the call for all")
	}
	s, _ = steps(t, s, list[2], signalOf(2, ringingSignal(id)))
	if c := s.Find(id); c == nil || c.Phase != Ringing {
		t.Fatal("the other device does not ring")
	}
	// If it was the only device, the call ends as soon as that is known.
	_, effects := steps(t, State{}, list[0], list[1], signalOf(1, endSignal(id, e2e.CallReason_CALL_REASON_BUSY)), Sent{ID: id, Devices: []key.DeviceID{deviceOf(1)}})
	if end, _ := told(effects); end.Reason != local.CallBusy {
		t.Errorf("ended %q", end.Reason)
	}
	_, effects = steps(t, State{}, list[0], list[1], Undelivered{ID: id, Device: deviceOf(1), Gone: true}, Sent{ID: id, Devices: []key.DeviceID{deviceOf(1)}})
	if end, _ := told(effects); end.Reason != local.CallOffline {
		t.Errorf("away before that was known: ended %q", end.Reason)
	}
}

// A device that rang and then stays silent gets the offer again: its daemon was restarted,
// or it was disconnected for a moment. A device that keeps reporting does not.
func TestSilentDeviceIsCalledAnew(t *testing.T) {
	w := newWorld(t, 5, 0, 1, 2)
	a, b := w.nodes[0], w.nodes[1]
	id := a.call()
	w.run(w.now + time.Second)
	b.crash()
	w.run(w.now + 20*time.Second)
	if c := b.s.Find(id); c == nil || c.Phase != Ringing {
		t.Fatal("the device that was restarted does not ring again")
	}
	b.takeAny()
	w.run(w.now + 5*time.Second)
	if c := a.s.Find(id); c == nil || c.Phase != Connected {
		t.Error("the call does not stand")
	}
	if err := w.settled(); err != nil {
		t.Error(err)
	}
}

// A device that missed the signal that another one took the call learns it later, even
// after that call: it is not a missed call.
func TestAnsweredElsewhereAfterTheEnd(t *testing.T) {
	id := idOf(1)
	s, _ := steps(t, State{}, append(calling(id), signalOf(1, answerFor(id, 2)), MediaUp{ID: id}, Hangup{ID: id})...)
	_, effects := steps(t, s, signalOf(2, ringingSignal(id)), signalOf(1, ringingSignal(id)))
	var got []e2e.CallReason
	for _, f := range effects {
		if x, ok := f.(Send); ok {
			got = append(got, x.Call.GetEnd().GetReason())
		}
	}
	if len(got) != 2 || got[0] != e2e.CallReason_CALL_REASON_TAKEN || got[1] != e2e.CallReason_CALL_REASON_HANGUP {
		t.Errorf("told %v", got)
	}
}

// If the peer closes the connection, the call ends once, with or without the end signal.
// Before the call is answered there is no connection.
func TestClosedConnection(t *testing.T) {
	id := idOf(1)
	s, _ := steps(t, State{}, append(calling(id), signalOf(1, answerFor(id, 2)), MediaUp{ID: id})...)
	s, effects := steps(t, s, MediaDown{ID: id, Closed: true}, MediaDown{ID: id, Closed: true})
	if c := s.Find(id); c == nil || c.Phase != Connected {
		t.Fatal("the call does not wait for the peer's signal")
	}
	var timer *StartTimer
	for _, f := range effects {
		if x, ok := f.(StartTimer); ok {
			if timer != nil {
				t.Fatal("two timers")
			}
			timer = &x
		}
	}
	if timer == nil || timer.After != closedFor {
		t.Fatalf("timer %+v", timer)
	}
	late := Expired{ID: id, Timer: timer.Timer, Serial: timer.Serial}
	_, effects = steps(t, s, late)
	if end, n := told(effects); n != 1 || end.Reason != local.CallHangup || !end.Call.PeerEnded {
		t.Errorf("ended %+v", end)
	}
	_, effects = steps(t, s, signalOf(1, endSignal(id, e2e.CallReason_CALL_REASON_HANGUP)), late)
	if end, n := told(effects); n != 1 || end.Reason != local.CallHangup {
		t.Errorf("with a signal: ended %d times, %+v", n, end)
	}
}

// When a peer is blocked or removed from the contacts, its calls end at once.
func TestUnwanted(t *testing.T) {
	for name, tc := range map[string]struct {
		events []Event
		reason string
	}{
		"rings here": {[]Event{signalOf(1, offerFor(idOf(1), 1))}, local.CallDeclined},
		"is called":  {calling(idOf(1)), local.CallCancelled},
		"connected":  {append(calling(idOf(1)), signalOf(1, answerFor(idOf(1), 2)), MediaUp{ID: idOf(1)}), local.CallHangup},
	} {
		s, _ := steps(t, State{}, tc.events...)
		s, _ = steps(t, s, Unwanted{Peer: account("carol@x")})
		if len(s.Calls) != 1 {
			t.Fatalf("%s: another's wish ended the call", name)
		}
		s, effects := steps(t, s, Unwanted{Peer: account("bob@x")})
		if end, n := told(effects); n != 1 || end.Reason != tc.reason || len(s.Calls) != 0 {
			t.Errorf("%s: ended %q", name, end.Reason)
		}
	}
}

// The error of a call that could not be made reaches the caller with its code.
func TestServiceCodes(t *testing.T) {
	for _, code := range []local.Code{local.CodeRateLimited, local.CodeNotFound, local.CodeRefused, local.CodeUnreachable} {
		two(t, func(t *testing.T, alice, _ *desk) {
			alice.sends = local.Errorf(code, "the reason")
			out := alice.start("bob@x")
			out.want(t, local.CallOffline, code, "initiating", "ended")
			if local.As(out.err).Message != "the reason" {
				t.Errorf("message %q", local.As(out.err).Message)
			}
		})
	}
	two(t, func(t *testing.T, alice, bob *desk) { // the relay does not forward the signal
		bob.mute = true
		out := alice.start("bob@x")
		settle(time.Second)
		alice.s.Undelivered(alice.lastID(), bob.device, false, true)
		out.want(t, local.CallDeclined, local.CodeRefused)
	})
	two(t, func(t *testing.T, alice, _ *desk) {
		for _, ring := range []float64{0.0001, -1, 601, 1e300} {
			if _, err := alice.s.Start(context.Background(), local.CallStartParams{Peer: "bob@x", Ring: ring}, nil, nil); local.As(err).Code != local.CodeUsage {
				t.Errorf("ring %g: %v", ring, err)
			}
		}
	})
}

// A daemon that stops accepts no calls, so it does not wait for their end.
func TestServiceStopsThoughCalled(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		bob.mu.Lock()
		bob.onClose = func() { bob.s.Signal(account("carol@x"), deviceOf(7), offerFor(idOf(77), 1)) }
		bob.mu.Unlock()
		began := time.Now()
		bob.cancel()
		<-bob.done
		if took := time.Since(began); took > stopFor+time.Second {
			t.Errorf("it took %s to stop", took)
		}
		in.want(t, local.CallDaemonRestart, local.CodeNoDaemon)
		out.want(t, local.CallHangup, "")
	})
}

// Without an id, a hangup means the active call, not one that rings at the same time.
func TestServiceHangsUpItsOwn(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		alice.s.Signal(account("carol@x"), deviceOf(7), offerFor(idOf(77), 1))
		out := alice.start("bob@x")
		settle(time.Second)
		if _, err := alice.s.Hangup(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
		out.want(t, local.CallCancelled, local.CodeInterrupted)
		if _, err := alice.s.Hangup(context.Background(), ""); err != nil {
			t.Error("the one that rings:", err)
		}
	})
}

// An owner that reads no events still learns how the call ended.
func TestServiceSlowOwnerSeesTheEnd(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		read := make(chan struct{})
		var last local.Event
		out := carry(func(ctx context.Context, _ func(local.Event)) (local.Call, error) {
			return alice.s.Start(ctx, local.CallStartParams{Peer: "bob@x"}, nil, func(e local.Event) {
				<-read
				last = e
			})
		})
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		for range 2 * ownerBuffer {
			alice.last.events <- MediaEvent{Stats: &local.CallStats{}}
			settle(time.Millisecond)
		}
		in.cancel()
		in.want(t, local.CallHangup, "")
		settle(time.Second)
		close(read)
		out.want(t, local.CallHangup, "")
		if last.Call == nil || last.Call.State != local.CallEnded {
			t.Errorf("the last event is %+v", last.Call)
		}
	})
}

// The peer closes the connection, and its end signal is lost.
func TestServiceConnectionClosed(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		alice.last.events <- MediaEvent{Closed: true}
		out.want(t, local.CallHangup, "", "initiating", "ringing", "connecting", "connected", "ended")
		in.want(t, local.CallHangup, "")
	})
}
