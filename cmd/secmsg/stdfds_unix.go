//go:build !cgo && unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// exactStdfds says that closedAtStart tells for certain.
const exactStdfds = false

// closedAtStart reports which standard descriptors may have been closed: nothing
// of this program can run before the runtime has opened the null device in their
// place. It opens it for reading and writing, and a shell's >/dev/null does not.
func closedAtStart() stdfds { return stdfds{stdoutMaybe: nullBothWays(int(os.Stdout.Fd()))} }

func nullBothWays(fd int) bool {
	var null, at unix.Stat_t
	if unix.Stat(os.DevNull, &null) != nil || unix.Fstat(fd, &at) != nil || at.Rdev != null.Rdev || at.Mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}
