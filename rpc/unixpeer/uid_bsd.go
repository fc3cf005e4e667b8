//go:build darwin || freebsd

package unixpeer

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// UID returns the user at the other end of c, as known to the kernel (LOCAL_PEERCRED).
func UID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Xucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptXucred(int(fd), solLocal, unix.LOCAL_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	if optErr != nil {
		return 0, fmt.Errorf("peer credentials: %w", optErr)
	}
	return int(cred.Uid), nil
}

// solLocal is the level of options of local sockets, 0 on the BSDs (SOL_LOCAL in sys/un.h).
const solLocal = 0
