// Package clock is the server's clock (rpc/DELIVERY.md, promise 9). It follows the wall clock but not
// its jumps. After a jump of over an hour, or a start at an implausible time, it continues from the
// last trusted time at the pace of the monotonic clock until an administrator confirms the wall clock.
// So nothing expires early, and no client is sent a wrong time. The state survives a restart, so
// restarting does not confirm a wrong time.
//
// A Clock is safe for concurrent use. Run saves its state until the context ends.
package clock

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"secmsg/serverd/store"
)

const (
	// Jump is how far the wall clock may move against the monotonic clock between two readings.
	Jump = time.Hour
	// Away is the longest time that a server may have been down when it starts. If the wall clock is
	// further ahead, it is more likely wrong, and trusting it would expire mail (retention: 30 days)
	// too early by that much.
	Away = 7 * 24 * time.Hour
	// saveEvery is how often the time is saved, and checked when nobody reads it.
	saveEvery = time.Minute
)

// Store keeps the state across restarts.
type Store interface {
	ClockState(ctx context.Context) (store.ClockState, error)
	SetClockState(ctx context.Context, c store.ClockState) error
}

// Clock is the server's clock.
type Clock struct {
	// constant
	store   Store
	wall    func() time.Time
	started time.Time // monotonic reference
	log     *slog.Logger

	mu   sync.Mutex // guards below
	base time.Time  // the server's time at monotonic time `at`
	at   time.Duration
	held bool
}

// Open restores the saved state and continues from it.
func Open(ctx context.Context, st Store, wall func() time.Time, log *slog.Logger) (*Clock, error) {
	saved, err := st.ClockState(ctx)
	if err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	c := &Clock{store: st, wall: wall, started: time.Now(), log: log, base: wall()}
	if saved.At.IsZero() {
		return c, nil
	}
	away := c.base.Round(0).Sub(saved.At)
	if c.held = saved.Held || away < -Jump || away > Away; c.held {
		c.base = saved.At
		log.Error("the wall clock is not trusted until an administrator confirms it; nothing expires until then", "ahead", away)
	}
	return c, nil
}

// Now returns the server's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, _ := c.nowLocked()
	return now
}

// nowLocked returns the server's time, and how far the wall clock is ahead of it.
func (c *Clock) nowLocked() (now time.Time, ahead time.Duration) {
	elapsed, wall := time.Since(c.started), c.wall()
	expected := c.base.Add(elapsed - c.at)
	ahead = wall.Round(0).Sub(expected.Round(0))
	if !c.held && (ahead > Jump || ahead < -Jump) {
		c.held = true
		c.log.Error("the wall clock jumped; nothing expires until an administrator confirms it", "by", ahead)
	}
	if c.held {
		return expected, ahead
	}
	c.base, c.at = wall, elapsed
	return wall, 0
}

// Held reports whether the wall clock is currently not trusted, and how far it is ahead of the server's
// time.
func (c *Clock) Held() (ahead time.Duration, held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ahead = c.nowLocked()
	return ahead, c.held
}

// Confirm trusts the wall clock as it is now and saves that. It returns how far the server's time has
// moved.
func (c *Clock) Confirm(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	_, ahead := c.nowLocked()
	c.mu.Unlock()
	// Save first: if that fails, nothing has changed.
	if err := c.store.SetClockState(ctx, store.ClockState{At: c.wall()}); err != nil {
		return 0, fmt.Errorf("confirm clock: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.at, c.held = c.wall(), time.Since(c.started), false
	c.log.Info("wall clock confirmed", "moved", ahead)
	return ahead, nil
}

// Save stores the current time.
func (c *Clock) Save(ctx context.Context) error {
	c.mu.Lock()
	now, _ := c.nowLocked()
	state := store.ClockState{At: now, Held: c.held}
	c.mu.Unlock()
	if err := c.store.SetClockState(ctx, state); err != nil {
		return fmt.Errorf("save clock: %w", err)
	}
	return nil
}

// Run saves the time every minute until ctx ends, and then once more.
func (c *Clock) Run(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			running = false
		}
		if err := c.Save(context.WithoutCancel(ctx)); err != nil {
			c.log.Warn("could not save the time", "error", err)
		}
	}
}
