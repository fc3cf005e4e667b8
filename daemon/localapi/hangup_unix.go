//go:build unix

package localapi

import (
	"net"

	"golang.org/x/sys/unix"
)

// hungUp reports whether the other end of c is closed. A caller that has closed only its
// sending side still reads: `printf ... | nc -U`.
func hungUp(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	})
	return err != nil || gone
}
