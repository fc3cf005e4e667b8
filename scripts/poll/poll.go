// Package poll waits in tests for conditions that another goroutine or process causes
// without a notification.
package poll

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

const (
	// every is the time between two checks.
	every = 5 * time.Millisecond
	// patience bounds the wait on a machine that is busy with other things. It only ends tests
	// that fail.
	patience = time.Minute
)

// Until returns when ok returns true, and fails the test if that takes too long; what
// describes the condition for the message.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// Buffer is a log that goroutines write while a test reads it.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns the contents.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Reset empties the buffer.
func (b *Buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}
