// Package clock is the server's time (rpc/DELIVERY.md, promise 9): it follows the
// wall clock, but not its jumps. After a jump of over an hour, or a start at a
// time that cannot be true, it goes on from the last time that was believed, at
// the pace of the monotonic clock, until an administrator confirms the wall
// clock; so nothing expires early, and no client is told a wrong time. The state
// outlives a restart, so that starting again confirms nothing.
//
// A Clock may be used concurrently; Run saves it until its context ends.
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
	// Jump is how far the wall clock may move against the monotonic clock between two looks.
	Jump = time.Hour
	// Away is how long a server may have stood when it starts. A wall clock that
	// is further ahead is more probably wrong, and believing it would expire
	// mail (retention: 30 days) that much too early.
	Away = 7 * 24 * time.Hour
	// saveEvery is how often the time is saved, and looked at when nobody asks.
	saveEvery = time.Minute
)

// Store keeps the state over restarts.
type Store interface {
	ClockState(ctx context.Context) (store.ClockState, error)
	SetClockState(ctx context.Context, c store.ClockState) error
}

// Clock is the server's time.
type Clock struct {
	// constant
	store   Store
	wall    func() time.Time
	started time.Time // monotonic reference
	log     *slog.Logger

	mu   sync.Mutex // guards below
	base time.Time  // the server's time at the monotonic time at
	at   time.Duration
	held bool
}

// Open continues from the saved state.
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
		log.Error("the wall clock is not believed until an administrator confirms it: nothing is swept", "ahead", away)
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

// nowLocked returns the server's time and how far the wall clock is ahead of what it should be.
func (c *Clock) nowLocked() (now time.Time, ahead time.Duration) {
	elapsed, wall := time.Since(c.started), c.wall()
	expected := c.base.Add(elapsed - c.at)
	ahead = wall.Round(0).Sub(expected.Round(0))
	if !c.held && (ahead > Jump || ahead < -Jump) {
		c.held = true
		c.log.Error("the wall clock jumped: nothing is swept until an administrator confirms it", "by", ahead)
	}
	if c.held {
		return expected, ahead
	}
	c.base, c.at = wall, elapsed
	return wall, 0
}

// Held reports whether the wall clock is not believed, and how far it is ahead
// of the time that goes on instead.
func (c *Clock) Held() (ahead time.Duration, held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ahead = c.nowLocked()
	return ahead, c.held
}

// Confirm believes the wall clock as it stands, and makes that durable. It
// returns how far the server's time has moved.
func (c *Clock) Confirm(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	_, ahead := c.nowLocked()
	c.mu.Unlock()
	// Saved first: when that fails nothing has changed.
	if err := c.store.SetClockState(ctx, store.ClockState{At: c.wall()}); err != nil {
		return 0, fmt.Errorf("confirm clock: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.at, c.held = c.wall(), time.Since(c.started), false
	c.log.Info("the wall clock is confirmed", "moved", ahead)
	return ahead, nil
}

// Save makes the present time durable.
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
			c.log.Warn("the time could not be saved", "error", err)
		}
	}
}
