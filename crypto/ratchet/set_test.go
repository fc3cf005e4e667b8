package ratchet

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Both ends initiate simultaneously. Whatever the order in which letters arrive, and whatever is sent
// in between, both end up with the session of the smaller transcript hash, and every letter that was
// not lost is shown once.
func TestB11_SimultaneousInitiation(t *testing.T) {
	devices := [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")}
	var begun [8][2]Set // handshakes are slow, and immutable
	for i := range begun {
		for end := range 2 {
			e := newTestEnd(t, devices[end], devices[1-end])
			e.initiate(false, testStart())
			begun[i][end] = e.set
		}
	}
	for seed := range uint64(1000 / raceDivisor) {
		w := newTestWorld(t, seed, devices)
		start := begun[seed%uint64(len(begun))]
		w.ends[0].set, w.ends[1].set = start[0], start[1]
		want := Prefer(start[0].Active(), start[1].Active(), testStart()).TranscriptHash()
		w.send(0)
		w.send(1)
		for range 12 {
			switch w.rng.IntN(4) {
			case 0, 1:
				w.send(w.rng.IntN(2))
			default:
				if len(w.mail) > 0 {
					w.deliver(w.rng.IntN(len(w.mail)), w.rng.IntN(5) == 0)
				}
			}
		}
		for len(w.mail) > 0 {
			w.deliver(w.rng.IntN(len(w.mail)), false)
		}
		for from := range 2 {
			w.send(from)
			w.deliver(0, false)
		}
		for end, e := range w.ends {
			if e.set.Active().TranscriptHash() != want {
				t.Fatalf("seed %d: end %d prefers the other session", seed, end)
			}
		}
		for id := uint64(1); id <= w.nextID; id++ {
			if n := w.ends[0].shown[id] + w.ends[1].shown[id]; n != 1 {
				t.Fatalf("seed %d: message %d was shown %d times", seed, id, n)
			}
		}
	}
}

func TestPrefer(t *testing.T) {
	p, q := newPair(t), newPair(t)
	a, b := p.s[0], q.s[0]
	if Prefer(a, b, p.now) != Prefer(b, a, p.now) {
		t.Error("the preferred session depends on the order")
	}
	x, y := a.TranscriptHash(), b.TranscriptHash()
	if (Prefer(a, b, p.now) == a) != (string(x[:]) < string(y[:])) {
		t.Error("the preferred session does not have the smaller transcript hash")
	}
	later := must(Initiate(p.dev[0].self(), p.dev[1].bundle(true), p.now.Add(time.Hour)))
	if Prefer(a, later, p.now) != later || Prefer(later, a, p.now) != later {
		t.Error("the preferred session does not have the later generation")
	}
}

// A rebuilt session replaces the old one at both ends. The old one still receives messages under way,
// and is dropped a day after the first use of the new one.
func TestRebuild(t *testing.T) {
	w := newTestWorld(t, 1, [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")})
	for from := range 2 {
		w.send(from)
		w.deliver(0, false)
	}
	old := w.ends[0].set.Active().TranscriptHash()
	w.send(1) // under way on the old session
	w.ends[0].initiate(false, w.now)
	fresh := w.ends[0].set.Active()
	if fresh.TranscriptHash() == old || fresh.Generation() <= w.ends[1].set.Active().Generation() {
		t.Fatal("the new session is not active")
	}
	if s := w.ends[0].set.Sweep(w.now.Add(90 * 24 * time.Hour)); len(s.Entries()) != 2 {
		t.Fatal("the old session is dropped although the peer may not know the new one")
	}
	w.send(0)
	w.deliver(1, false) // the new session reaches the peer
	w.deliver(0, false) // the old one still receives
	if w.ends[1].set.Active().TranscriptHash() != fresh.TranscriptHash() {
		t.Fatal("the peer does not follow")
	}
	w.send(1)
	w.deliver(0, false) // the first use at the initiator
	for i, e := range w.ends {
		if len(e.set.Sweep(w.now.Add(PreviousLifetime-time.Second)).Entries()) != 2 {
			t.Errorf("end %d: old session is dropped early", i)
		}
		swept := e.set.Sweep(w.now.Add(PreviousLifetime))
		if ids := Removed(e.set, swept); len(ids) != 1 || ids[0] != old {
			t.Errorf("end %d: removed %d sessions", i, len(ids))
		}
	}
}

// However often sessions are rebuilt, a set has at most four, and the newest sends.
func TestSetIsBounded(t *testing.T) {
	w := newTestWorld(t, 1, [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")})
	for range 10 {
		w.ends[0].initiate(false, w.now)
		w.send(0)
		w.deliver(0, false)
	}
	for i, e := range w.ends {
		entries := e.set.Entries()
		if len(entries) != MaxPrevious+1 {
			t.Errorf("end %d: %d sessions", i, len(entries))
		}
		for _, x := range entries {
			if Prefer(x.Session, e.set.Active(), w.now) != e.set.Active() {
				t.Errorf("end %d: the active session is not the newest", i)
			}
		}
		if len(e.keys) > MaxPrevious+1 {
			t.Errorf("end %d: keys of %d sessions", i, len(e.keys))
		}
	}
	// The set bounds the trials for every envelope.
	stranger := newPair(t)
	l := stranger.seal(0, "x")
	l.m = meta(w.ends[0].dev, w.ends[1].dev, 77)
	count := &work{}
	for _, x := range w.ends[1].set.Entries() {
		if _, _, err := x.Session.st.open(l.m, l.ct, nil, 0, count); !errors.Is(err, ErrNoSession) {
			t.Fatal(err)
		}
	}
	if count.trials > (MaxPrevious+1)*(MaxOldHeaderKeys+2) {
		t.Errorf("%d trials", count.trials)
	}
}

// A peer that has lost its sessions asks again in a new one of a lower generation; the caller activates
// that one.
func TestActivate(t *testing.T) {
	w := newTestWorld(t, 1, [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")})
	for range 3 {
		w.ends[0].initiate(false, w.now)
		w.send(0)
		w.deliver(0, false)
	}
	w.ends[1].set = Set{} // lost, together with the generation
	w.ends[1].initiate(false, w.now)
	asking := w.ends[1].set.Active()
	w.send(1)
	w.deliver(0, false)
	if w.ends[0].set.Active().TranscriptHash() == asking.TranscriptHash() {
		t.Fatal("a lower generation is preferred")
	}
	set, err := w.ends[0].set.Activate(asking.TranscriptHash(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.ends[0].put(set)
	for _, from := range []int{0, 1, 0} {
		w.send(from)
		w.deliver(0, false)
	}
	if _, err := set.Activate([32]byte{1}, w.now); !errors.Is(err, ErrNoSession) {
		t.Errorf("activate an unknown session: %v", err)
	}
}

func TestNewSetChecks(t *testing.T) {
	p, q := newPair(t), newPair(t)
	good := Entry{Session: p.s[0], Active: true}
	for name, entries := range map[string][]Entry{
		"none active":  {{Session: p.s[0]}},
		"one twice":    {good, {Session: p.s[0]}},
		"several":      {good, {Session: q.s[0]}},
		"empty entry":  {good, {}},
		"other end":    {good, {Session: p.s[1]}},
		"two active":   {good, {Session: q.s[0], Active: true}},
		"only nothing": {{Session: &Session{}, Active: true}},
	} {
		if _, err := NewSet(entries); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	set, err := NewSet(nil)
	if err != nil || set.Active() != nil {
		t.Errorf("empty set: %v", err)
	}
	if _, _, err := set.Seal(Meta{}, testOwn(), nil, p.now); !errors.Is(err, ErrNoSession) {
		t.Errorf("seal with an empty set: %v", err)
	}
	if _, _, err := set.Open(Meta{}, nil, nil, p.now); !errors.Is(err, ErrNoSession) {
		t.Errorf("open with an empty set: %v", err)
	}
	if set, err = NewSet([]Entry{good}); err != nil {
		t.Fatal(err)
	}
	if _, err := set.Add(q.s[0], p.now); !errors.Is(err, ErrParty) {
		t.Errorf("session of another pair: %v", err)
	}
}

// The stored form works at any point of a conversation, and nothing else parses.
func TestStoredForm(t *testing.T) {
	p := newUnansweredPair(t)
	p.now = p.now.Add(OfferInterval)
	for i := range 12 {
		p.seal(i%2, "lost")
		p.open(p.seal(i%2, fmt.Sprint(i)))
		for end, s := range p.s {
			b := s.Marshal()
			again, err := ParseSession(b)
			if err != nil || string(again.Marshal()) != string(b) {
				t.Fatalf("step %d, end %d: %v", i, end, err)
			}
			p.s[end] = again
			if i%4 != 0 {
				continue
			}
			for n := range b {
				if _, err := ParseSession(b[:n]); !errors.Is(err, ErrFormat) {
					t.Fatalf("cut to %d bytes: %v", n, err)
				}
			}
			if _, err := ParseSession(append(b, 0)); !errors.Is(err, ErrFormat) {
				t.Fatalf("lengthened: %v", err)
			}
			b[0]++
			if _, err := ParseSession(b); !errors.Is(err, ErrFormat) {
				t.Fatalf("other version: %v", err)
			}
		}
	}
}
