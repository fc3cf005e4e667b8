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
	// inFlight is how many chunks wait out a delay: with chunks of a full
	// buffer 4 MiB, enough for 8 MB/s at 500 ms.
	inFlight = 256
	// shallowBuffer is what a shallow proxy asks of the kernel, in bytes.
	shallowBuffer = 64 << 10
)

// TCPFaults is what a TCPProxy does to what passes through. The zero value
// passes everything on.
type TCPFaults struct {
	// Delay is added in each direction.
	Delay time.Duration
	// Rate bounds each direction of each connection, in bytes per second; 0: no bound.
	Rate int
	// Slice cuts what passes into pieces of random sizes up to this, each written for itself; 0: not.
	Slice int
	// StallUp and StallDown let nothing through to the server, or to the client, while set.
	StallUp, StallDown bool
	// Refuse closes new connections at once.
	Refuse bool
}

// TCPProxy forwards TCP connections and disturbs them below TLS, where no end
// can be lied to: cuts, delays, slices, stalls, resets and slow lines.
type TCPProxy struct {
	target string
	depth  int // pieces that wait in a connection
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

// NewTCPProxy listens on addr and forwards to target; seed decides sizes of slices.
func NewTCPProxy(addr, target string, seed uint64) (*TCPProxy, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("tcp proxy: %w", err)
	}
	p := &TCPProxy{target: target, depth: inFlight, ln: ln, rng: NewRand(seed, "tcp"), changed: make(chan struct{}), conns: map[*net.TCPConn]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Shallow keeps next to nothing in the proxy, so that what a client has sent is
// nearly what has passed. It is called before the first connection, and is not
// for delays.
func (p *TCPProxy) Shallow() { p.depth = 1 }

// Addr is where the proxy listens.
func (p *TCPProxy) Addr() string { return p.ln.Addr().String() }

// Set changes the faults, for living connections too.
func (p *TCPProxy) Set(f TCPFaults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
	close(p.changed)
	p.changed = make(chan struct{})
}

// Passed returns how many bytes have gone to the server and to clients so far.
func (p *TCPProxy) Passed() (up, down int64) { return p.passedUp.Load(), p.passedDown.Load() }

// Cut closes every connection; with reset by RST, so that what was on its way is lost.
func (p *TCPProxy) Cut(reset bool) (cut int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reset {
		// All before the first is closed: the end of one side makes its pipe close
		// the other, which would send FIN if it came first.
		for c := range p.conns {
			_ = c.SetLinger(0) // a connection that is gone needs no reset
		}
	}
	for c := range p.conns {
		_ = c.Close()
	}
	return len(p.conns) / 2
}

// Close ends the proxy and everything that passes through it.
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
			_, _ = c.SetReadBuffer(shallowBuffer), c.SetWriteBuffer(shallowBuffer) // more is no error
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

// piece is what was read at once, and when.
type piece struct {
	data []byte
	at   time.Time
}

// pipe copies one direction. Reading goes on while pieces wait, so that a delay
// costs no throughput.
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

// pass writes one piece as the faults of the moment demand.
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
			continue // other faults by now
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

// pause waits for d and reports whether it came to its end.
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
