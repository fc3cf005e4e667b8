package serverd

import (
	"os"

	"golang.org/x/sys/windows"
)

// flock takes the lock on an open file, or fails at once if another process has it. It locks a byte far
// beyond the end, so that the file can still be read.
func flock(f *os.File) error {
	const behind = 1 << 30
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{OffsetHigh: behind})
}

// fileDescriptors returns how many files this process may open; Windows does not report it.
func fileDescriptors() int { return fdUnknown }
