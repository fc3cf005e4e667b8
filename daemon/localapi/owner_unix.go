//go:build unix

package localapi

import (
	"io/fs"
	"os"
	"syscall"
)

// owned reports whether the file belongs to this user.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// loose reports whether a directory's mode grants access to other users.
func loose(info fs.FileInfo) bool { return info.Mode().Perm()&^dirMode != 0 }
