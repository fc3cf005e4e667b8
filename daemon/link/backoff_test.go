package link

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/wire"
)

func newTestWaiter() *waiter {
	return newWaiter(Timing{BackoffMin: time.Second, BackoffMax: time.Minute}, nil)
}

// TestBackoff checks the delays: short during a short outage, and at least as long as the
// server asks for.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := &ByeError{Reason: wire.Reason_REASON_SHUTDOWN}
		w := newTestWaiter()
		started := time.Now()
		for range 40 {
			away := time.Since(started)
			d, _ := w.next(cut)
			if most := max(eagerWait, away/eagerPart) * 3 / 2; d < time.Second/2 || d > min(most, time.Minute) {
				t.Errorf("waits %s when the server has been away for %s", d, away)
			}
			time.Sleep(d)
		}
		longest := time.Duration(0)
		for range 20 {
			d, _ := w.next(cut)
			longest = max(longest, d)
		}
		if longest < 30*time.Second {
			t.Errorf("waits %s at most after %s", longest, time.Since(started))
		}
		w.reset()
		if d, _ := w.next(cut); d > 2*time.Second {
			t.Errorf("waits %s after a reset", d)
		}
		if d, asked := w.next(&ByeError{Reason: wire.Reason_REASON_RATE, RetryAfter: 5 * time.Minute}); d != 5*time.Minute || asked != d {
			t.Errorf("waits %s, the server asked for 5 min", d)
		}
		if d, _ := w.next(&ByeError{Reason: wire.Reason_REASON_RATE, RetryAfter: 24 * time.Hour}); d != wire.MaxRetryAfter {
			t.Errorf("waits %s", d)
		}
		if d, _ := w.next(ErrUntrusted); d < 30*time.Second {
			t.Errorf("waits %s after an untrusted server", d)
		}
	})
}

// TestAfterARestart simulates many clients of a server that is down for a while: each
// reconnects soon after the server is back.
func TestAfterARestart(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 5 * time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			for range 500 {
				w, back := newTestWaiter(), time.Now().Add(away)
				for {
					w.begin()
					if !time.Now().Before(back) {
						break
					}
					w.sleep(t.Context(), nil, ErrUnreachable)
				}
				if late := time.Since(back); late > eagerWait*3/2 {
					t.Fatalf("a client was back %s after a server that was away for %s", late, away)
				}
			}
		})
	}
}

// TestKicks checks what a kick shortens: only the backoff, at most once a second, and never
// a delay that the server asked for.
func TestKicks(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	for _, c := range []struct {
		name    string
		attempt time.Duration // duration of the attempt
		err     error
		kick    chan struct{}
		network bool // changes during the delay
		min     time.Duration
		max     time.Duration
	}{
		{"during the attempt", 3 * time.Second, ErrUntrusted, closed, false, 0, 0},
		{"after a short attempt", 100 * time.Millisecond, ErrUntrusted, closed, false, 900 * time.Millisecond, 900 * time.Millisecond},
		{"against the server's wish", 3 * time.Second, &ByeError{Reason: wire.Reason_REASON_RATE, RetryAfter: time.Minute}, closed, false, time.Minute, time.Minute},
		{"none", 3 * time.Second, ErrUntrusted, nil, false, 30 * time.Second, time.Minute},
		{"another network", 3 * time.Second, ErrUntrusted, nil, true, networkEvery, networkEvery},
		{"another network, against the server's wish", 3 * time.Second, &ByeError{Reason: wire.Reason_REASON_RATE, RetryAfter: time.Minute}, nil, true, time.Minute, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			at := "here"
			w := newWaiter(Timing{BackoffMin: time.Second, BackoffMax: time.Minute}, func() string { return at })
			w.begin()
			time.Sleep(c.attempt)
			if c.network {
				at = "there"
			}
			start := time.Now()
			w.sleep(t.Context(), c.kick, c.err)
			if took := time.Since(start); took < c.min || took > c.max {
				t.Errorf("%s: waited %s, expected %s to %s", c.name, took, c.min, c.max)
			}
		})
	}
}

// TestKicksAreBounded kicks continuously for a minute.
func TestKicksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		close(closed)
		w, attempts := newTestWaiter(), 0
		for start := time.Now(); time.Since(start) < time.Minute; attempts++ {
			w.begin()
			w.sleep(t.Context(), closed, ErrUnreachable)
		}
		if attempts > int(time.Minute/kickEvery)*2 {
			t.Errorf("%d attempts in a minute", attempts)
		}
	})
}
