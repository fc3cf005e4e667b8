package link

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"

	"secmsg/rpc/wire"
)

// Shape of the backoff: doubling, each wait anywhere within half of itself, so
// that the clients of a restarted server do not come back in step.
const (
	backoffMultiplier = 2
	backoffJitter     = 0.5
)

const (
	// eagerWait bounds the waits of an outage that has just begun: most are a
	// restart of the server. Later waits may be as long as a part of the outage.
	eagerWait = 5 * time.Second
	eagerPart = 4
	// kickEvery is the least time between two attempts that somebody asked for.
	kickEvery = time.Second
	// networkEvery is how often a wait looks whether the network has changed.
	networkEvery = 2 * time.Second
)

// waiter waits between attempts to connect. It is for one goroutine.
type waiter struct {
	b       backoff.ExponentialBackOff
	max     time.Duration
	network func() string // nil: never changes

	began   time.Time // of the outage; zero until an attempt has failed
	attempt time.Time // when the last attempt began
	at      string    // the network at that time
}

func newWaiter(t Timing, network func() string) *waiter {
	if network == nil {
		network = func() string { return "" }
	}
	w := &waiter{max: t.BackoffMax, network: network, b: backoff.ExponentialBackOff{
		InitialInterval: t.BackoffMin, MaxInterval: t.BackoffMax,
		Multiplier: backoffMultiplier, RandomizationFactor: backoffJitter,
	}}
	w.reset()
	return w
}

// reset begins with the shortest wait again.
func (w *waiter) reset() {
	w.began = time.Time{}
	w.b.Reset()
}

// begin tells that an attempt begins.
func (w *waiter) begin() { w.attempt, w.at = time.Now(), w.network() }

// next returns how long to wait after err, and the part of it that the server
// asked for and that nothing shortens.
func (w *waiter) next(err error) (wait, asked time.Duration) {
	now := time.Now()
	if w.began.IsZero() {
		w.began = now
	}
	w.b.MaxInterval = min(w.max, max(eagerWait, now.Sub(w.began)/eagerPart))
	wait = min(w.b.NextBackOff(), w.max)
	switch KindOf(err) {
	case KindRefused, KindVersion, KindUntrusted:
		// Nothing that waiting a second can change.
		if fatalReason(err) == wire.Reason_REASON_UNSPECIFIED {
			wait = max(wait, w.max/2)
		}
	}
	asked = min(Wait(err), wire.MaxRetryAfter)
	return max(wait, asked), asked
}

// sleep waits after err. A kick, which may have come during the attempt, and a
// change of the network end it early and reset the backoff, but not before the
// server's own time is over, and not before kickEvery after the last attempt began,
// or the shortest wait. It reports false when ctx has ended.
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
