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

// waiter waits between attempts to connect.
type waiter struct {
	b   backoff.ExponentialBackOff
	max time.Duration
}

func newWaiter(t Timing) *waiter {
	w := &waiter{max: t.BackoffMax, b: backoff.ExponentialBackOff{
		InitialInterval: t.BackoffMin, MaxInterval: t.BackoffMax,
		Multiplier: backoffMultiplier, RandomizationFactor: backoffJitter,
	}}
	w.reset()
	return w
}

func (w *waiter) reset() { w.b.Reset() }

// next returns how long to wait after err: what the server asked for, at least
// as long as the backoff says.
func (w *waiter) next(err error) time.Duration {
	d := min(w.b.NextBackOff(), w.max)
	switch KindOf(err) {
	case KindRefused, KindVersion, KindUntrusted:
		// Nothing that waiting a second can change.
		if fatalReason(err) == wire.Reason_REASON_UNSPECIFIED {
			d = max(d, w.max/2)
		}
	}
	return max(d, min(Wait(err), wire.MaxRetryAfter))
}

// sleep waits after err. A kick ends it early and resets the backoff. It
// reports false when ctx has ended.
func (w *waiter) sleep(ctx context.Context, kick <-chan struct{}, err error) bool {
	t := time.NewTimer(w.next(err))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-kick:
		w.reset()
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
