package ratchet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// testWorld is two ends and the letters between them, driven by a seed.
type testWorld struct {
	t      *testing.T
	rng    *rand.Rand
	ends   [2]*testEnd
	mail   []numbered // under way, in the order of sending
	now    time.Time
	nextID uint64
	kept   int  // most letters under way before the oldest is delivered
	lossy  bool // letters may be lost
	failed int  // letters that did not open at their first delivery
}

type numbered struct {
	letter
	id uint64
}

func newTestWorld(t *testing.T, seed uint64, devices [2]*testDevice) *testWorld {
	w := &testWorld{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: testStart()}
	w.ends = [2]*testEnd{newTestEnd(t, devices[0], devices[1]), newTestEnd(t, devices[1], devices[0])}
	return w
}

func (w *testWorld) send(from int) {
	w.t.Helper()
	if w.ends[from].set.Active() == nil {
		w.ends[from].initiate(w.rng.IntN(2) == 0 && !w.ends[1-from].usedOnce, w.now)
	}
	w.nextID++
	l := w.ends[from].seal(w.nextID, fmt.Sprintf("message %d", w.nextID), w.now)
	l.from = from
	w.mail = append(w.mail, numbered{l, w.nextID})
}

// deliver delivers letter i, and leaves it under way if it will come again.
func (w *testWorld) deliver(i int, again bool) {
	w.t.Helper()
	l := w.mail[i]
	if !again {
		w.mail = append(w.mail[:i:i], w.mail[i+1:]...)
	}
	to := w.ends[1-l.from]
	before := to.shown[l.id]
	err := to.open(l.letter, l.id, w.now)
	if to.shown[l.id] > 1 {
		w.t.Fatalf("message %d was shown %d times", l.id, to.shown[l.id])
	}
	if before > 0 && err == nil {
		w.t.Fatalf("message %d opened twice", l.id)
	}
	if before > 0 || err == nil {
		return
	}
	w.failed++
	to.shown[l.id] = 0
	if !w.lossy {
		w.t.Fatalf("message %d from %d: %v", l.id, l.from, err)
	}
	if !errors.Is(err, ErrNoSession) && !errors.Is(err, ErrBundle) && !errors.Is(err, errNotAgain) {
		w.t.Fatalf("message %d from %d: unexpected error: %v", l.id, l.from, err)
	}
}

// event does one random action.
func (w *testWorld) event() {
	w.t.Helper()
	switch n := w.rng.IntN(100); {
	case n < 40:
		w.send(w.rng.IntN(2))
	case n < 75 && len(w.mail) > 0:
		w.deliver(w.rng.IntN(min(len(w.mail), 8)), false)
	case n < 82 && len(w.mail) > 0:
		w.deliver(w.rng.IntN(len(w.mail)), true)
	case n < 88 && len(w.mail) > 0 && w.lossy:
		i := w.rng.IntN(len(w.mail))
		w.mail = append(w.mail[:i:i], w.mail[i+1:]...)
	case n < 92:
		w.ends[w.rng.IntN(2)].restart()
	case n < 96:
		w.now = w.now.Add(time.Duration(w.rng.IntN(3600)) * time.Second)
	case n < 97 && w.lossy:
		w.now = w.now.Add(time.Duration(w.rng.IntN(30)) * time.Hour)
		for _, e := range w.ends {
			e.put(e.set.Sweep(w.now))
		}
	case n < 98 && w.lossy && w.ends[0].set.Active() != nil:
		w.ends[w.rng.IntN(2)].initiate(false, w.now) // a session is rebuilt
	}
	for len(w.mail) > w.kept {
		w.deliver(0, false)
	}
}

// quiet lets everything arrive and requires that both ends agree: one session, both directions, and a
// KEM exchange each way within a day.
func (w *testWorld) quiet() {
	w.t.Helper()
	for len(w.mail) > 0 {
		w.deliver(w.rng.IntN(len(w.mail)), false)
	}
	w.send(0)
	w.deliver(0, false)
	w.send(1)
	w.deliver(0, false)
	w.lossy = false // from here on nothing may fail
	w.send(0)
	w.deliver(0, false)
	a, b := w.ends[0].set.Active(), w.ends[1].set.Active()
	if a.TranscriptHash() != b.TranscriptHash() {
		w.t.Fatalf("two active sessions: generations %d and %d", a.Generation(), b.Generation())
	}
	w.now = w.now.Add(OfferInterval)
	for range 4 {
		w.send(1)
		w.deliver(0, false)
		w.send(0)
		w.deliver(0, false)
	}
	for i, e := range w.ends {
		st := e.set.Active().st
		if len(st.offers) != 0 || st.offerNext < 2 {
			w.t.Fatalf("end %d: %d offers unanswered of %d", i, len(st.offers), st.offerNext-1)
		}
	}
}

// Two ends send, lose, duplicate, reorder, restart, rebuild and initiate concurrently; then they become
// quiet and agree.
func TestRandomEvents(t *testing.T) {
	devices := [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")}
	runs := 400 / raceDivisor
	for seed := range uint64(runs) {
		w := newTestWorld(t, seed, devices)
		w.lossy = seed%2 == 0
		w.kept = 4 + int(seed%5)
		if w.lossy {
			w.kept = 20
		}
		for range 30 + w.rng.IntN(120) {
			w.event()
		}
		w.quiet()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
