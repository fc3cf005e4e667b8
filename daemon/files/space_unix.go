//go:build linux || darwin || freebsd

package files

import (
	"math"

	"golang.org/x/sys/unix"
)

// space returns the bytes available to this user in the file system of dir, and its size.
func space(dir string) (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	bytes := func(blocks uint64) int64 {
		if size := uint64(s.Bsize); size > 0 && blocks > math.MaxInt64/size {
			return math.MaxInt64
		}
		return int64(blocks * uint64(s.Bsize))
	}
	return bytes(uint64(max(0, int64(s.Bavail)))), bytes(uint64(s.Blocks)), nil
}
