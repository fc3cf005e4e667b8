package serverd

import (
	"runtime"
	"testing"
	"time"
)

func TestTrimmer(t *testing.T) {
	const mib = 1 << 20
	calm := heapState{objects: 40 * mib, live: 20 * mib, free: 2 * mib}
	for _, c := range []struct {
		name   string
		change func(*heapState)
		want   bool
	}{
		{"garbage of a burst", func(*heapState) {}, true},
		{"free spans of a burst", func(h *heapState) { h.objects, h.free = h.live, 10*mib }, true},
		{"still busy", func(h *heapState) { h.allocated += 5 * mib }, false},
		{"pings of many connections", func(h *heapState) { h.live, h.objects, h.allocated = 1000*mib, 2000*mib, h.allocated+5*mib }, true},
		{"nothing to gain", func(h *heapState) { h.objects = h.live + mib }, false},
		{"little beside what lives", func(h *heapState) { h.live, h.objects = 1000*mib, 1010*mib }, false},
		{"fewer objects than lived", func(h *heapState) { h.objects, h.free = h.live-mib, 0 }, false},
	} {
		tr := newTrimmer(calm)
		h := calm
		c.change(&h)
		if got := tr.due(time.Second, h); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	tr := newTrimmer(calm)
	if !tr.due(time.Second, calm) || tr.due(2*time.Second, calm) || !tr.due(time.Second+trimPause, calm) {
		t.Error("the pause between two is not kept")
	}
	tr = newTrimmer(calm)
	busy := calm
	busy.allocated += 5 * mib
	if tr.due(time.Second, busy) || !tr.due(2*time.Second, busy) {
		t.Error("not done once the burst is over")
	}
}

// TestReadHeap: the runtime still has its metrics under these names.
func TestReadHeap(t *testing.T) {
	runtime.GC()
	keep := make([]byte, 8<<20)
	h := readHeap()
	if h.allocated < uint64(len(keep)) || h.objects < uint64(len(keep)) || h.live == 0 {
		t.Fatalf("%+v", h)
	}
	runtime.KeepAlive(keep)
}
