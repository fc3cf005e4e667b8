// Package clocktest provides a wall clock for the tests of the server's packages, which take their time
// as a func() time.Time.
package clocktest

import (
	"sync"
	"time"
)

// Clock is a wall clock that a test moves. It may be used concurrently.
type Clock struct {
	base func() time.Time // constant

	mu     sync.Mutex
	offset time.Duration // guarded by mu
}

// At returns a clock that stands still at t until it is advanced.
func At(t time.Time) *Clock { return &Clock{base: func() time.Time { return t }} }

// Running returns a clock that shows time.Now until it is advanced, and then runs that much ahead of
// it.
func Running() *Clock { return &Clock{base: time.Now} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base().Add(c.offset)
}

// Advance moves the clock by d, which may be negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}
