package ratchet

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
)

// frozen is a world in which a peer has claimed the largest generation, for a
// session that the other end keeps active.
func frozen(t *testing.T, seed uint64) (w *testWorld, claimed [32]byte) {
	t.Helper()
	w = newTestWorld(t, seed, [2]*testDevice{newTestDevice("alice"), newTestDevice("mallory")})
	mallory := w.ends[1]
	s := must(initiate(mallory.dev.self(), mallory.peer.bundle(false), math.MaxUint32, w.now))
	mallory.put(must(mallory.set.Add(s, w.now)))
	w.send(1)
	w.deliver(0, false)
	claimed = s.TranscriptHash()
	if w.ends[0].set.Active().TranscriptHash() != claimed {
		t.Fatal("the largest generation is not preferred")
	}
	return w, claimed
}

// A peer that claims the largest generation binds nobody to its session: one
// that is begun afterwards sends, and the peer follows what it is asked in it.
// Of two sessions of one generation chance decides, so this runs several times.
func TestLargestGenerationFreezesNothing(t *testing.T) {
	for seed := range uint64(6) {
		w, claimed := frozen(t, seed)
		w.ends[0].initiate(false, w.now)
		fresh := w.ends[0].set.Active()
		if fresh.TranscriptHash() == claimed || fresh.Generation() != math.MaxUint32 {
			t.Fatal("the claimed session stays active")
		}
		w.send(0)
		w.deliver(0, false)
		w.ends[1].put(must(w.ends[1].set.Activate(fresh.TranscriptHash(), w.now))) // asked in it
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

// An end that lost everything gets through to a peer with a session of the
// largest generation: what it asks inside its own session activates that.
func TestLostEndLeavesLargestGeneration(t *testing.T) {
	w, _ := frozen(t, 1)
	w.ends[1].put(Set{})
	w.ends[1].initiate(false, w.now)
	own := w.ends[1].set.Active().TranscriptHash()
	w.send(1)
	w.deliver(0, false)
	w.ends[0].put(must(w.ends[0].set.Activate(own, w.now)))
	w.send(0)
	w.deliver(0, false)
	if w.ends[1].set.Active().TranscriptHash() != own {
		t.Error("not in the session that was asked in")
	}
}

// Ends that ask each other at once, each in the session that the other does not
// send with, change places, lose nothing, and agree after the next handshake.
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

// Nothing that this package returns shows plaintext or keys when it is printed,
// logged or encoded.
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
