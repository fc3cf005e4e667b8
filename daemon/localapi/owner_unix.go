//go:build unix

package localapi

import (
	"io/fs"
	"os"
	"syscall"
)

// owned reports whether the file is the caller's own.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// loose reports whether a directory's mode lets others in.
func loose(info fs.FileInfo) bool { return info.Mode().Perm()&^dirMode != 0 }
