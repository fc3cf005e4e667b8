package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// chunk is how much one direction of a connection reads at once, in bytes.
	chunk = 16 << 10
	// inFlight is how many chunks may wait out a delay: 4 MiB with full chunks, enough for 8 MB/s at
	// 500 ms.
	inFlight = 256
	// shallowBuffer is the kernel buffer size that a shallow proxy requests, in bytes.
	shallowBuffer = 64 << 10
)

// TCPFaults are the faults of a TCPProxy. The zero value passes everything through.
type TCPFaults struct {
	// Delay is added in each direction.
	Delay time.Duration
	// Rate bounds each direction of each connection, in bytes per second; 0: no bound.
	Rate int
	// Slice cuts the data into pieces of random sizes up to this, each written separately; 0: off.
	Slice int
	// StallUp and StallDown stop the data to the server, or to the client, while set.
	StallUp, StallDown bool
	// Refuse closes new connections at once.
	Refuse bool
}

// TCPProxy forwards TCP connections and disturbs them below TLS, where it can forge nothing: cuts,
// delays, slices, stalls, resets and slow connections.
type TCPProxy struct {
	target string
	depth  int // number of pieces that may wait in a connection
	ln     net.Listener
	wg     sync.WaitGroup

	passedUp, passedDown atomic.Int64

	mu      sync.Mutex
	rng     *rand.Rand            // guarded by mu
	faults  TCPFaults             // guarded by mu
	changed chan struct{}         // guarded by mu; closed and replaced by Set and Close
	conns   map[*net.TCPConn]bool // guarded by mu
	closed  bool                  // guarded by mu
}

// NewTCPProxy listens on addr and forwards to target. seed determines the sizes of slices.
func NewTCPProxy(addr, target string, seed uint64) (*TCPProxy, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("tcp proxy: %w", err)
	}
	p := &TCPProxy{target: target, depth: inFlight, ln: ln, rng: NewRand(seed, "tcp"), changed: make(chan struct{}), conns: map[*net.TCPConn]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Shallow keeps next to nothing in the proxy's buffers, so that the bytes passed nearly equal the bytes
// sent. Call it before the first connection; it is not suitable for delays.
func (p *TCPProxy) Shallow() { p.depth = 1 }

// Addr is the address on which the proxy listens.
func (p *TCPProxy) Addr() string { return p.ln.Addr().String() }

// Set changes the faults, also for existing connections.
func (p *TCPProxy) Set(f TCPFaults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
	close(p.changed)
	p.changed = make(chan struct{})
}

// Passed returns how many bytes have been passed to the server and to clients so far.
func (p *TCPProxy) Passed() (up, down int64) { return p.passedUp.Load(), p.passedDown.Load() }

// Cut closes every connection. With reset it uses RST, so that data in transit is lost.
func (p *TCPProxy) Cut(reset bool) (cut int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reset {
		// Set linger on all connections before closing the first: the end of one side makes its pipe
		// close the other, which would send FIN otherwise.
		for c := range p.conns {
			_ = c.SetLinger(0) // a connection that is gone needs no reset
		}
	}
	for c := range p.conns {
		_ = c.Close()
	}
	return len(p.conns) / 2
}

// Close ends the proxy and all connections through it.
func (p *TCPProxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.ln.Close()
	p.Set(TCPFaults{})
	p.Cut(false)
	p.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("tcp proxy: %w", err)
	}
	return nil
}

func (p *TCPProxy) accept() {
	for {
		c, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if f, _ := p.state(); f.Refuse {
			_ = c.Close()
			continue
		}
		p.wg.Go(func() { p.join(c.(*net.TCPConn)) })
	}
}

// join connects a client to the server until one of them ends.
func (p *TCPProxy) join(down *net.TCPConn) {
	conn, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = down.Close()
		return
	}
	up := conn.(*net.TCPConn)
	if p.depth < inFlight {
		for _, c := range []*net.TCPConn{down, up} {
			_, _ = c.SetReadBuffer(shallowBuffer), c.SetWriteBuffer(shallowBuffer) // larger buffers are no error
		}
	}
	if !p.track(down, up) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.pipe(up, down, &p.passedUp, func(f TCPFaults) bool { return f.StallUp }) })
	wg.Go(func() { p.pipe(down, up, &p.passedDown, func(f TCPFaults) bool { return f.StallDown }) })
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, down)
	delete(p.conns, up)
}

func (p *TCPProxy) track(conns ...*net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			_ = c.Close()
			continue
		}
		p.conns[c] = true
	}
	return !p.closed
}

func (p *TCPProxy) state() (TCPFaults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}

// piece is the data of one read, and its time.
type piece struct {
	data []byte
	at   time.Time
}

// pipe copies one direction. It keeps reading while pieces wait, so that a delay does not reduce
// throughput.
func (p *TCPProxy) pipe(dst, src *net.TCPConn, passed *atomic.Int64, stalled func(TCPFaults) bool) {
	pieces, gone := make(chan piece, p.depth), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(pieces)
		for {
			b := make([]byte, chunk)
			n, err := src.Read(b)
			if n > 0 {
				select {
				case pieces <- piece{data: b[:n], at: time.Now()}:
				case <-gone:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for pc := range pieces {
		if !p.pass(dst, pc, passed, stalled) {
			break
		}
	}
	close(gone)
	_, _ = dst.Close(), src.Close() // both directions end together
	wg.Wait()
}

// pass writes one piece under the current faults.
func (p *TCPProxy) pass(dst *net.TCPConn, pc piece, passed *atomic.Int64, stalled func(TCPFaults) bool) bool {
	for len(pc.data) > 0 {
		f, changed := p.state()
		wait := time.Until(pc.at.Add(f.Delay))
		n := len(pc.data)
		if f.Slice > 0 {
			n = min(n, p.size(f.Slice))
		}
		if f.Rate > 0 {
			n = min(n, max(f.Rate/20, 1))
			wait = max(wait, time.Duration(n)*time.Second/time.Duration(f.Rate))
		}
		switch {
		case stalled(f):
			<-changed
			continue
		case wait > 0 && !pause(wait, changed):
			continue // the faults have changed
		}
		if _, err := dst.Write(pc.data[:n]); err != nil {
			return false
		}
		passed.Add(int64(n))
		pc.data = pc.data[n:]
	}
	return true
}

func (p *TCPProxy) size(limit int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 1 + p.rng.IntN(limit)
}

// pause waits for d and reports whether it was not interrupted.
func pause(d time.Duration, changed <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-changed:
		return false
	}
}
