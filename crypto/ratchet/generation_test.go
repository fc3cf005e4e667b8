package ratchet

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
)

// claimed is a world in which mallory has begun a session with the largest generation that alice
// accepts.
func claimed(t *testing.T, seed uint64) (w *testWorld, session [32]byte) {
	t.Helper()
	w = newTestWorld(t, seed, [2]*testDevice{newTestDevice("alice"), newTestDevice("mallory")})
	mallory := w.ends[1]
	s := must(initiate(mallory.dev.self(), mallory.peer.bundle(false), latestGeneration(unix(w.now)), w.now))
	mallory.put(must(mallory.set.Add(s, w.now)))
	w.send(1)
	w.deliver(0, false)
	session = s.TranscriptHash()
	if w.ends[0].set.Active().TranscriptHash() != session {
		t.Fatal("the largest generation is not preferred")
	}
	return w, session
}

// A first message may claim a generation at most two hours ahead of its receiver's clock, whatever
// prekeys it uses.
func TestGenerationTooFarAheadIsRefused(t *testing.T) {
	p := newPair(t)
	alice, bob := p.dev[0], p.dev[1]
	for _, tt := range []struct {
		ahead uint32
		want  error
	}{{0, nil}, {1, nil}, {MaxAhead, nil}, {MaxAhead + 1, ErrGeneration}, {1000, ErrGeneration}, {math.MaxUint32, ErrGeneration}} {
		generation := addMinutes(generationAt(unix(p.now)), tt.ahead)
		a := must(initiate(alice.self(), bob.bundle(true), generation, p.now))
		m := meta(alice, bob, 1)
		_, ct, err := a.Seal(m, testOwn(), []byte("x"), p.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bob.accept(alice, m, ct, p.now); !errors.Is(err, tt.want) {
			t.Errorf("%d minutes ahead: %v, want %v", tt.ahead, err, tt.want)
		}
	}
}

// However often one end begins again, and whatever sessions it knows, its generation stays within one
// hour of its clock, so that a peer whose clock is an hour slow accepts it; and each new session sends.
func TestOwnGenerationStaysWithinTheRule(t *testing.T) {
	w, session := claimed(t, 1)
	alice, mallory := w.ends[0], w.ends[1]
	for i := range 70 {
		alice.initiate(false, w.now)
		fresh := alice.set.Active()
		if fresh.TranscriptHash() == session {
			t.Fatalf("session %d does not send", i)
		}
		session = fresh.TranscriptHash()
		if most := generationAt(unix(w.now)) + ownAhead; fresh.Generation() > most {
			t.Errorf("session %d has generation %d, the most is %d", i, fresh.Generation(), most)
		}
		l := alice.seal(uint64(100+i), "x", w.now)
		if err := mallory.open(l, uint64(100+i), w.now.Add(-time.Hour)); err != nil {
			t.Errorf("session %d: a peer whose clock is an hour slow: %v", i, err)
		}
	}
}

// A session that was accepted under a clock far ahead does not stay active once the clock is right: any
// new one replaces it.
func TestSessionOfAWrongClockIsReplaced(t *testing.T) {
	for seed := range uint64(6) {
		w := newTestWorld(t, seed, [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")})
		alice, bob := w.ends[0], w.ends[1]
		wrong := w.now.Add(40 * 24 * time.Hour)
		s := must(initiate(bob.dev.self(), bob.peer.bundle(false), generationAt(unix(wrong)), w.now))
		bob.put(must(bob.set.Add(s, w.now)))
		l := bob.seal(100, "x", w.now)
		if err := alice.open(l, 100, wrong); err != nil {
			t.Fatal(err)
		}
		bob.put(Set{}) // he has lost it
		bob.initiate(true, w.now)
		fresh := bob.set.Active().TranscriptHash()
		l = bob.seal(101, "y", w.now)
		if err := alice.open(l, 101, w.now); err != nil {
			t.Fatal(err)
		}
		if alice.set.Active().TranscriptHash() != fresh {
			t.Fatalf("seed %d: the session of the wrong clock stays active", seed)
		}
	}
}

// A peer that claims the largest generation cannot keep its session active: a session begun afterwards
// sends, and the peer follows a request inside it. For sessions of equal generation chance decides, so
// this runs several times.
func TestLargestGenerationFreezesNothing(t *testing.T) {
	for seed := range uint64(6) {
		w, session := claimed(t, seed)
		w.ends[0].initiate(false, w.now)
		fresh := w.ends[0].set.Active()
		if fresh.TranscriptHash() == session {
			t.Fatal("the claimed session stays active")
		}
		w.send(0)
		w.deliver(0, false)
		w.ends[1].put(must(w.ends[1].set.Activate(fresh.TranscriptHash(), w.now))) // a request arrived in it
		for i := range 6 {
			w.send(i % 2)
			w.deliver(0, false)
		}
		later := w.now.Add(PreviousLifetime)
		for i, e := range w.ends {
			e.put(e.set.Sweep(later))
			if n := len(e.set.Entries()); n != 1 || e.set.Active().TranscriptHash() != fresh.TranscriptHash() {
				t.Fatalf("end %d: %d sessions a day later", i, n)
			}
		}
	}
}

// An end that lost everything can reach a peer whose session has the largest generation: its request
// inside its own session activates that session.
func TestLostEndLeavesLargestGeneration(t *testing.T) {
	w, _ := claimed(t, 1)
	w.ends[1].put(Set{})
	w.ends[1].initiate(false, w.now)
	own := w.ends[1].set.Active().TranscriptHash()
	w.send(1)
	w.deliver(0, false)
	w.ends[0].put(must(w.ends[0].set.Activate(own, w.now)))
	w.send(0)
	w.deliver(0, false)
	if w.ends[1].set.Active().TranscriptHash() != own {
		t.Error("the active session is not the one of the request")
	}
}

// Replaced reports a confirmed session that another one replaces, and nothing else.
func TestReplaced(t *testing.T) {
	w := newTestWorld(t, 2, [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")})
	alice, bob := w.ends[0], w.ends[1]
	step := func(what string, want bool, fn func()) {
		t.Helper()
		before := alice.set
		fn()
		if got := Replaced(before, alice.set); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	send := func(from int) func() {
		return func() {
			w.send(from)
			w.deliver(0, false)
		}
	}
	bob.initiate(false, w.now)
	step("the first session", false, send(1))
	step("a second session before the first was answered", false, func() {
		bob.initiate(false, w.now)
		send(1)()
	})
	for i := range 4 {
		step("messages", false, send(i%2))
	}
	if !alice.set.Active().Confirmed() {
		t.Fatal("not confirmed")
	}
	former := alice.set.Active().TranscriptHash()
	step("a session that takes over", true, func() {
		bob.put(Set{})
		w.now = w.now.Add(3 * time.Hour)
		bob.initiate(false, w.now)
		send(1)()
	})
	for i := range 4 {
		step("messages", false, send(i%2))
	}
	step("the former one, because the peer asked in it", true, func() {
		alice.put(must(alice.set.Activate(former, w.now)))
	})
}

// A session begun by this end, because the server delivered something that did not open, does not hide
// that another one then replaces it.
func TestReplacedBehindAnOwnSession(t *testing.T) {
	w := newTestWorld(t, 2, [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")})
	alice, bob := w.ends[0], w.ends[1]
	bob.initiate(false, w.now)
	for i := range 4 {
		w.send(1 - i%2)
		w.deliver(0, false)
	}
	confirmed := alice.set.Active().TranscriptHash()
	alice.initiate(false, w.now) // unconfirmed and active
	own := alice.set
	if Replaced(own, must(own.Activate(confirmed, w.now))) {
		t.Error("returning to the only confirmed session is reported as a replacement")
	}
	w.now = w.now.Add(2 * time.Hour)
	bob.initiate(false, w.now) // he does not know of it
	w.send(1)
	w.deliver(0, false)
	if alice.set.Active().TranscriptHash() == own.Active().TranscriptHash() || !Replaced(own, alice.set) {
		t.Error("a replacement hidden by an own session is not reported")
	}
}

// Two ends that send requests simultaneously, each in the session that the other does not send with,
// swap sessions, lose nothing, and agree after the next handshake.
func TestCrossedActivation(t *testing.T) {
	w := newTestWorld(t, 3, [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")})
	w.ends[0].initiate(false, w.now)
	w.send(0)
	w.deliver(0, false)
	w.send(1)
	w.deliver(0, false)
	first := w.ends[0].set.Active().TranscriptHash()
	w.ends[0].initiate(false, w.now)
	second := w.ends[0].set.Active().TranscriptHash()
	w.send(0)
	w.deliver(0, false)
	w.ends[0].put(must(w.ends[0].set.Activate(first, w.now)))
	w.ends[1].put(must(w.ends[1].set.Activate(second, w.now)))
	for i := range 8 { // they send in different sessions
		w.send(i % 2)
		w.deliver(0, false)
	}
	w.ends[0].initiate(false, w.now)
	w.send(0)
	w.deliver(0, false)
	if w.ends[0].set.Active().TranscriptHash() != w.ends[1].set.Active().TranscriptHash() {
		t.Error("the ends do not agree after the next handshake")
	}
	for id := uint64(1); id <= w.nextID; id++ {
		if n := w.ends[0].shown[id] + w.ends[1].shown[id]; n != 1 {
			t.Errorf("message %d was shown %d times", id, n)
		}
	}
}

// No result of this package shows plaintext or keys when it is printed, logged or encoded.
func TestResultsAreRedacted(t *testing.T) {
	p := newPair(t)
	p.seal(0, "lost")
	l := p.seal(0, "canary canary canary")
	res, err := p.s[1].Open(l.m, l.ct, nil, p.now)
	if err != nil || len(res.Skipped) != 1 {
		t.Fatal(err)
	}
	set := must(Set{}.Add(res.Next, p.now))
	secrets := [][]byte{[]byte("canary"), res.Skipped[0].Key.Bytes()[:6], res.Next.st.root[:6], res.Next.st.ratchetPrivate[:6]}
	for _, v := range []any{res, &res, res.Next, res.Skipped, set, set.Entries(), p.dev[0].self(), p.dev[1].keys(&InitialHeader{HasOneTime: true})} {
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			fmt.Fprintf(&out, verb, v)
		}
		b, err := json.Marshal(v)
		if err == nil {
			out.Write(b)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		for _, s := range secrets {
			enc := string(must(json.Marshal(s)))
			for _, form := range []string{string(s), fmt.Sprintf("%x", s), strings.Trim(fmt.Sprint(s), "[]"), strings.Trim(enc, `"`)} {
				if strings.Contains(out.String(), form) {
					t.Errorf("%T shows %q", v, form)
				}
			}
		}
	}
}
