// Package backoff computes the waits between retries. All retries of the daemon and the
// commands use it, so all waits double, have a random part, and respect a wait that the
// server requests. It wraps github.com/cenkalti/backoff, whose type counts the tries
// itself. Here the caller counts them, since some counts are stored in a database, and
// some are reset by events.
//
// A Backoff is a value without state. It may be used concurrently.
package backoff

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// jitter is the random part of a wait: it lies within this share of the interval.
	// Without it all clients would reconnect to a restarted server at the same time.
	jitter = 0.5
	// MaxWish bounds the time that a server can ask a client to wait: wire.MaxRetryAfter.
	MaxWish = 15 * time.Minute
	// maxTries doublings reach every duration from a nanosecond.
	maxTries = 63
)

// Backoff is a sequence of waits between tries.
type Backoff struct{ first, longest time.Duration }

// New returns waits that begin near first, double with each try, and never exceed longest.
func New(first, longest time.Duration) Backoff { return Backoff{first, longest} }

// After returns the wait that follows tries earlier ones; the first is After(0, wish).
// The wait is random, at most half of the interval below or above it. It is at least
// wish, the wait that the server requested, limited to MaxWish; 0 is no request.
func (b Backoff) After(tries int, wish time.Duration) time.Duration {
	const above = 1 + jitter // a wait can be this much longer than its interval
	return max(b.next(tries, jitter, time.Duration(float64(b.longest)/above)), min(wish, MaxWish))
}

// Interval returns the interval that follows tries earlier ones, without a random part.
// It is for a caller that computes the same wait repeatedly: with a random part, the
// shortest of the results would take effect.
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
