//go:build !unix

package files

import (
	"errors"
	"syscall"
)

// isFull reports whether an error means that the disk is full.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
