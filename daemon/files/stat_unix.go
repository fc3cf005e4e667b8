//go:build unix

package files

import (
	"errors"
	"io/fs"
	"syscall"
)

// inodeOf returns what tells a file from another one of the same path, size
// and time of change.
func inodeOf(info fs.FileInfo) (device, inode uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), st.Ino
	}
	return 0, 0
}

// isFull reports whether an error means that there is no space left.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
