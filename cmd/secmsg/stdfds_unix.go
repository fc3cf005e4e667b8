//go:build !cgo && unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// exactStdfds means that closedAtStart is certain.
const exactStdfds = false

// closedAtStart reports which standard descriptors may have been closed. Without cgo,
// no code of this program runs before the runtime replaces them by the null device.
// The runtime opens it for reading and writing; a shell's >/dev/null does not.
func closedAtStart() stdfds { return stdfds{stdoutMaybe: nullBothWays(int(os.Stdout.Fd()))} }

func nullBothWays(fd int) bool {
	var null, at unix.Stat_t
	if unix.Stat(os.DevNull, &null) != nil || unix.Fstat(fd, &at) != nil || at.Rdev != null.Rdev || at.Mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}
