package store

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestProfileClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c profileClock
		c.load(0, 0) // a new profile starts with the wall clock
		start := c.now()
		time.Sleep(time.Minute)
		if got := c.now().Sub(start); got != time.Minute {
			t.Errorf("a minute took %v", got)
		}
		c.set(start.Add(-time.Hour))
		if c.now().Before(start) {
			t.Error("profile time went backwards")
		}
		c.set(start.Add(2 * time.Hour))
		if got := c.now().Sub(start); got != 2*time.Hour {
			t.Errorf("after the server said 2 h: %v", got)
		}
		// A server that is ten years ahead moves lifetimes by at most a day.
		now := c.now()
		c.set(now.AddDate(10, 0, 0))
		if got := c.now().Sub(now); got > maxLeap {
			t.Errorf("one connection moved profile time by %v", got)
		}
	})
}

func TestProfileClockCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c profileClock
		c.load(time.Now().AddDate(0, -2, 0).UnixMilli(), 0) // not used for two months, with a correct wall clock
		server := time.Now().Add(time.Second)
		c.set(server)
		if got := c.now(); !got.Equal(server.Round(0)) {
			t.Errorf("profile time is %v, the server says %v", got, server)
		}
	})
}

// A server whose clock is years ahead moves profile time by at most a day in a day, however
// often the device connects to it and the daemon is restarted.
func TestLeapsAreBoundedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := testPath(t)
		s := openTest(t, path)
		start := s.ProfileTime()
		const days = 3
		for i := range days * 24 * 4 {
			if err := s.SetServerTime(t.Context(), time.Now().AddDate(20, 0, 0)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Minute)
			if i%7 == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openTest(t, path)
			}
		}
		moved := s.ProfileTime().Sub(start)
		if limit := 2*days*24*time.Hour + maxLeap; moved > limit || moved < days*24*time.Hour {
			t.Errorf("in %d days profile time moved by %v", days, moved)
		}
		// An honest server is followed again once profile time's own count has caught up.
		time.Sleep(10 * 24 * time.Hour)
		honest := time.Now().Add(time.Hour)
		before := s.ProfileTime()
		if err := s.SetServerTime(t.Context(), honest); err != nil {
			t.Fatal(err)
		}
		if got := s.ProfileTime(); got.Before(before) || got.Before(honest.Add(-time.Second)) {
			t.Errorf("profile time is %v, was %v, the server says %v", got, before, honest)
		}
	})
}

// Dates that other devices check come from a clock that recovers from a server, or a wall
// clock, that was far ahead, although profile time never does.
func TestKeyTimeComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := func(what string, got, want time.Time) {
			t.Helper()
			if d := got.Sub(want); d.Abs() > time.Millisecond {
				t.Errorf("%s: %s off", what, d)
			}
		}
		var c profileClock
		c.load(time.Now().AddDate(3, 0, 0).UnixMilli(), 0) // created under a clock that was ahead
		near("before a server is known", c.keys(), time.Now())
		c.set(time.Now().Add(time.Hour)) // this machine's clock is slow
		time.Sleep(time.Minute)
		near("with a server", c.keys(), time.Now().Add(time.Hour))
		c.set(time.Now().Add(-time.Hour)) // a server cannot set it back below this machine's clock
		near("with a slow server", c.keys(), time.Now())

		c = profileClock{}
		c.load(0, 0)
		c.set(time.Now().AddDate(1, 0, 0))
		near("while the server is ahead", c.keys(), c.now())
		c.set(time.Now())
		near("once it is right", c.keys(), time.Now())
		if c.now().Before(time.Now().Add(maxLeap - time.Minute)) {
			t.Error("profile time went back")
		}
		c = profileClock{}
		c.load(time.Now().AddDate(0, 0, -5).UnixMilli(), 0)
		near("never ahead of profile time", c.keys(), c.now())
	})
}
