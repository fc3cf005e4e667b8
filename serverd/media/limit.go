package media

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxBuckets bounds the memory of a limiter: about 6 MiB when full.
	maxBuckets = 1 << 16
	// minPrune is the least time between two walks over a full limiter.
	minPrune = time.Second
	// ipv6Site is the prefix that counts as one IPv6 address.
	ipv6Site = 64
	// bandwidthBurst is how much of a bandwidth may come at once: the key frames
	// of a video are bursts.
	bandwidthBurst = 2 * time.Second
	// packetHeaders is what a packet costs of a bandwidth beside its content, in
	// bytes: the headers of IPv4 and UDP. Else small packets would be nearly free,
	// and empty ones quite.
	packetHeaders = 28
)

// requestLimiter bounds what each address is answered. It fails closed: when it
// has no room for a new address, the new one is not answered.
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
		return netip.Prefix{} // all that is no address is one
	}
	return p
}

// take reports whether addr may be answered once more.
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

// byteBucket bounds the bytes of one account.
type byteBucket struct {
	perSecond int64 // constant
	now       func() time.Time

	mu   sync.Mutex
	full time.Time // when the bucket is full again; guarded by mu
}

// take reports whether a packet of n more bytes may pass.
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
