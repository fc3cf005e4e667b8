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

// openToOthers reports whether a directory's mode grants access to other users.
func openToOthers(info fs.FileInfo) bool { return info.Mode().Perm()&^dirMode != 0 }
