// Package backoff says how long to wait between the tries of something that fails.
// Every repeated try in the daemon and the commands takes its waits from here, so that
// all of them double, have a random part, and respect what the server asks for. It
// wraps github.com/cenkalti/backoff, whose type counts the tries itself: here the
// caller does, since some counts are stored in a database, and some are reset by events.
//
// A Backoff is a value without state. It may be used concurrently.
package backoff

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// jitter is the random part of a wait: it lies within this share of the interval.
	// Without it the clients of a server that restarts would come back in step.
	jitter = 0.5
	// MaxWish bounds the time that a server can ask a client to wait: wire.MaxRetryAfter.
	MaxWish = 15 * time.Minute
	// maxTries is enough to reach any longest interval from a nanosecond.
	maxTries = 63
)

// Backoff is how long to wait between tries.
type Backoff struct{ first, longest time.Duration }

// New returns waits that begin near first, double with each try, and never exceed longest.
func New(first, longest time.Duration) Backoff { return Backoff{first, longest} }

// After returns how long to wait after tries earlier waits, the first being
// After(0, wish). The wait lies anywhere within half of the interval. It is at least
// wish, which the server asked for, as far as that is within MaxWish; 0 is no wish.
func (b Backoff) After(tries int, wish time.Duration) time.Duration {
	const above = 1 + jitter // a wait can be this much longer than its interval
	return max(b.next(tries, jitter, time.Duration(float64(b.longest)/above)), min(wish, MaxWish))
}

// Interval returns the interval after tries earlier ones, without a random part:
// for a caller that computes the same wait again, which would get the shortest of
// all that it draws.
func (b Backoff) Interval(tries int) time.Duration { return b.next(tries, 0, b.longest) }

func (b Backoff) next(tries int, jitter float64, longest time.Duration) time.Duration {
	x := backoff.ExponentialBackOff{
		InitialInterval: min(b.first, longest), MaxInterval: longest,
		Multiplier: 2, RandomizationFactor: jitter,
	}
	x.Reset()
	for range min(tries, maxTries) {
		x.NextBackOff()
	}
	return x.NextBackOff()
}
