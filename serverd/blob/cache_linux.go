package blob

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache tells the system that a file will not be read again soon. Failing
// costs only memory.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
