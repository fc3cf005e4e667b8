package serverd

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// trimEvery is how often the heap is looked at.
	trimEvery = time.Second
	// trimPause is the least time between two collections for the sake of
	// memory, so that they cost next to nothing in the long run.
	trimPause = 5 * time.Second
	// trimGain is what must at least be there to be given back, in bytes.
	trimGain = 4 << 20
	// trimShare is the least gain as a part of what lives: a collection costs
	// as much as there is alive.
	trimShare = 8
	// quietBytes is what a quiet server allocates in trimEvery, in bytes:
	// pings of thousands of connections and a few requests. A larger one
	// allocates more when quiet, up to a share of what lives.
	quietBytes = 1 << 20
	quietShare = 64
)

// heapState is what the runtime says of the heap, in bytes.
type heapState struct {
	allocated uint64 // since the process started
	objects   uint64 // alive, or dead and not swept
	live      uint64 // found alive by the last collection
	free      uint64 // resident and unused
}

// readHeap asks the runtime.
func readHeap() heapState {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	value := func(i int) uint64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a runtime that no longer has it: then nothing is gained
		}
		return s[i].Value.Uint64()
	}
	return heapState{allocated: value(0), objects: value(1), live: value(2), free: value(3)}
}

// trimmer decides when memory is given back. Left to itself the runtime keeps
// the garbage of a burst, such as thousands of TLS handshakes after a network
// came back, until as much again was allocated: for an idle server, for minutes.
type trimmer struct {
	allocated uint64        // when last looked
	trimmed   time.Duration // when last given back
}

// newTrimmer returns a trimmer for a process that has allocated so much.
func newTrimmer(h heapState) *trimmer {
	return &trimmer{allocated: h.allocated, trimmed: math.MinInt64 / 2}
}

// due reports whether to give memory back at a time: there is enough of it, and
// the server has been quiet since it was last asked.
func (t *trimmer) due(now time.Duration, h heapState) bool {
	quiet := h.allocated-t.allocated <= max(quietBytes, h.live/quietShare)
	t.allocated = h.allocated
	gain := h.free
	if h.objects > h.live {
		gain += h.objects - h.live
	}
	if !quiet || gain < max(trimGain, h.live/trimShare) || now-t.trimmed < trimPause {
		return false
	}
	t.trimmed = now
	return true
}

// processCounters is the process's own part of the statistics.
func processCounters() map[string]int64 {
	h := readHeap()
	return map[string]int64{
		"goroutines":      int64(runtime.NumGoroutine()),
		"heap_live_bytes": int64(min(h.live, math.MaxInt64)),
	}
}

// keepMemory gives back what bursts have left, until ctx ends.
func keepMemory(ctx context.Context) {
	start := time.Now()
	t := newTrimmer(readHeap())
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if t.due(time.Since(start), readHeap()) {
				debug.FreeOSMemory()
			}
		case <-ctx.Done():
			return
		}
	}
}
