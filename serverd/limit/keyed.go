package limit

import (
	"sync"
	"time"
)

const (
	// DefaultKeys bounds a Keyed's memory: about 8 MiB when full with addresses.
	DefaultKeys = 1 << 16
	// minPrune is the least time between two walks over a full Keyed, so that a
	// flood of keys does not cost a walk for each request. A walk over 65,536 keys
	// takes about a millisecond.
	minPrune = time.Second
)

// Keyed is a token bucket for each key. See the package comment for its promises.
type Keyed[K comparable] struct {
	// constant
	rate Rate
	// lead is how far ahead of now the time in full may be when there is still a token.
	lead time.Duration
	max  int
	now  func() time.Time

	mu sync.Mutex
	// full holds when each key's bucket will be full again: the theoretical arrival
	// time of the generic cell rate algorithm (ITU-T I.371). Guarded by mu.
	full   map[K]time.Time
	pruned time.Time // the last walk; guarded by mu
}

// NewKeyed returns a limiter for at most maxKeys keys (0: DefaultKeys). now is its clock.
func NewKeyed[K comparable](r Rate, maxKeys int, now func() time.Time) *Keyed[K] {
	if maxKeys <= 0 {
		maxKeys = DefaultKeys
	}
	return &Keyed[K]{rate: r, lead: span(r.Burst-1, r.Every), max: maxKeys, now: now, full: map[K]time.Time{}}
}

// Take takes one token from key's bucket. If there is none, or no room for another
// key, it takes nothing and returns how long the caller should wait.
func (l *Keyed[K]) Take(key K) (ok bool, wait time.Duration) {
	if !l.rate.valid() {
		return false, maxSpan
	}
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
	if last := now.Add(l.lead); full.After(last) {
		return false, full.Sub(last)
	}
	l.full[key] = full.Add(l.rate.Every)
	return true, 0
}

// Len returns how many keys are kept.
func (l *Keyed[K]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.full)
}

// pruneLocked drops the keys whose bucket is full and reports whether there is room.
func (l *Keyed[K]) pruneLocked(now time.Time) bool {
	if since := now.Sub(l.pruned); since >= 0 && since < minPrune {
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
