// Package poll waits in tests for conditions that another goroutine or process causes
// without a notification.
package poll

import (
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
