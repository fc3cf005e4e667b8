package relay

import (
	"sync"
	"time"
)

// testClock is a wall clock that a test can move.
type testClock struct {
	mu     sync.Mutex
	offset time.Duration // guarded by mu
}

func newClock() *testClock { return &testClock{} }

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}
