package loadgen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// settle bounds how long a load waits for answers after its end.
const settle = 10 * time.Second

// Line is one direction of traffic, independent of the protocol: a sender whose messages are
// acknowledged, and a receiver. Send, Acked and Receive are called by one goroutine each.
type Line interface {
	// Send sends n messages whose payloads start with the 8-byte stamp.
	Send(stamp []byte, n int) error
	// Acked waits for acknowledgements and returns how many came.
	Acked() (int, error)
	// Receive waits for messages, acknowledges them, and calls got with the start of each payload. A
	// line without a receiver returns io.EOF at once.
	Receive(got func(stamp []byte)) error
	// Close ends the line: waiting calls return.
	Close() error
}

// Load describes the load on lines.
type Load struct {
	Window   int           // unacknowledged messages of a line
	Batch    int           // most messages per Send; 0: the window
	Rate     float64       // messages per second of all lines together; 0: as fast as possible
	Warm     time.Duration // time before the measurement begins
	Duration time.Duration // of the measurement
	// Begin and End are called when the measurement begins and ends.
	Begin, End func()
}

// Outcome is the result of a load.
type Outcome struct {
	Acked   int64           // acknowledged within Took
	Took    time.Duration   // of the measurement
	Latency []time.Duration // from Send to Receive, sorted; of messages received within Took
}

// PerSecond is the rate of acknowledged messages.
func (o Outcome) PerSecond() float64 { return float64(o.Acked) / o.Took.Seconds() }

// Quantile returns the latency below which a share q of the messages lies.
func (o Outcome) Quantile(q float64) time.Duration {
	if len(o.Latency) == 0 {
		return 0
	}
	return o.Latency[min(int(q*float64(len(o.Latency))), len(o.Latency)-1)]
}

// run is the state of one load.
type run struct {
	Load
	epoch     time.Time
	measuring atomic.Bool
	stopping  atomic.Bool
	acked     atomic.Int64
	mu        sync.Mutex
	latency   []time.Duration // guarded by mu
}

// Run loads lines and closes them.
func Run(ctx context.Context, lines []Line, l Load) (Outcome, error) {
	if l.Batch == 0 {
		l.Batch = l.Window
	}
	r := &run{Load: l, epoch: time.Now()}
	g, gctx := errgroup.WithContext(ctx)
	senders, _ := errgroup.WithContext(gctx)
	for i, line := range lines {
		w := newWindow(l.Window)
		senders.Go(func() error { return r.send(gctx, line, w, i, len(lines)) })
		g.Go(func() error { return r.count(line, w) })
		g.Go(func() error { return r.receive(line) })
	}
	var out Outcome
	g.Go(func() error {
		defer func() {
			for _, line := range lines {
				_ = line.Close() // the ends of the line have already reported errors
			}
		}()
		if err := wait(gctx, l.Warm); err != nil {
			return err
		}
		call(l.Begin)
		start := time.Now()
		r.measuring.Store(true)
		err := wait(gctx, l.Duration)
		r.measuring.Store(false)
		out.Took, out.Acked = time.Since(start), r.acked.Load()
		call(l.End)
		r.stopping.Store(true)
		return errors.Join(err, senders.Wait())
	})
	err := g.Wait()
	out.Latency = r.latency
	slices.Sort(out.Latency)
	return out, err
}

func call(f func()) {
	if f != nil {
		f()
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send keeps the window full, or the pace, and at the end waits for the answers.
func (r *run) send(ctx context.Context, line Line, w *window, i, lines int) error {
	stamp := make([]byte, 8)
	var every time.Duration
	next := r.epoch
	if r.Rate > 0 {
		every = time.Duration(float64(lines) / r.Rate * float64(time.Second))
		next = next.Add(every * time.Duration(i) / time.Duration(lines)) // the lines take turns
	}
	for !r.stopping.Load() {
		batch := r.Batch
		if every > 0 {
			batch = 1
			if err := wait(ctx, time.Until(next)); err != nil {
				return err
			}
			next = next.Add(every)
		}
		n, err := w.take(ctx, batch)
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint64(stamp, uint64(time.Since(r.epoch)))
		if err := line.Send(stamp, n); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	return w.drained(ctx)
}

func (r *run) count(line Line, w *window) error {
	for {
		n, err := line.Acked()
		if r.measuring.Load() {
			r.acked.Add(int64(n))
		}
		w.give(n)
		if err != nil {
			return r.ended("acknowledgements", err)
		}
	}
}

func (r *run) receive(line Line) error {
	var own []time.Duration
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.latency = append(r.latency, own...)
	}()
	for {
		err := line.Receive(func(stamp []byte) {
			if r.measuring.Load() && len(stamp) >= 8 {
				own = append(own, time.Since(r.epoch)-time.Duration(binary.BigEndian.Uint64(stamp)))
			}
		})
		if err != nil {
			return r.ended("receive", err)
		}
	}
}
