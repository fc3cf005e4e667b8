package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"secmsg/daemon/store"
)

// errSpool says that a spooled part cannot be read.
var errSpool = errors.New("the spool cannot be read")

// sealedPart is a part on its way to the server.
type sealedPart struct {
	store.TransferPart
	loan *loan // nil: only the spool has it
}

// loan is the memory of a part that the spool has too. Whoever lent it may take
// it back until it is in use. A nil loan is of no memory.
type loan struct {
	free func([]byte) // constant

	mu   sync.Mutex
	data []byte // nil: given back; guarded by mu
	used bool   // guarded by mu
}

// use returns the memory, or nil, and has it stay until giveBack.
func (l *loan) use() []byte {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = true
	return l.data
}

func (l *loan) giveBack() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.giveBackLocked()
}

func (l *loan) giveBackLocked() {
	if l.data != nil {
		l.free(l.data)
		l.data = nil
	}
}

// takeBack takes the memory back unless it is in use.
func (l *loan) takeBack() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.used {
		l.giveBackLocked()
	}
}

// content reads a part: from memory the first time, and then from the spool. A
// retry, or a transport that repeats a request, need not find it in memory. It
// is for one goroutine at a time.
type content struct {
	u    *upload
	part sealedPart
	data []byte // nil: the spool is read
	file *os.File
}

// forget gives the memory back.
func (c *content) forget() {
	c.data = nil
	c.part.loan.giveBack()
}

// open finds the part in memory or in the spool: errLost if it is in
// neither, or errSpool.
func (c *content) open() (err error) {
	if c.file != nil {
		return nil
	}
	if c.data = c.part.loan.use(); c.data != nil {
		return nil
	}
	c.file, err = c.u.s.spool.open(c.u.id, c.part.Number, c.part.Size)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errLost
	case err != nil:
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(b []byte, off int64) (int, error) {
	if off >= 0 && off+int64(len(b)) <= int64(len(c.data)) {
		return copy(b, c.data[off:]), nil
	}
	c.forget()
	if err := c.open(); err != nil {
		return 0, err
	}
	return c.file.ReadAt(b, off)
}

func (c *content) close() {
	c.forget()
	if c.file != nil {
		_ = c.file.Close() // it was only read
	}
}
