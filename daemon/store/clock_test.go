package store

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestProfileClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c profileClock
		c.load(0) // a new profile starts with the wall clock
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
		// A server ten years ahead moves lifetimes by a day at most.
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
		c.load(time.Now().AddDate(0, -2, 0).UnixMilli()) // away for two months, wall clock right
		server := time.Now().Add(time.Second)
		c.set(server)
		if got := c.now(); !got.Equal(server.Round(0)) {
			t.Errorf("profile time is %v, the server says %v", got, server)
		}
	})
}
