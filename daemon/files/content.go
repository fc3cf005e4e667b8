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
	mem *memCopy // nil: only the spool has it
}

// memCopy is the copy in memory of a spooled part. Either its reader releases the buffer,
// or the sealing stage reclaims it before a reader has acquired it. A nil memCopy is valid
// and empty.
type memCopy struct {
	free func([]byte) // constant

	mu   sync.Mutex
	data []byte // nil: released; guarded by mu
	used bool   // a reader has acquired it; guarded by mu
}

// acquire returns the data, which stays valid until release, or nil if there is none.
func (m *memCopy) acquire() []byte {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = true
	return m.data
}

func (m *memCopy) release() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.releaseLocked()
}

func (m *memCopy) releaseLocked() {
	if m.data != nil {
		m.free(m.data)
		m.data = nil
	}
}

// reclaim releases the buffer unless a reader has acquired it.
func (m *memCopy) reclaim() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.used {
		m.releaseLocked()
	}
}

// content reads a part: from memory at first, and from the spool after the memory copy was
// released. So retries, and transports that repeat a request, need no memory copy. It is
// not safe for concurrent use.
type content struct {
	u    *upload
	part sealedPart
	data []byte // nil: read the spool
	file *os.File
}

// forget releases the memory copy.
func (c *content) forget() {
	c.data = nil
	c.part.mem.release()
}

// open finds the part in memory or in the spool. It fails with errLost if neither has it,
// or with errSpool.
func (c *content) open() (err error) {
	if c.file != nil {
		return nil
	}
	if c.data = c.part.mem.acquire(); c.data != nil {
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
		_ = c.file.Close() // read only
	}
}
