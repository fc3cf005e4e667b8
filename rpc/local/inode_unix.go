//go:build unix

package local

import (
	"io/fs"
	"os"
	"syscall"
)

func identityOf(f *os.File) (device, inode uint64, err error) { return identity(f.Stat()) }

func pathIdentity(path string) (device, inode uint64, err error) { return identity(os.Stat(path)) }

func identity(info fs.FileInfo, err error) (device, inode uint64, _ error) {
	if err != nil {
		return 0, 0, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), uint64(st.Ino), nil
	}
	return 0, 0, nil
}
