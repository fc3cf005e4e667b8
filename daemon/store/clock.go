package store

import (
	"context"
	"sync"
	"time"
)

// clockKey is the key of the stored profile time and leapKey that of the used part of
// maxLeap. clockSave is how old the stored values may get: a crash sets lifetimes back by
// at most that.
const (
	clockKey  = "profile time"
	leapKey   = "profile time leap used"
	clockSave = time.Minute
)

// maxLeap bounds how far servers may move profile time ahead of both its own count and the
// wall clock in a day of monotonic time, however often they are connected to and the daemon
// is started. Without it, a server whose clock is years ahead would end every lifetime at
// once, and permanently, since profile time never goes back. An honest server needs it only
// as far as this machine's clock is slow: a profile that was not used for a while catches
// up with the wall clock at once, and if the wall clock is days behind, the realm's
// certificates and statement are rejected first.
const maxLeap = 24 * time.Hour

// profileClock is the clock for lifetimes: the server's time at the last authenticated
// connection plus the monotonic time since then. It is stored and never goes back
// (rpc/DELIVERY.md, promise 9). The wall clock sets it only for a new profile, so that a
// wrong wall clock expires nothing.
type profileClock struct {
	mu    sync.Mutex
	base  time.Time // profile time at start; guarded by mu
	start time.Time // with a monotonic reading; guarded by mu
	saved time.Time // stored profile time; guarded by mu
	// used is the used part of maxLeap. It decreases with monotonic time; paid is when that
	// was last applied.
	used time.Duration // guarded by mu
	paid time.Time     // with a monotonic reading; guarded by mu
	// said is the clock of the last server in this run, at the time heard.
	said  time.Time // zero: none yet; guarded by mu
	heard time.Time // with a monotonic reading; guarded by mu
}

// load initializes the clock from the stored values; ms is 0 for a new profile.
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

// keys returns the time for the dates of keys; see Store.KeyTime.
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

// usedLocked returns the part of maxLeap that is used now.
func (c *profileClock) usedLocked() time.Duration {
	now := time.Now()
	c.used = max(c.used-max(now.Sub(c.paid), 0), 0)
	c.paid = now
	return c.used
}

// leapt returns the part of maxLeap that is used now.
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

// ProfileTime returns the time that lifetimes are measured in.
func (s *Store) ProfileTime() time.Time { return s.clock.now() }

// KeyTime returns the time for sessions, prekeys and manifests: profile time, limited to
// the later one of this machine's clock and the last server's. Other devices check those
// dates and reject any that are too far ahead. Since profile time never goes back, it
// cannot be used: if a server, or a wrong clock of a new profile, had once moved it ahead,
// all peers would reject this device's sessions and all servers its prekeys, permanently.
func (s *Store) KeyTime() time.Time { return s.clock.keys() }

// SetServerTime sets profile time from an authenticated server's clock and stores it. It
// never moves profile time back.
func (s *Store) SetServerTime(ctx context.Context, server time.Time) error {
	s.clock.set(server)
	return s.Update(ctx, func(tx *Tx) error { return s.saveClock(tx, s.clock.now()) })
}

// saveClock stores profile time in a transaction.
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

// loadClock reads the stored time in Open.
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
