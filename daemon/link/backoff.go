package link

import (
	"context"
	"time"

	"secmsg/rpc/backoff"
	"secmsg/rpc/wire"
)

const (
	// eagerWait bounds the delays at the start of an outage, since most outages are a
	// restart of the server. Later a delay may be up to 1/eagerPart of the outage so far.
	eagerWait = 5 * time.Second
	eagerPart = 4
	// kickEvery is the minimum time between two attempts triggered by kicks.
	kickEvery = time.Second
	// networkEvery is the interval at which a delay checks for a changed network. It polls:
	// each system reports such changes in a way of its own.
	networkEvery = 2 * time.Second
)

// waiter computes and waits the delays between connection attempts. It is not safe for
// concurrent use.
type waiter struct {
	// constant
	min, max time.Duration
	network  func() string // see Options.Network; nil: never changes

	tries   int       // failed attempts since the last reset
	began   time.Time // start of the outage; zero before the first failure
	attempt time.Time // start of the last attempt
	at      string    // network at the start of the last attempt
}

func newWaiter(t Timing, network func() string) *waiter {
	if network == nil {
		network = func() string { return "" }
	}
	return &waiter{min: t.BackoffMin, max: t.BackoffMax, network: network}
}

// reset returns to the shortest delay.
func (w *waiter) reset() {
	w.began, w.tries = time.Time{}, 0
}

// begin marks the start of an attempt.
func (w *waiter) begin() { w.attempt, w.at = time.Now(), w.network() }

// next returns the delay after err, and the part of it that the server asked for, which
// must not be shortened.
func (w *waiter) next(err error) (wait, asked time.Duration) {
	now := time.Now()
	if w.began.IsZero() {
		w.began = now
	}
	asked = min(Wait(err), backoff.MaxWish)
	longest := min(w.max, max(eagerWait, now.Sub(w.began)/eagerPart))
	wait = backoff.New(w.min, longest).After(w.tries, asked)
	w.tries++
	switch KindOf(err) {
	case KindRefused, KindVersion, KindUntrusted:
		// A retry after one second is pointless.
		if fatalReason(err) == wire.Reason_REASON_UNSPECIFIED {
			wait = max(wait, w.max/2)
		}
	}
	return wait, asked
}

// sleep waits after err. A kick, including one during the attempt, and a change of the
// network end the delay early and reset the backoff. Even then the delay lasts as long as
// the server asked for, and until kickEvery after the start of the last attempt, unless the
// computed delay is shorter. It returns false when ctx has ended.
func (w *waiter) sleep(ctx context.Context, kick <-chan struct{}, err error) bool {
	wait, asked := w.next(err)
	end := time.NewTimer(wait)
	defer end.Stop()
	look := time.NewTicker(networkEvery)
	defer look.Stop()
	ended := time.Now()
	for {
		select {
		case <-end.C:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		case <-look.C:
			if w.network() == w.at {
				continue
			}
		case <-kick:
		}
		break
	}
	w.reset()
	early := max(asked-time.Since(ended), kickEvery-time.Since(w.attempt))
	if early <= 0 {
		return ctx.Err() == nil
	}
	floor := time.NewTimer(early)
	defer floor.Stop()
	select {
	case <-floor.C:
	case <-end.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
