package files

import (
	"errors"
	"os"
	"syscall"
)

// directAlign is the alignment of direct writes in the file and in memory, in bytes. It is
// the page size: file systems that support direct writes need no larger one.
const directAlign = 4096

// directFrom is the size from which on a downloaded file is written past the page cache, in
// bytes. Smaller files are often read soon.
const directFrom = 64 << 20

// direct writes large pieces of a file past the page cache. A file that is written once
// would push out of the cache what is read all the time. And in a virtual machine each new
// page of the cache costs several times as much as the copy into it. Where the system or
// the file system does not support this, direct writes normally. It is not safe for
// concurrent use.
type direct struct {
	f   *os.File
	off bool // not supported by the file system, or not wanted
}

// WriteAt implements io.WriterAt. The data is not durable before a sync.
func (d *direct) WriteAt(b []byte, off int64) (n int, err error) {
	whole := len(b) &^ (directAlign - 1)
	if !d.off && whole > 0 && off%directAlign == 0 && setDirect(d.f, true) == nil {
		n, err = d.f.WriteAt(b[:whole], off)
		if e := setDirect(d.f, false); e != nil {
			return n, errors.Join(err, e)
		}
		if err != nil && !errors.Is(err, syscall.EINVAL) {
			return n, err
		}
		if err != nil { // memory or disk need another alignment
			d.off, n = true, 0
		}
	}
	if n == len(b) {
		return n, nil
	}
	m, err := d.f.WriteAt(b[n:], off+int64(n))
	return n + m, err
}
