//go:build unix

package config

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// enforceMode: the file system knows the modes of users, groups and others.
const enforceMode = true

// checkOwner refuses a directory of another user.
func checkOwner(dir string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("directory %s belongs to another user (uid %d)", dir, st.Uid)
	}
	return nil
}
