package media

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxBuckets bounds the memory of a limiter to about 6 MiB.
	maxBuckets = 1 << 16
	// minPrune is the least time between two passes over a full limiter.
	minPrune = time.Second
	// ipv6Site is the length of the prefix that counts as one IPv6 address.
	ipv6Site = 64
	// bandwidthBurst is how many seconds of a bandwidth may pass at once: video key frames are bursts.
	bandwidthBurst = 2 * time.Second
	// packetHeaders is the number of bytes charged for a packet beside its content: the headers of IPv4
	// and UDP. Without it small packets would cost almost nothing, and empty ones nothing.
	packetHeaders = 28
)

// requestLimiter bounds the answers to each address. It fails closed: if there is no room for a new
// address, that address gets no answer.
type requestLimiter struct {
	rate Rate // constant
	now  func() time.Time

	mu     sync.Mutex
	full   map[netip.Prefix]time.Time // when the bucket is full again; guarded by mu
	pruned time.Time                  // guarded by mu
}

func newRequestLimiter(rate Rate, now func() time.Time) *requestLimiter {
	return &requestLimiter{rate: rate, now: now, full: map[netip.Prefix]time.Time{}}
}

// site is the key of an address in limits.
func site(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = ipv6Site
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // all invalid addresses share one key
	}
	return p
}

// take reports whether addr may get one more answer.
func (l *requestLimiter) take(addr netip.Addr) bool {
	key, now := site(addr), l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.full[key]
	if !known && len(l.full) >= maxBuckets && !l.pruneLocked(now) {
		return false
	}
	if full.Before(now) {
		full = now
	}
	if full.After(now.Add(time.Duration(l.rate.Burst-1) * l.rate.Every)) {
		return false
	}
	l.full[key] = full.Add(l.rate.Every)
	return true
}

func (l *requestLimiter) pruneLocked(now time.Time) bool {
	if since := now.Sub(l.pruned); since >= 0 && since < minPrune {
		return false
	}
	l.pruned = now
	for k, t := range l.full {
		if !t.After(now) {
			delete(l.full, k)
		}
	}
	return len(l.full) < maxBuckets
}

// byteBucket bounds the bytes per second of one account.
type byteBucket struct {
	perSecond int64 // constant
	now       func() time.Time

	mu   sync.Mutex
	full time.Time // when the bucket is full again; guarded by mu
}

// take reports whether another packet of n bytes may pass.
func (b *byteBucket) take(n int) bool {
	cost := time.Duration(int64(n+packetHeaders) * int64(time.Second) / b.perSecond)
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.full
	if full.Before(now) {
		full = now
	}
	if full = full.Add(cost); full.After(now.Add(bandwidthBurst)) {
		return false
	}
	b.full = full
	return true
}

// idle reports whether the bucket is full.
func (b *byteBucket) idle() bool {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.full.After(now)
}
