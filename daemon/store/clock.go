package store

import (
	"context"
	"sync"
	"time"
)

// clockKey names the stored profile time, and clockSave is how stale the
// stored value may get: what a crash costs of lifetimes.
const (
	clockKey  = "profile time"
	clockSave = time.Minute
)

// maxLeap is how far one connection may move profile time beyond both its own
// count and the wall clock. A server whose clock is years ahead would otherwise
// end every lifetime at once, and since profile time never goes back, for good;
// a profile that was away for long under a wrong wall clock catches up a day
// with each connection.
const maxLeap = 24 * time.Hour

// profileClock is the clock that lifetimes run on: server time at the last
// authenticated connection plus monotonic time since, stored, never backwards
// (delivery.md, 9). The wall clock sets it only when a profile is new, so that
// a wrong one expires nothing.
type profileClock struct {
	mu    sync.Mutex
	base  time.Time // guarded by mu; profile time at start
	start time.Time // guarded by mu; with a monotonic reading
	saved time.Time // guarded by mu; the value that is stored
}

func (c *profileClock) load(ms int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start = time.Now()
	c.base = time.UnixMilli(c.start.UnixMilli()).UTC()
	if ms > 0 {
		c.base = time.UnixMilli(ms).UTC()
		c.saved = c.base
	}
}

func (c *profileClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked()
}

func (c *profileClock) nowLocked() time.Time {
	return c.base.Add(max(time.Since(c.start), 0))
}

func (c *profileClock) set(server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.nowLocked()
	limit := now
	if wall := time.Now(); wall.After(limit) {
		limit = wall
	}
	if limit = limit.Add(maxLeap); server.After(limit) {
		server = limit
	}
	if server.After(now) {
		now = server.UTC().Round(0)
	}
	c.base, c.start = now, time.Now()
}

// due returns the present time if it should be stored, else the zero time.
func (c *profileClock) due() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.nowLocked()
	if now.Sub(c.saved) < clockSave {
		return time.Time{}
	}
	return now
}

func (c *profileClock) stored(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.saved) {
		c.saved = t
	}
}

// ProfileTime returns the time that lifetimes run on.
func (s *Store) ProfileTime() time.Time { return s.clock.now() }

// SetServerTime sets profile time from an authenticated server's clock and
// stores it. It never moves backwards.
func (s *Store) SetServerTime(ctx context.Context, server time.Time) error {
	s.clock.set(server)
	return s.Update(ctx, func(tx *Tx) error { return s.saveClock(tx, s.clock.now()) })
}

// saveClock stores profile time as a part of a transaction.
func (s *Store) saveClock(tx *Tx, now time.Time) error {
	if err := tx.SetMetaInt(0, clockKey, now.UnixMilli()); err != nil {
		return err
	}
	tx.OnCommit(func() { s.clock.stored(now) })
	return nil
}

// loadClock reads the stored time after Open.
func (s *Store) loadClock(ctx context.Context) error {
	return s.View(ctx, func(tx *Tx) error {
		ms, err := tx.MetaInt(0, clockKey)
		if err != nil {
			return err
		}
		s.clock.load(ms)
		return nil
	})
}
