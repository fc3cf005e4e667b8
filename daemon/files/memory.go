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
	// partBuffer has room for any part, plain or sealed.
	partBuffer = seal.FilePartPlain + seal.FilePartChunks*seal.TagSize + seal.FileHeaderSize
	// leastBuffers is how many parts a transfer must be able to hold: one that is
	// sealed and one that is plain.
	leastBuffers = 2
	// uploadBuffers is how many parts an upload holds if there is room: one is read
	// and sealed, of two that are sealed one leaves while the other goes to the spool.
	uploadBuffers = 3
	// fetchBuffers is how many parts a fetch holds if there is room: two plain ones,
	// of which one is opened while the other is written, and three sealed ones, of
	// which one is opened while the others come.
	fetchBuffers = 5
	// memoryLimit bounds the buffers that transfers share, in bytes: what makes the
	// first fetch fast, and the least of a second one beside it. With the first upload and the
	// first fetch of an account and with what a daemon needs besides, one transfer
	// stays below 100 MiB for files of any size.
	memoryLimit = fetchBuffers * partBuffer
)

// Memory bounds the buffers of the transfers of a daemon. Its methods may be
// used concurrently.
//
// The first upload and the first fetch of each account have what they need at
// least: a transfer that stands still, since its server is away or since nobody
// reads what it prints, keeps no other account and no other direction from its
// memory.
type Memory struct {
	shared *semaphore.Weighted

	mu   sync.Mutex
	free [][]byte // of partBuffer bytes; guarded by mu
	used int      // reservations; guarded by mu
}

// NewMemory makes the bound that all services of a daemon share.
func NewMemory() *Memory { return &Memory{shared: semaphore.NewWeighted(memoryLimit)} }

// reserve waits for room for leastBuffers buffers of size bytes, and takes up to
// most of them if nobody else needs the room now. own holds the one transfer that
// needs not wait. Whoever reserves holds all that it will need, so that nobody
// waits for another's half.
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
	r.buffers = make(chan []byte, 2*r.count) // a test finds what is more than count
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used++
	return r, nil
}

// reservation is the buffers of one transfer.
type reservation struct {
	m       *Memory
	own     <-chan struct{} // nil: all of it is shared
	size    int
	count   int
	weight  int64
	buffers chan []byte // that are not in use
}

// get returns a buffer of no length and the reserved capacity. It is the
// transfer that sees to it that no more than count are in use.
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
	r.m.shared.Release(r.weight)
	if r.own != nil {
		<-r.own
	}
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
