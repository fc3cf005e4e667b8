package unixpeer

import (
	"fmt"
	"net"
	"syscall"
)

// UID returns the user at the other end of c, as known to the kernel (SO_PEERCRED: the credentials
// at the time of connect or listen).
func UID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	var cred *syscall.Ucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		cred, optErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	if optErr != nil {
		return 0, fmt.Errorf("peer credentials: %w", optErr)
	}
	return int(cred.Uid), nil
}
