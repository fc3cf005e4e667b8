//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// readable waits up to limit until Accept would return a connection.
func readable(ln *net.UnixListener, limit time.Duration) (bool, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("wait on the socket: %w", err)
	}
	ready, waitErr := false, error(nil)
	err = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			waitErr = fmt.Errorf("wait on the socket: %w", err)
		}
		ready = n > 0
	})
	return ready, errors.Join(err, waitErr)
}
