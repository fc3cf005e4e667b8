//go:build !unix

package files

import (
	"errors"
	"syscall"
)

// isFull reports whether an error means that there is no space left.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
