package files

import (
	"sync"
	"time"

	"secmsg/rpc/local"
)

const (
	// progressEvery is the interval of progress reports.
	progressEvery = 250 * time.Millisecond
	// rateOver is the period over which the rate is averaged.
	rateOver = 5 * time.Second
)

// tracker holds the progress of one transfer. A nil tracker is valid and ignores updates.
type tracker struct {
	mu      sync.Mutex
	name    string
	phase   string
	done    int64
	total   int64 // -1: unknown
	started bool
	restart int    // number of restarts
	note    string // reason of the last restart
	why     string // why it waits; empty: it does not
	moving  map[int]int64
	samples []sample // from the last rateOver
}

type sample struct {
	at   time.Time
	done int64
}

func newTracker(name, phase string, total int64) *tracker {
	return &tracker{name: name, phase: phase, total: total, moving: make(map[int]int64)}
}

// set sets the transferred and total bytes and resets the rate.
func (t *tracker) set(done, total int64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done, t.total, t.samples = done, total, nil
	clear(t.moving)
}

// restarted records the n-th restart.
func (t *tracker) restarted(n int, note string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restart, t.note, t.started = n, note, true
}

// setTotal sets the length of a source whose end has been read.
func (t *tracker) setTotal(n int64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total = n
}

// setDone sets the transferred bytes. Sealed and plain sizes may be mixed: they differ by
// 0.03 per cent.
func (t *tracker) setDone(n int64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = n
}

// move sets how many bytes of a part are transferred; 0 when the part is done or failed.
func (t *tracker) move(part int, n int64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n == 0 {
		delete(t.moving, part)
	} else {
		t.moving[part] = max(n, t.moving[part])
	}
}

// begun reports whether the transfer has started.
func (t *tracker) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.started
}

func (t *tracker) setPhase(phase string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase, t.started, t.why = phase, true, ""
}

// waits records why the transfer does not proceed.
func (t *tracker) waits(why string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase, t.started, t.why = local.PhaseWaiting, true, why
}

// report returns the progress at a moment.
func (t *tracker) report(id string, now time.Time) local.FileProgress {
	t.mu.Lock()
	defer t.mu.Unlock()
	done := t.done
	for _, n := range t.moving {
		done += n
	}
	if t.total >= 0 {
		done = min(done, t.total)
	}
	p := local.FileProgress{ID: id, Name: t.name, Phase: t.phase, Done: done, Restarts: t.restart, Note: t.note, Reason: t.why}
	for len(t.samples) > 1 && now.Sub(t.samples[0].at) > rateOver {
		t.samples = t.samples[1:]
	}
	t.samples = append(t.samples, sample{now, done})
	if first := t.samples[0]; now.After(first.at) && done > first.done {
		p.Rate = float64(done-first.done) / now.Sub(first.at).Seconds()
	}
	if t.total < 0 {
		return p
	}
	total := t.total
	p.Total = &total
	if left := float64(total - done); left == 0 || p.Rate > 0 {
		if left > 0 {
			left /= p.Rate
		}
		p.Remaining = &left
	}
	return p
}
