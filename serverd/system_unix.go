//go:build unix

package serverd

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock takes the lock on an open file, or fails at once if another process has it.
func flock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// fileDescriptors returns how many files this process may open.
func fileDescriptors() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil || l.Cur > 1<<24 {
		return fdUnknown
	}
	return int(l.Cur)
}
