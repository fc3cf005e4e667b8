package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps keys out of core files, and keeps other processes of the same user
// from attaching to this one.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid attaching: %w", err)
	}
	return nil
}
