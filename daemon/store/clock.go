package store

import (
	"context"
	"sync"
	"time"
)

// clockKey names the stored profile time, leapKey what of maxLeap was used up, and
// clockSave is how stale the stored values may get: what a crash costs of lifetimes.
const (
	clockKey  = "profile time"
	leapKey   = "profile time leap used"
	clockSave = time.Minute
)

// maxLeap is how far servers may move profile time beyond both its own count and
// the wall clock in a day of monotonic time, however often they are connected to
// and the daemon is started. A server whose clock is years ahead would otherwise
// end every lifetime at once, and since profile time never goes back, for good.
// An honest server needs none of it but what this machine's clock is slow: a
// profile that was away catches up with the wall clock at once, and a wall clock
// that is days behind makes the realm's certificates and statement fail first.
const maxLeap = 24 * time.Hour

// profileClock is the clock that lifetimes run on: server time at the last
// authenticated connection plus monotonic time since, stored, never backwards
// (rpc/DELIVERY.md, promise 9). The wall clock sets it only when a profile is new, so that
// a wrong one expires nothing.
type profileClock struct {
	mu    sync.Mutex
	base  time.Time // guarded by mu; profile time at start
	start time.Time // guarded by mu; with a monotonic reading
	saved time.Time // guarded by mu; the value that is stored
	// used is what of maxLeap was used up; it is paid back as monotonic time goes
	// by, since paid.
	used time.Duration // guarded by mu
	paid time.Time     // guarded by mu; with a monotonic reading
	// said is the clock of the last server in this run, at the time heard.
	said  time.Time // guarded by mu; zero: none yet
	heard time.Time // guarded by mu; with a monotonic reading
}

// load begins with what is stored; ms is 0 for a new profile.
func (c *profileClock) load(ms int64, used time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start = time.Now()
	c.used, c.paid = min(max(used, 0), maxLeap), c.start
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

// keys returns the time that keys are dated by; see Store.KeyTime.
func (c *profileClock) keys() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, limit := c.nowLocked(), time.Now()
	if !c.said.IsZero() {
		if server := c.said.Add(max(time.Since(c.heard), 0)); server.After(limit) {
			limit = server
		}
	}
	if now.After(limit) {
		return limit.UTC().Round(0)
	}
	return now
}

func (c *profileClock) set(server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said, c.heard = server, time.Now()
	now := c.nowLocked()
	free := now
	if wall := time.Now(); wall.After(free) {
		free = wall
	}
	left := maxLeap - c.usedLocked()
	if limit := free.Add(left); server.After(limit) {
		server = limit
	}
	if leap := server.Sub(free); leap > 0 {
		c.used += leap
	}
	if server.After(now) {
		now = server.UTC().Round(0)
	}
	c.base, c.start = now, time.Now()
}

// usedLocked returns what of maxLeap is used up now.
func (c *profileClock) usedLocked() time.Duration {
	now := time.Now()
	c.used = max(c.used-max(now.Sub(c.paid), 0), 0)
	c.paid = now
	return c.used
}

// leapt returns what of maxLeap is used up now.
func (c *profileClock) leapt() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usedLocked()
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

// KeyTime returns the time of sessions, prekeys and manifests: profile time, as
// long as it is not ahead of both this machine's clock and that of the last server.
// Others check what this device dates, and refuse what is too far ahead. Profile
// time never goes back: after a server, or a wrong clock when the profile was made,
// has once moved it ahead, no peer would take a session of this device and no server
// its prekeys, for good.
func (s *Store) KeyTime() time.Time { return s.clock.keys() }

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
	if err := tx.SetMetaInt(0, leapKey, s.clock.leapt().Milliseconds()); err != nil {
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
		used, err := tx.MetaInt(0, leapKey)
		if err != nil {
			return err
		}
		s.clock.load(ms, time.Duration(min(max(used, 0), maxLeap.Milliseconds()))*time.Millisecond)
		return nil
	})
}
