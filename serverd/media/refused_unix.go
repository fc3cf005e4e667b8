//go:build unix

package media

import (
	"errors"
	"syscall"
)

// isRefused reports whether err tells of a peer that did not want an earlier
// packet. It says nothing about the socket.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}
