package media

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// fifoReader opens a FIFO on demand and waits for a writer. It opens without blocking: a
// blocking open can only be ended by a writer, which can never come after the FIFO was
// removed.
type fifoReader struct {
	path string

	mu   sync.Mutex
	f    *os.File // guarded by mu
	done bool     // guarded by mu
}

func newFIFOReader(path string) *fifoReader { return &fifoReader{path: path} }

func (p *fifoReader) open() (io.ReadCloser, error) {
	f, err := os.OpenFile(p.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.done {
		p.mu.Unlock()
		return nil, errors.Join(ErrClosed, f.Close())
	}
	p.f = f
	p.mu.Unlock()
	if err := waitForWriter(f); err != nil {
		return nil, fmt.Errorf("wait for a writer: %w", err)
	}
	return p, nil
}

// Read reads from the FIFO.
func (p *fifoReader) Read(b []byte) (int, error) { return p.f.Read(b) }

// Close ends an open that waits for a writer, and a Read.
func (p *fifoReader) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil
	}
	p.done = true
	if p.f != nil {
		return p.f.Close()
	}
	return nil
}
