//go:build !unix

package media

import (
	"errors"
	"syscall"
)

// wsaConnReset is what Windows says when an earlier packet met a closed port.
const wsaConnReset = syscall.Errno(10054)

// isRefused reports whether err tells of a peer that did not want an earlier
// packet. It says nothing about the socket.
func isRefused(err error) bool { return errors.Is(err, wsaConnReset) }
