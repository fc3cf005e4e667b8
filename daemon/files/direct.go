package files

import (
	"errors"
	"os"
	"syscall"
)

// directAlign is what past the system's cache must start at and be a multiple
// of, in the file and in memory, in bytes: the page, which no disk's block
// exceeds that a file system accepts for this.
const directAlign = 4096

// directFrom is from which size on a file that was fetched is written past the
// system's cache, in bytes. Smaller ones are often read at once.
const directFrom = 64 << 20

// direct writes large pieces of a file past the system's cache. A file that
// passes once would push out of the cache what is read all the time, and in a
// virtual machine each new page of the cache costs several times the copy into
// it. Where the system or the file system cannot, it writes as always. It is
// for one goroutine at a time.
type direct struct {
	f   *os.File
	off bool // the file system cannot
}

// WriteAt implements io.WriterAt. What it has written is as little durable as
// by any other write.
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
		if err != nil { // memory or disk want another alignment
			d.off, n = true, 0
		}
	}
	if n == len(b) {
		return n, nil
	}
	m, err := d.f.WriteAt(b[n:], off+int64(n))
	return n + m, err
}
