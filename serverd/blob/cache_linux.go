package blob

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache tells the kernel that a file will not be read again soon. Failure costs only memory.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// startWrite makes the kernel begin to write the data just handed to it, so that the disk works while
// more arrives and a later sync has little left to do. Failure costs only time: durability comes from
// the sync alone.
func startWrite(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
