package engine

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/history"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

func TestUpkeepRunsOneAtATime(t *testing.T) {
	cfg := Config{}.withDefaults()
	u := newUpkeep()
	if !u.begin() || u.begin() {
		t.Error("two upkeeps run at a time, or none")
	}
	if d := u.end(cfg, errors.New("away")); !near(d, cfg.BackoffMin) {
		t.Errorf("after a failure the next comes in %v", d)
	}
	if d := u.end(cfg, errors.New("away")); !near(d, 2*cfg.BackoffMin) {
		t.Errorf("after the second failure in %v", d)
	}
	if d := u.end(cfg, nil); d != cfg.Upkeep || !u.begin() {
		t.Errorf("after a success in %v", d)
	}
	u.stock()
	u.stock() // every upkeep says so
	select {
	case <-u.stocked:
	default:
		t.Error("stocked is not closed")
	}
}

// signalLog is a CallHandler that keeps what it is told.
type signalLog struct{ undelivered []CallUndelivered }

func (*signalLog) CallSignal(CallSignal)               {}
func (l *signalLog) CallUndelivered(u CallUndelivered) { l.undelivered = append(l.undelivered, u) }
func (*signalLog) CallKeyChanged(identity.Address)     {}

func TestSignalsReportWhatDidNotArrive(t *testing.T) {
	log := &signalLog{}
	s := newSignals(log)
	id, call, device := store.MessageID{1}, [16]byte{9}, key.DeviceID{2}
	answer := func(r link.Result) *CallUndelivered {
		log.undelivered = nil
		s.sent(id, []key.DeviceID{device}, call)
		r.MessageID, r.Device = id, device
		s.answered(r)
		s.answered(r) // an answer that comes twice counts once
		if len(log.undelivered) > 1 {
			t.Errorf("told %d times", len(log.undelivered))
		}
		if len(log.undelivered) == 0 {
			return nil
		}
		return &log.undelivered[0]
	}
	if u := answer(link.Result{Accepted: true}); u != nil {
		t.Errorf("an accepted signal is reported: %+v", u)
	}
	for reason, want := range map[wire.Reason]CallUndelivered{
		wire.Reason_REASON_OFFLINE:     {Offline: true},
		wire.Reason_REASON_DEVICE_GONE: {Refused: true},
		wire.Reason_REASON_BLOCKED:     {Denied: true},
		wire.Reason_REASON_REQUEST:     {Denied: true},
		wire.Reason_REASON_EXPIRED:     {},
	} {
		want.Call, want.Device = call, device
		if u := answer(link.Result{Reason: reason, Final: true}); u == nil || *u != want {
			t.Errorf("%s: %+v, want %+v", reason, u, want)
		}
	}
	if u := answer(link.Result{Reason: wire.Reason_REASON_RATE}); u == nil || u.Refused {
		t.Errorf("a temporary refusal is final: %+v", u)
	}
	for n := range 2 * maxSignals {
		s.sent(store.MessageID{byte(n), byte(n >> 8)}, []key.DeviceID{device}, call)
	}
	if len(s.waiting) > maxSignals {
		t.Errorf("%d signals are remembered", len(s.waiting))
	}
	s.disconnected()
	if len(s.waiting) != 0 {
		t.Error("answers are awaited from a connection that has ended")
	}
}

func TestSignalsGiveATokenBack(t *testing.T) {
	s := newSignals(nil)
	for range offerBurst {
		if _, ok := s.admit(1, true); !ok {
			t.Fatal("an offer within the burst is refused")
		}
	}
	if _, ok := s.admit(1, true); ok {
		t.Error("an offer beyond the burst is admitted")
	}
	if _, ok := s.admit(2, true); !ok {
		t.Error("contacts share a rate")
	}
	if _, ok := s.admit(1, false); !ok {
		t.Error("offers use up the rate of other signals")
	}
	giveBack, _ := s.admit(3, true)
	for range offerBurst - 1 {
		s.admit(3, true)
	}
	giveBack()
	if _, ok := s.admit(3, true); !ok {
		t.Error("a token that was given back is lost")
	}
}

func TestProbesEndOnce(t *testing.T) {
	ps := make(probes)
	id := store.MessageID{1}
	p := &probe{done: make(chan probeEnd, 1)}
	ps[id] = p
	ps.answered(link.Result{MessageID: id, Accepted: true})
	ps.answered(link.Result{MessageID: store.MessageID{2}})
	if len(p.done) != 0 {
		t.Error("a probe ends before it is back")
	}
	ps.answered(link.Result{MessageID: id, Reason: wire.Reason_REASON_RATE})
	ps.failAll(local.Errorf(local.CodeUnreachable, "down"))
	p.end(probeEnd{round: time.Second})
	if end := <-p.done; end.err == nil || end.round != 0 || len(p.done) != 0 {
		t.Errorf("the first outcome is %+v, %d more", end, len(p.done))
	}
}

func TestWaitsTellAll(t *testing.T) {
	ws := make(waits)
	id := store.MessageID{1}
	a, b := ws.watch(id), ws.watch(id)
	ws.tell(id, history.Change{State: local.StateAccepted})
	for range 2 * maxChanges {
		ws.tell(id, history.Change{State: local.StateDelivered}) // must not block
	}
	for _, w := range []*wait{a, b} {
		if c := <-w.changes; c.State != local.StateAccepted || len(w.changes) != maxChanges-1 {
			t.Errorf("first %s, then %d more", c.State, len(w.changes))
		}
	}
	ws.unwatch(a)
	ws.tell(id, history.Change{State: local.StateRead})
	if len(a.changes) != maxChanges-1 || len(b.changes) != maxChanges {
		t.Errorf("after one left: %d and %d", len(a.changes), len(b.changes))
	}
	ws.unwatch(b)
	if len(ws) != 0 {
		t.Error("messages are remembered that nobody waits for")
	}
}

// maxFields bounds the fields of the Engine. Every method of an object may touch all
// of its fields, so that nobody can hold in mind what a long list of them allows.
// State that belongs together is a type with methods and tests of its own; a new
// field is a sign that one more is due.
const maxFields = 28

func TestEngineStaysSmall(t *testing.T) {
	if n := reflect.TypeFor[Engine]().NumField(); n > maxFields {
		t.Errorf("the Engine has %d fields, at most %d", n, maxFields)
	}
}
