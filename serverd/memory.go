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
	// trimEvery is how often the heap is checked.
	trimEvery = time.Second
	// trimPause is the least time between two collections that only free memory, so that they cost next
	// to nothing in the long run.
	trimPause = 5 * time.Second
	// trimGain is the least number of bytes worth returning to the system.
	trimGain = 4 << 20
	// trimShare is the least gain as a fraction of the live heap, because a collection costs as much as
	// there is alive.
	trimShare = 8
	// quietBytes is how many bytes a quiet server allocates in trimEvery: pings of thousands of
	// connections and a few requests. A larger server allocates more while quiet, up to a share of its
	// live heap.
	quietBytes = 1 << 20
	quietShare = 64
)

// heapState is the runtime's view of the heap, in bytes.
type heapState struct {
	allocated uint64 // since the process started
	objects   uint64 // alive, or dead and not swept
	live      uint64 // found alive by the last collection
	free      uint64 // resident and unused
}

// readHeap reads the state from the runtime.
func readHeap() heapState {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	value := func(i int) uint64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a runtime without this metric: nothing to gain
		}
		return s[i].Value.Uint64()
	}
	return heapState{allocated: value(0), objects: value(1), live: value(2), free: value(3)}
}

// trimmer decides when to return memory to the system. By itself the runtime keeps the garbage of a
// burst, such as thousands of TLS handshakes after a network failure, until as much has been allocated
// again: on an idle server, for minutes.
type trimmer struct {
	allocated uint64        // at the last check
	trimmed   time.Duration // when memory was last returned
}

// newTrimmer returns a trimmer that starts at the allocations of h.
func newTrimmer(h heapState) *trimmer {
	return &trimmer{allocated: h.allocated, trimmed: math.MinInt64 / 2}
}

// due reports whether to return memory now: there is enough of it, and the server has been quiet since
// the last check.
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

// processCounters are the process's part of the statistics.
func processCounters() map[string]int64 {
	h := readHeap()
	return map[string]int64{
		"goroutines":      int64(runtime.NumGoroutine()),
		"heap_live_bytes": int64(min(h.live, math.MaxInt64)),
	}
}

// keepMemory returns the memory of bursts to the system until ctx ends.
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
