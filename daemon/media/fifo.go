package media

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// fifoReader opens a FIFO when it is time and waits for a writer. Opening itself
// never waits: an open that waits can only be ended by a writer, and there is
// none to be had once somebody removed the FIFO.
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

// Close ends an open that waits, and a read.
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
