// Package limit holds the token buckets of the server: Keyed, one for each key
// that strangers choose, and Bucket, a single one.
//
// Keyed is the only limiter whose number of buckets an attacker controls, so it has
// two properties that no library we know combines. It is bounded: it keeps at most a
// fixed number of keys and forgets those whose bucket is full again. And it fails
// closed: when there is no room for another key, that key is refused. A key costs one
// time.Time. A rate.Limiter for each would take four times the memory, and would
// let a wall clock that steps back and forth hand out the same tokens twice.
//
// Bucket is golang.org/x/time/rate with the clock of the server. Its owners bound
// how many there are: the relay and the media server keep some for each account.
//
// Both types may be used concurrently.
package limit

import (
	"math"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// Rate allows Burst events at once, and one more after each Every. A rate with a
// field that is not positive allows nothing.
type Rate struct {
	Burst int
	Every time.Duration
}

// valid reports whether the rate allows anything.
func (r Rate) valid() bool { return r.Burst > 0 && r.Every > 0 }

// maxSpan bounds the time in which an empty bucket fills, so that adding it to a
// time cannot overflow.
const maxSpan = 100 * 365 * 24 * time.Hour

// span returns n times every, at most maxSpan.
func span(n int, every time.Duration) time.Duration {
	if n > 0 && every > maxSpan/time.Duration(n) {
		return maxSpan
	}
	return time.Duration(n) * every
}

// Bucket is a token bucket.
type Bucket struct {
	l   *rate.Limiter
	now func() time.Time
}

// NewBucket returns a full bucket. now is its clock.
func NewBucket(r Rate, now func() time.Time) *Bucket {
	if !r.valid() {
		return &Bucket{l: rate.NewLimiter(0, 0), now: now}
	}
	return &Bucket{l: rate.NewLimiter(rate.Every(r.Every), r.Burst), now: now}
}

// NewBytes returns a full bucket for perSecond bytes a second. Its capacity is the
// number of bytes in the period burst, so unused bytes of that period can pass at once.
func NewBytes(perSecond int64, burst time.Duration, now func() time.Time) *Bucket {
	size := min(float64(perSecond)*burst.Seconds(), math.MaxInt32) // an int has 32 bits on some machines
	if perSecond <= 0 || size < 1 {
		return &Bucket{l: rate.NewLimiter(0, 0), now: now}
	}
	return &Bucket{l: rate.NewLimiter(rate.Limit(perSecond), int(size)), now: now}
}

// Allow takes n tokens if there are as many, and reports whether it did.
func (b *Bucket) Allow(n int) bool { return b.l.AllowN(b.now(), n) }

// Take takes one token. If there is none it takes nothing and returns how long it
// will be until there is one.
func (b *Bucket) Take() (ok bool, wait time.Duration) {
	now := b.now()
	if b.l.AllowN(now, 1) {
		return true, 0
	}
	return false, max(time.Millisecond, b.waitAt(now))
}

// Reserve takes n tokens, whether or not there are as many, and returns how long
// the caller must wait before it uses them. n must not exceed the burst.
func (b *Bucket) Reserve(n int) time.Duration {
	now := b.now()
	return b.l.ReserveN(now, n).DelayFrom(now)
}

// Wait returns how long it will be until there is a token, 0 if there is one.
func (b *Bucket) Wait() time.Duration { return b.waitAt(b.now()) }

func (b *Bucket) waitAt(now time.Time) time.Duration {
	missing := 1 - b.l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	if b.l.Burst() < 1 {
		return maxSpan
	}
	return time.Duration(missing / float64(b.l.Limit()) * float64(time.Second))
}

// Tokens returns how many tokens there are. It is negative while reserved ones are owed.
func (b *Bucket) Tokens() float64 { return b.l.TokensAt(b.now()) }

// Full reports whether the bucket is full. A full bucket can be forgotten: a new
// one would allow the same.
func (b *Bucket) Full() bool { return b.Tokens() >= float64(b.l.Burst()) }

// ipv6Site is the length of the IPv6 prefix that counts as one address in limits.
// A site gets at least a /64, so more addresses within it cost an attacker nothing.
const ipv6Site = 64

// Site returns the key of an address in limits: the IPv4 address, or the /64 of
// an IPv6 one. All invalid addresses share the zero key.
func Site(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = ipv6Site
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
