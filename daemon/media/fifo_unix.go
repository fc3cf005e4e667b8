//go:build unix

package media

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// waitForWriter returns when a FIFO has data, or had a writer that has left. Before that a
// read would return io.EOF. Closing f ends the wait.
func waitForWriter(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var polled error
	err = c.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, polled = unix.Poll(fds, 0)
		if errors.Is(polled, unix.EINTR) {
			polled = nil
		}
		return polled != nil || fds[0].Revents != 0
	})
	return errors.Join(err, polled)
}
