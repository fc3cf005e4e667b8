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
	// memoryLimit bounds the buffers of all transfers in bytes: with what a
	// daemon needs besides, it stays below 100 MiB for files of any size.
	memoryLimit = (uploadBuffers + fetchBuffers) * partBuffer
	// partBuffer has room for any part, plain or sealed.
	partBuffer = seal.FilePartPlain + seal.FilePartChunks*seal.TagSize + seal.FileHeaderSize
	// sealedBuffers is how many sealed parts of an upload are in memory: one
	// leaves while the next one goes to the spool.
	sealedBuffers = 2
	// uploadBuffers and fetchBuffers are how many parts a transfer holds at once.
	uploadBuffers = 1 + sealedBuffers // one is read and sealed
	fetchBuffers  = 4                 // three sealed ones are on their way, one is opened
)

// Memory bounds the buffers of the transfers of a daemon. Its methods may be
// used concurrently.
type Memory struct {
	sem *semaphore.Weighted

	mu   sync.Mutex
	free [][]byte // of partBuffer bytes; guarded by mu
	used int      // reservations; guarded by mu
}

// NewMemory makes the bound that all services of a daemon share.
func NewMemory() *Memory { return &Memory{sem: semaphore.NewWeighted(memoryLimit)} }

// reserve waits for room for n buffers of size bytes, and returns what gives it
// back. Whoever reserves holds all that it will need, so that nobody waits for
// another's half.
func (m *Memory) reserve(ctx context.Context, n, size int) (*reservation, error) {
	r := &reservation{m: m, size: size, weight: int64(n) * int64(size), buffers: make(chan []byte, n)}
	if err := m.sem.Acquire(ctx, r.weight); err != nil {
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used++
	return r, nil
}

// reservation is the buffers of one transfer.
type reservation struct {
	m       *Memory
	size    int
	weight  int64
	buffers chan []byte // that are not in use
}

// get returns a buffer of no length and the reserved capacity.
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

// put gives a buffer back.
func (r *reservation) put(b []byte) {
	if cap(b) == r.size {
		select {
		case r.buffers <- b:
		default:
		}
	}
}

// release ends the reservation. When nobody has one any more, the buffers are
// collected at once: garbage of tens of MiB beside the next transfer's buffers
// would be twice what is bounded here.
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
	r.m.sem.Release(r.weight)
}

// bufferSize is the size of the buffers for a file of size bytes (-1: unknown).
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
