package files

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/semaphore"

	"secmsg/crypto/seal"
)

const (
	// partBuffer is enough for any part, plain or sealed.
	partBuffer = seal.FilePartPlain + seal.FilePartChunks*seal.TagSize + seal.FileHeaderSize
	// leastBuffers is the minimum for a transfer: one sealed part and one plain part.
	leastBuffers = 2
	// uploadBuffers is the number of buffers of an upload if memory is available: one is
	// read into and sealed, one is being spooled, and one is being sent.
	uploadBuffers = 3
	// fetchBuffers is the number of buffers of a fetch if memory is available: two for
	// plaintext (one being opened, one being written) and three for sealed parts (one being
	// opened, the others being downloaded).
	fetchBuffers = 5
	// memoryLimit bounds the buffers that all transfers share, in bytes. It lets the first
	// fetch run at full speed and leaves the minimum for a second one. With the reserved
	// buffers of the first upload and first fetch of an account, and the daemon's other
	// memory, one transfer stays below 100 MiB for files of any size.
	memoryLimit = fetchBuffers * partBuffer
)

// Memory bounds the buffers of all transfers of a daemon. Its methods may be called
// concurrently.
//
// The first upload and the first fetch of each account always get their minimum. So a
// stalled transfer, whose server is unreachable or whose reader does not read, cannot take
// the memory of other accounts or of the other direction.
type Memory struct {
	shared *semaphore.Weighted

	mu   sync.Mutex
	free [][]byte // buffers of partBuffer bytes; guarded by mu
	used int      // number of reservations; guarded by mu
}

// NewMemory returns the bound that all services of a daemon share.
func NewMemory() *Memory { return &Memory{shared: semaphore.NewWeighted(memoryLimit)} }

// reserve waits for leastBuffers buffers of size bytes and takes up to most of them if they
// are available now. own is the semaphore of the transfer with reserved memory, which does
// not wait. A transfer reserves all its buffers at once, so two transfers cannot deadlock
// with half of their buffers each.
func (m *Memory) reserve(ctx context.Context, own chan struct{}, most, size int) (*reservation, error) {
	r := &reservation{m: m, size: size, count: leastBuffers}
	select {
	case own <- struct{}{}:
		r.own = own
	default:
		r.weight = leastBuffers * int64(size)
		if err := m.shared.Acquire(ctx, r.weight); err != nil {
			return nil, fmt.Errorf("wait for memory: %w", err)
		}
	}
	for ; r.count < most && m.shared.TryAcquire(int64(size)); r.count++ {
		r.weight += int64(size)
	}
	r.buffers = make(chan []byte, 2*r.count) // room for more than count, so that a test can detect an excess
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used++
	return r, nil
}

// reservation holds the buffers of one transfer.
type reservation struct {
	m       *Memory
	own     <-chan struct{} // nil: all of it counts against the shared limit
	size    int
	count   int
	weight  int64
	buffers chan []byte // free buffers
}

// get returns a buffer of length 0 and capacity size. The caller makes sure that at most
// count buffers are in use.
func (r *reservation) get() []byte {
	select {
	case b := <-r.buffers:
		return b[:0]
	default:
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if n := len(r.m.free); r.size == partBuffer && n > 0 {
		b := r.m.free[n-1]
		r.m.free = r.m.free[:n-1]
		return b[:0]
	}
	return make([]byte, 0, r.size)
}

// put returns a buffer.
func (r *reservation) put(b []byte) {
	if cap(b) == r.size {
		select {
		case r.buffers <- b:
		default:
		}
	}
}

// release ends the reservation. When no reservation is left, it runs the garbage collector:
// otherwise the garbage and the next transfer's buffers together would be twice the limit.
func (r *reservation) release() {
	r.m.mu.Lock()
	for len(r.buffers) > 0 {
		if b := <-r.buffers; r.size == partBuffer {
			r.m.free = append(r.m.free, b)
		}
	}
	collect := false
	if r.m.used--; r.m.used == 0 {
		collect = len(r.m.free) > 0
		r.m.free = nil
	}
	r.m.mu.Unlock()
	if collect {
		runtime.GC()
	}
	r.m.shared.Release(r.weight)
	if r.own != nil {
		<-r.own
	}
}

// bufferSize returns the buffer size for a file of size bytes (-1: unknown).
func bufferSize(size int64) int {
	if size < 0 || size >= seal.FilePartPlain {
		return partBuffer
	}
	n, err := seal.SealedFileSize(size)
	if err != nil || n > partBuffer {
		return partBuffer
	}
	return int(n)
}
