package engine

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// modelRelay follows the relay's rules for pairs (serverd/relay/pairs.go): after a
// temporary refusal of an envelope the pair is blocked until that envelope comes
// again, or one with the resume flag; and envelopes that were admitted before an
// earlier one was refused are refused with it.
type modelRelay struct {
	pairs    map[[16]byte]*modelPair
	admitted []modelItem // in the order of admission, not yet committed
	answers  []link.Result
	accepted map[pairKey][]int64 // in the order of commit: their place in the order of sealing
}

type modelPair struct {
	blocked bool
	id      store.MessageID
	gen     int
}

type modelItem struct {
	key  flightKey
	pair pairKey
	ord  int64
	gen  int
}

func newModelRelay() *modelRelay {
	return &modelRelay{pairs: make(map[[16]byte]*modelPair), accepted: make(map[pairKey][]int64)}
}

// reconnect loses everything that belongs to a connection.
func (r *modelRelay) reconnect() {
	clear(r.pairs)
	r.admitted, r.answers = nil, nil
}

func (r *modelRelay) pair(device [16]byte) *modelPair {
	p := r.pairs[device]
	if p == nil {
		p = new(modelPair)
		r.pairs[device] = p
	}
	return p
}

// receive admits an envelope or refuses it at once; refuse is a reason for that.
func (r *modelRelay) receive(it modelItem, resume bool, refuse wire.Reason) {
	p := r.pair(it.key.device)
	switch {
	case p.blocked && p.id != it.key.id && !resume:
		r.answer(it, wire.Reason_REASON_ORDER)
		return
	case refuse != 0:
		if !p.blocked {
			p.blocked, p.id = true, it.key.id
		}
		r.answer(it, refuse)
		return
	}
	p.blocked = false
	it.gen = p.gen
	r.admitted = append(r.admitted, it)
}

// commit ends the first envelope that was admitted.
func (r *modelRelay) commit(refuse wire.Reason) {
	it := r.admitted[0]
	r.admitted = r.admitted[1:]
	p := r.pair(it.key.device)
	switch {
	case p.gen != it.gen:
		r.answer(it, wire.Reason_REASON_ORDER)
	case refuse != 0:
		p.gen++
		p.blocked, p.id = true, it.key.id
		r.answer(it, refuse)
	default:
		r.accepted[it.pair] = append(r.accepted[it.pair], it.ord)
		r.answers = append(r.answers, link.Result{MessageID: it.key.id, Device: it.key.device, Class: wire.Class_CLASS_DURABLE, Accepted: true})
	}
}

func (r *modelRelay) answer(it modelItem, reason wire.Reason) {
	r.answers = append(r.answers, link.Result{MessageID: it.key.id, Device: it.key.device, Class: wire.Class_CLASS_DURABLE, Reason: reason})
}

// windowWorld is a window, the relay, and what the test knows of the two.
type windowWorld struct {
	w        *window
	relay    *modelRelay
	now      time.Time
	ord      int64
	waiting  map[flightKey]*flight // added and neither accepted nor dropped
	maxPairs int
}

// check holds the invariants of the window.
func (x *windowWorld) check(t *rapid.T) {
	active := 0
	for k, p := range x.w.pairs {
		inFlight := 0
		for i, f := range p.flights {
			if i > 0 && p.flights[i-1].ord >= f.ord {
				t.Fatal("a pair is out of order")
			}
			if x.w.flights[f.key] != f || f.pair != k {
				t.Fatal("a flight is in the wrong place")
			}
			if f.sent {
				inFlight++
			}
		}
		if inFlight != p.inFlight {
			t.Fatalf("%d envelopes of a pair are sent, it counts %d", inFlight, p.inFlight)
		}
		active += inFlight
	}
	if active != x.w.active || active > x.w.cfg.Window {
		t.Fatalf("%d envelopes are sent, the window counts %d of %d", active, x.w.active, x.w.cfg.Window)
	}
	if len(x.w.flights) != len(x.waiting) {
		t.Fatalf("%d flights, want %d", len(x.w.flights), len(x.waiting))
	}
	for _, list := range x.relay.accepted {
		// Duplicates are known to the recipient by their id. What is new must be in order.
		last := int64(0)
		for i, ord := range list {
			if slices.Contains(list[:i], ord) {
				continue
			}
			if ord < last {
				t.Fatalf("the relay accepted %v: not in the order of sealing", list)
			}
			last = ord
		}
	}
}

func (x *windowWorld) add(t *rapid.T) {
	x.ord++
	device := [16]byte{byte(rapid.IntRange(1, x.maxPairs).Draw(t, "device"))}
	f := &flight{key: flightKey{id: store.MessageID{byte(x.ord), byte(x.ord >> 8)}, device: device},
		pair: pairKey{peer: store.PeerID(device[0]), device: device}, ord: x.ord}
	x.waiting[f.key] = f
	x.w.add(f)
}

// transmit sends what the window allows; refuse draws the relay's refusals.
func (x *windowWorld) transmit(refuse func() wire.Reason) {
	if x.w.paused(x.now) {
		return
	}
	list, _ := x.w.sendable(x.now)
	for _, f := range list {
		x.relay.receive(modelItem{key: f.key, pair: f.pair, ord: f.ord}, x.w.launch(f), refuse())
	}
}

// takeAnswer hands the window one of the relay's answers.
func (x *windowWorld) takeAnswer(i int) {
	r := x.relay.answers[i]
	x.relay.answers = slices.Delete(x.relay.answers, i, i+1)
	k := flightKey{id: r.MessageID, device: r.Device}
	f := x.w.flights[k]
	known := f != nil && f.sent
	x.w.answer(r, x.now)
	if r.Accepted && known {
		x.w.drop(f)
		delete(x.waiting, k)
	}
}

// TestWindowKeepsTheOrder plays the window against the rules of the relay: through
// temporary refusals, lost connections, and messages that are withdrawn, each pair's
// envelopes are accepted in the order of sealing, and in the end all of them are.
func TestWindowKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Window: rapid.IntRange(1, 8).Draw(t, "window")}.withDefaults()
		x := &windowWorld{w: newWindow(cfg), relay: newModelRelay(), now: time.Unix(1e9, 0), waiting: make(map[flightKey]*flight), maxPairs: 3}
		refusal := func() wire.Reason {
			return rapid.SampledFrom([]wire.Reason{0, 0, 0, wire.Reason_REASON_RATE, wire.Reason_REASON_QUOTA, wire.Reason_REASON_UNAVAILABLE}).Draw(t, "refusal")
		}
		t.Repeat(map[string]func(*rapid.T){
			"":         x.check,
			"add":      x.add,
			"transmit": func(*rapid.T) { x.transmit(refusal) },
			"commit": func(t *rapid.T) {
				if len(x.relay.admitted) == 0 {
					t.Skip()
				}
				x.relay.commit(refusal())
			},
			"answer": func(t *rapid.T) {
				if len(x.relay.answers) == 0 {
					t.Skip()
				}
				x.takeAnswer(rapid.IntRange(0, len(x.relay.answers)-1).Draw(t, "which"))
			},
			"drop": func(t *rapid.T) {
				if len(x.waiting) == 0 {
					t.Skip()
				}
				list := make([]*flight, 0, len(x.waiting))
				for _, f := range x.waiting {
					list = append(list, f)
				}
				slices.SortFunc(list, func(a, b *flight) int { return cmp.Compare(a.ord, b.ord) })
				f := rapid.SampledFrom(list).Draw(t, "dropped")
				delete(x.waiting, f.key)
				x.w.dropMessages([]store.MessageID{f.key.id})
			},
			"reconnect": func(*rapid.T) { x.relay.reconnect(); x.w.restart() },
			"hurry":     func(*rapid.T) { x.w.hurry(1) },
			"time": func(t *rapid.T) {
				x.now = x.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
			},
		})
		x.finish(t)
	})
}

// finish lets the relay take everything: then nothing may stay behind.
func (x *windowWorld) finish(t *rapid.T) {
	for round := 0; len(x.waiting) > 0; round++ {
		if round > 100*int(x.ord) {
			t.Fatalf("%d envelopes are never sent", len(x.waiting))
		}
		x.now = x.now.Add(x.w.cfg.BackoffMax)
		x.transmit(func() wire.Reason { return 0 })
		for len(x.relay.admitted) > 0 {
			x.relay.commit(0)
		}
		for len(x.relay.answers) > 0 {
			x.takeAnswer(0)
		}
		x.check(t)
	}
}

// TestWindowAnswers holds what single answers do to a pair.
func TestWindowAnswers(t *testing.T) {
	cfg := Config{}.withDefaults()
	now := time.Unix(1e9, 0)
	w := newWindow(cfg)
	key := pairKey{peer: 1, device: [16]byte{1}}
	first := &flight{key: flightKey{id: store.MessageID{1}, device: key.device}, pair: key, ord: 1}
	w.add(first)
	send := func() bool {
		t.Helper()
		list, _ := w.sendable(now)
		if len(list) != 1 {
			t.Fatalf("%d envelopes may be sent, want 1", len(list))
		}
		return w.launch(list[0])
	}
	refuse := func(reason wire.Reason) (time.Duration, *pair) {
		return w.answer(link.Result{MessageID: first.key.id, Device: key.device, Reason: reason}, now)
	}
	if send() {
		t.Error("the first envelope resumes")
	}
	wait, full := refuse(wire.Reason_REASON_QUOTA)
	if !near(wait, cfg.BackoffMin) || full != nil {
		t.Errorf("after the first refusal: %v, full: %v", wait, full != nil)
	}
	if list, later := w.sendable(now); len(list) != 0 || later != wait {
		t.Errorf("a blocked pair sends %d envelopes, or waits %v", len(list), later)
	}
	now = now.Add(cfg.FullAfter)
	if !send() {
		t.Error("the first envelope after a refusal does not resume")
	}
	if _, full = refuse(wire.Reason_REASON_QUOTA); full == nil || !w.isFull(key) {
		t.Error("a mailbox that stayed full does not count as full")
	}
	w.hurry(1)
	send()
	if wait, _ = refuse(wire.Reason_REASON_RATE); !w.paused(now) || w.paused(now.Add(wait)) {
		t.Error("a rate limit does not pause the account for its time")
	}
	w.restart()
	if send() || w.paused(now) {
		t.Error("after a new connection the pair resumes, or the account pauses")
	}
	w.answer(link.Result{MessageID: first.key.id, Device: key.device, Accepted: true}, now)
	w.drop(first)
	if w.isFull(key) || len(w.pairs) != 0 || w.room() != cfg.Window {
		t.Errorf("after the end: full %v, %d pairs, room %d", w.isFull(key), len(w.pairs), w.room())
	}
}

// TestWindowHoldsBackAFullBacklog counts only what waits in blocked pairs.
func TestWindowHoldsBackAFullBacklog(t *testing.T) {
	w := newWindow(Config{}.withDefaults())
	now := time.Unix(1e9, 0)
	for n := range backlogOfPeer {
		device := [16]byte{byte(n % 2)}
		w.add(&flight{key: flightKey{id: store.MessageID{byte(n)}, device: device}, pair: pairKey{peer: 7, device: device}, ord: int64(n)})
	}
	if got := w.backlogged(); len(got) != 0 {
		t.Errorf("an open pair is held back: %v", got)
	}
	list, _ := w.sendable(now)
	for _, f := range list[:2] {
		w.launch(f)
		w.answer(link.Result{MessageID: f.key.id, Device: f.key.device, Reason: wire.Reason_REASON_UNAVAILABLE}, now)
	}
	if got := w.backlogged(); !slices.Equal(got, []store.PeerID{7}) {
		t.Errorf("held back: %v, want peer 7", got)
	}
}
