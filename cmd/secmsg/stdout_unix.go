//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// unread reports whether f is a pipe whose reader has closed it.
func unread(f *os.File) bool {
	p := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}
