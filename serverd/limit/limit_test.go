package limit

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secmsg/serverd/clock/clocktest"
)

func TestKeyed(t *testing.T) {
	c := clocktest.At(time.Unix(1e9, 0))
	l := NewKeyed[string](Rate{Burst: 3, Every: time.Minute}, 2, c.Now)
	take := func(key string, good bool, wait time.Duration) {
		t.Helper()
		if ok, w := l.Take(key); ok != good || w != wait {
			t.Errorf("%s: %v %v", key, ok, w)
		}
	}
	for range 3 {
		take("a", true, 0)
	}
	take("a", false, time.Minute)
	c.Advance(30 * time.Second)
	take("a", false, 30*time.Second)
	c.Advance(30 * time.Second)
	take("a", true, 0)
	take("a", false, time.Minute)
	take("b", true, 0)
	take("c", false, time.Minute) // no room: fails closed
	c.Advance(time.Minute)        // b's bucket is full again
	take("c", true, 0)
	if l.Len() != 2 {
		t.Errorf("%d keys", l.Len())
	}
	c.Advance(-time.Hour) // a clock that goes back permits nothing
	if ok, _ := l.Take("a"); ok {
		t.Error("setting the clock back filled the bucket")
	}
	c.Advance(10 * time.Hour)
	for range 3 {
		take("a", true, 0)
	}
	take("a", false, time.Minute)
}

// TestKeyedOverTime takes as often as possible for a virtual hour: the rate holds, and a caller that
// waits for the returned time gets a token.
func TestKeyedOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewKeyed[int](Rate{Burst: 10, Every: time.Second}, 0, time.Now)
		const hour = 3600
		taken, end := 0, time.Now().Add(hour*time.Second)
		for time.Now().Before(end) {
			ok, wait := l.Take(1)
			if ok {
				taken++
				continue
			}
			time.Sleep(wait - time.Nanosecond)
			if ok, _ := l.Take(1); ok {
				t.Fatal("a token was available before the reported wait")
			}
			time.Sleep(time.Nanosecond)
		}
		if taken != hour+10-1 { // the last one is due at the end
			t.Errorf("%d in an hour", taken)
		}
	})
}

// A flood of keys takes no memory beyond the bound, keeps the known keys, and costs at most one pass
// over them per second.
func TestKeyedUnderAFlood(t *testing.T) {
	const room = 100
	c := clocktest.At(time.Unix(1e9, 0))
	l := NewKeyed[int](Rate{Burst: 5, Every: 10 * time.Second}, room, c.Now)
	if ok, _ := l.Take(-1); !ok {
		t.Fatal("the first key is refused")
	}
	in := 0
	for k := range 100_000 {
		ok, wait := l.Take(k)
		if ok {
			in++
		} else if wait < minPrune {
			t.Fatalf("reported wait: %v", wait)
		}
		if l.Len() > room {
			t.Fatalf("%d keys", l.Len())
		}
	}
	if in != room-1 {
		t.Errorf("%d new keys were admitted", in)
	}
	for range 4 {
		if ok, _ := l.Take(-1); !ok {
			t.Error("the flood used a known key's tokens")
		}
	}
	// After a pass that freed nothing, expired keys are found only a second later.
	c.Advance(10*time.Second - minPrune/2)
	l.Take(1_000_000)
	walked := l.pruned
	c.Advance(minPrune / 2)
	if ok, _ := l.Take(1_000_000); ok || l.pruned != walked {
		t.Error("the limiter scanned its keys twice within a second")
	}
	c.Advance(minPrune / 2)
	if ok, _ := l.Take(1_000_000); !ok || l.Len() != 2 {
		t.Errorf("keys whose bucket is full again are kept: %d", l.Len())
	}
}

// A rate that is not valid, or whose product overflows, permits nothing.
func TestRatesThatMakeNoSense(t *testing.T) {
	for _, r := range []Rate{{}, {Burst: 1}, {Every: time.Second}, {Burst: -1, Every: time.Second}, {Burst: 1, Every: -1}} {
		if ok, wait := NewKeyed[int](r, 0, time.Now).Take(1); ok || wait <= 0 {
			t.Errorf("Keyed %v: %v %v", r, ok, wait)
		}
		b := NewBucket(r, time.Now)
		if ok, wait := b.Take(); ok || wait <= 0 || b.Allow(1) || b.Wait() <= 0 {
			t.Errorf("Bucket %v: %v %v", r, ok, wait)
		}
	}
	for _, perSecond := range []int64{0, -1} {
		if NewBytes(perSecond, time.Second, time.Now).Allow(1) {
			t.Errorf("%d bytes a second let one pass", perSecond)
		}
	}
	l := NewKeyed[int](Rate{Burst: 1 << 30, Every: 1000 * time.Hour}, 0, clocktest.At(time.Unix(1e9, 0)).Now)
	taken := 0
	for ok := true; ok && taken < 1<<21; taken++ {
		ok, _ = l.Take(1)
	}
	if want := int(maxSpan / (1000 * time.Hour)); taken < want || taken > want+2 {
		t.Errorf("%d of a burst that is longer than the longest span, want %d", taken, want)
	}
}

// Concurrent callers never get the same token.
func TestKeyedConcurrently(t *testing.T) {
	l := NewKeyed[int](Rate{Burst: 50, Every: time.Hour}, 3, clocktest.At(time.Unix(1e9, 0)).Now)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 800 {
				if ok, _ := l.Take(i % 8); ok {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 3*50 || l.Len() != 3 {
		t.Errorf("%d taken, %d keys", n, l.Len())
	}
}

func TestBucket(t *testing.T) {
	c := clocktest.At(time.Unix(1e9, 0))
	b := NewBucket(Rate{Burst: 2, Every: time.Second}, c.Now)
	if !b.Full() || b.Wait() != 0 || !b.Allow(2) || b.Full() || b.Allow(1) {
		t.Error("a new bucket does not hold its burst")
	}
	if ok, wait := b.Take(); ok || wait != time.Second || b.Wait() != time.Second {
		t.Errorf("empty: %v %v", ok, wait)
	}
	c.Advance(time.Second)
	if ok, wait := b.Take(); !ok || wait != 0 {
		t.Errorf("after a second: %v %v", ok, wait)
	}
	if wait := b.Reserve(2); wait != 2*time.Second || b.Tokens() != -2 {
		t.Errorf("reserved: %v, %v left", wait, b.Tokens())
	}
	c.Advance(4 * time.Second)
	if !b.Full() {
		t.Errorf("%v after the bucket should be full", b.Tokens())
	}
}

func TestBytes(t *testing.T) {
	c := clocktest.At(time.Unix(1e9, 0))
	b := NewBytes(1000, 2*time.Second, c.Now)
	if b.Allow(2001) || !b.Allow(1500) || !b.Allow(500) || b.Allow(1) {
		t.Error("the burst is not two seconds' worth")
	}
	passed := 0
	for range 1000 {
		c.Advance(10 * time.Millisecond)
		for b.Allow(7) {
			passed += 7
		}
	}
	if passed < 9_990 || passed > 10_000 {
		t.Errorf("%d bytes in ten seconds", passed)
	}
	c.Advance(2 * time.Second)
	if !b.Full() {
		t.Error("an unused bucket does not fill")
	}
	if !NewBytes(1<<62, time.Hour, c.Now).Allow(1 << 20) {
		t.Error("a huge bandwidth does not fit")
	}
}

func TestSite(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Site(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if Site(netip.Addr{}) != (netip.Prefix{}) {
		t.Error("an invalid address has a key of its own")
	}
}

// The cost of a packet through the media server.
func BenchmarkBytes(b *testing.B) {
	l := NewBytes(1<<40, 2*time.Second, time.Now)
	for b.Loop() {
		l.Allow(200)
	}
}

func BenchmarkKeyed(b *testing.B) {
	l := NewKeyed[netip.Prefix](Rate{Burst: 1 << 20, Every: time.Nanosecond}, 0, time.Now)
	key := netip.MustParsePrefix("192.0.2.7/32")
	for b.Loop() {
		l.Take(key)
	}
}
