package backoff

import (
	"testing"
	"time"

	"secmsg/rpc/wire"
)

// draws is large enough to detect a range that is wrong by a tenth, practically always.
const draws = 2000

// span returns the shortest and the longest of many waits.
func span(b Backoff, tries int, wish time.Duration) (shortest, longest time.Duration) {
	shortest = time.Duration(1<<63 - 1)
	for range draws {
		d := b.After(tries, wish)
		shortest, longest = min(shortest, d), max(longest, d)
	}
	return shortest, longest
}

// Waits double, are spread over half of their interval to both sides, and stay below the longest, for
// any number of tries.
func TestWaitsDoubleAndSpread(t *testing.T) {
	b := New(time.Second, time.Minute)
	for tries, interval := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: 2 * time.Second, 2: 4 * time.Second, 5: 32 * time.Second,
		6: 40 * time.Second, 7: 40 * time.Second, 63: 40 * time.Second, 1 << 40: 40 * time.Second,
	} {
		from, to := interval/2, interval*3/2
		shortest, longest := span(b, tries, 0)
		if shortest < from || longest > to {
			t.Errorf("%d tries: %v to %v, outside of %v to %v", tries, shortest, longest, from, to)
		}
		if shortest > from+interval/10 || longest < to-interval/10 {
			t.Errorf("%d tries: %v to %v does not spread over %v to %v", tries, shortest, longest, from, to)
		}
	}
}

func TestIntervals(t *testing.T) {
	b := New(time.Second, time.Minute)
	for tries, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if d := b.Interval(tries); d != want*time.Second {
			t.Errorf("%d tries: %v", tries, d)
		}
	}
	if d := New(time.Hour, time.Minute).Interval(0); d != time.Minute {
		t.Errorf("a first interval over the longest: %v", d)
	}
	if _, longest := span(New(time.Hour, time.Minute), 0, 0); longest > time.Minute {
		t.Errorf("a first wait over the longest: %v", longest)
	}
	if d := New(1, 1<<62).Interval(1 << 20); d != 1<<62 {
		t.Errorf("after very many tries: %v", d)
	}
	if d := (Backoff{}).After(3, 0); d < 0 || d > 1 {
		t.Errorf("without any interval: %v", d)
	}
}

// A longer wait requested by the server takes precedence, up to a bound.
func TestTheServersWish(t *testing.T) {
	b := New(time.Second, time.Minute)
	if MaxWish != wire.MaxRetryAfter {
		t.Errorf("the wish is bounded to %v, on the wire to %v", MaxWish, wire.MaxRetryAfter)
	}
	for _, c := range []struct{ wish, from, to time.Duration }{
		{5 * time.Minute, 5 * time.Minute, 5 * time.Minute},
		{24 * time.Hour, MaxWish, MaxWish},
		{time.Second, time.Second, 1500 * time.Millisecond},
		{time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond},
		{-time.Hour, 500 * time.Millisecond, 1500 * time.Millisecond},
	} {
		if shortest, longest := span(b, 0, c.wish); shortest < c.from || longest > c.to {
			t.Errorf("asked for %v: %v to %v", c.wish, shortest, longest)
		}
	}
}
