//go:build !linux

package admin

import (
	"net"
	"os"
)

// peerUID trusts the socket's directory, which only its owner may enter, where
// the system's call for the peer's uid differs from Linux's.
func peerUID(*net.UnixConn) (uint32, error) { return uint32(os.Getuid()), nil }
