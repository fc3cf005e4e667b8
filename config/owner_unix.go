//go:build unix

package config

import (
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// enforceMode is true: file systems have modes for user, group and others.
const enforceMode = true

// checkOwner refuses a directory of another user.
func checkOwner(dir string, info fs.FileInfo) error {
	if o, foreign := foreignOwner(info); foreign {
		return &OwnerError{Dir: dir, owner: o}
	}
	return nil
}

// foreignOwner returns the owner of a file that belongs to another user.
func foreignOwner(info fs.FileInfo) (owner, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return owner{}, false
	}
	o := owner{uid: strconv.FormatUint(uint64(st.Uid), 10)}
	if u, err := user.LookupId(o.uid); err == nil {
		o.name = u.Username
	}
	return o, true
}
