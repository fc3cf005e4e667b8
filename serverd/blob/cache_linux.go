package blob

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache tells the system that a file will not be read again soon. Failing
// costs only memory.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// startWrite has the system begin to write what was just given to it, so that
// the disk works while more comes in and a sync has little left to wait for.
// Failing costs only time: what is durable is the sync's word alone.
func startWrite(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
