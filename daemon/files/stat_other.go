//go:build !unix

package files

import (
	"errors"
	"io/fs"
	"syscall"
)

// inodeOf returns nothing on this system: size and time of change must do.
func inodeOf(fs.FileInfo) (device, inode uint64) { return 0, 0 }

// isFull reports whether an error means that there is no space left.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
