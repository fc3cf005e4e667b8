package api

import (
	"sync"
	"time"
)

// Rate is a token bucket: Burst at once, then one more per Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// DefaultLimiterKeys bounds a limiter's memory: about 8 MiB when full. Keys
// whose bucket is full again take no room.
const DefaultLimiterKeys = 1 << 16

// minPrune is the least time between two walks over a limiter that is full, so
// that a flood of keys costs no walk for each request.
const minPrune = time.Second

// Limiter is a token bucket for each key, kept in memory. It fails closed: when
// it has no room for a new key, the new key is refused. It may be used
// concurrently.
type Limiter struct {
	rate Rate // constant
	max  int  // constant
	now  func() time.Time

	mu sync.Mutex
	// full holds when a key's bucket is full again (the theoretical arrival
	// time of the generic cell rate algorithm); guarded by mu.
	full   map[string]time.Time
	pruned time.Time // guarded by mu
}

// NewLimiter makes a limiter for at most maxKeys keys (0: DefaultLimiterKeys).
func NewLimiter(rate Rate, maxKeys int, now func() time.Time) *Limiter {
	if maxKeys <= 0 {
		maxKeys = DefaultLimiterKeys
	}
	return &Limiter{rate: rate, max: maxKeys, now: now, full: map[string]time.Time{}}
}

// Take takes one from key's bucket. If it is empty it takes nothing, and wait
// says when there is one again.
func (l *Limiter) Take(key string) (ok bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	full, known := l.full[key]
	if !known && len(l.full) >= l.max && !l.pruneLocked(now) {
		return false, max(l.rate.Every, minPrune)
	}
	if full.Before(now) {
		full = now
	}
	// The bucket holds Burst less what must still flow in until it is full.
	allowed := now.Add(time.Duration(l.rate.Burst-1) * l.rate.Every)
	if full.After(allowed) {
		return false, full.Sub(allowed)
	}
	l.full[key] = full.Add(l.rate.Every)
	return true, 0
}

// Len returns how many keys have a bucket that is not full.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.full)
}

// pruneLocked drops keys whose bucket is full and reports whether there is room.
func (l *Limiter) pruneLocked(now time.Time) bool {
	if now.Sub(l.pruned) < minPrune && !now.Before(l.pruned) {
		return false
	}
	l.pruned = now
	for k, t := range l.full {
		if !t.After(now) {
			delete(l.full, k)
		}
	}
	return len(l.full) < l.max
}
