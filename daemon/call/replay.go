package call

import (
	"bytes"
	"io"
	"sync"
)

// replay wraps the streams of a caller so that their beginning can be read again. A call
// rings only once its sources have something to send, which reads the beginning of a
// stream. If the call is then replaced by one that the peer started at the same time, the
// sources are opened again and must start at the same place.
type replay struct {
	Streams

	mu     sync.Mutex
	begun  map[string]*bytes.Buffer // content read so far, by stream; guarded by mu
	forgot bool                     // guarded by mu
}

// newReplay returns nil for a caller without streams.
func newReplay(s Streams) Streams {
	if s == nil {
		return nil
	}
	return &replay{Streams: s, begun: map[string]*bytes.Buffer{}}
}

// Input implements Streams.
func (r *replay) Input(name string) (io.ReadCloser, error) {
	in, err := r.Streams.Input(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.begun[name]
	if was == nil {
		was = &bytes.Buffer{}
		r.begun[name] = was
	}
	return &replayed{r: r, in: in, again: bytes.Clone(was.Bytes()), keep: was}, nil
}

// forget drops the kept content: the call is connected, so no other replaces it.
func (r *replay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgot, r.begun = true, map[string]*bytes.Buffer{}
}

// replayed is one opening of a stream.
type replayed struct {
	r     *replay
	in    io.ReadCloser
	again []byte // kept content to read first; owned by the reader
	keep  *bytes.Buffer
}

// Read implements [io.Reader].
func (x *replayed) Read(p []byte) (int, error) {
	if len(x.again) > 0 {
		n := copy(p, x.again)
		x.again = x.again[n:]
		return n, nil
	}
	n, err := x.in.Read(p)
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	if !x.r.forgot {
		x.keep.Write(p[:n])
	}
	return n, err
}

// Close implements [io.Closer].
func (x *replayed) Close() error { return x.in.Close() }
