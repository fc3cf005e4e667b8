package files

import (
	"context"
	"errors"
	"io"
	"sync"

	"secmsg/crypto/seal"
	"secmsg/daemon/store"
)

// firstRead is the initial size of a stream's buffer in bytes.
const firstRead = 64 << 10

// liveStream is the stream of a connected caller.
type liveStream struct {
	r    io.Reader
	done chan struct{} // closed when it has been read to its end

	// taken says that an attempt has begun to read the stream. No second one can. It is
	// owned by the upload.
	taken bool

	ahead  [1]byte // the byte after the last part
	peeked bool

	mu   sync.Mutex
	free [][]byte // guarded by mu
}

func newLiveStream(r io.Reader) *liveStream { return &liveStream{r: r, done: make(chan struct{})} }

// interrupt closes the stream, to end a blocked read, if the stream is an io.Closer.
func (s *liveStream) interrupt() {
	if c, ok := s.r.(io.Closer); ok {
		_ = c.Close() // the stream is lost anyway
	}
}

func (s *liveStream) buffer() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b[:0]
	}
	return nil
}

func (s *liveStream) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < uploadBuffers {
		s.free = append(s.free, b)
	}
}

// next reads one part, and one byte more to learn whether the part is the last one.
func (s *liveStream) next(ctx context.Context) (data []byte, last bool, err error) {
	data = s.buffer()
	if s.peeked {
		data = append(data, s.ahead[0])
		s.peeked = false
	}
	for len(data) < seal.FilePartPlain {
		if len(data) == cap(data) {
			grown := make([]byte, len(data), min(max(firstRead, 2*cap(data)), seal.FilePartPlain))
			copy(grown, data)
			data = grown
		}
		n, err := s.read(ctx, data[len(data):min(cap(data), seal.FilePartPlain)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			return data, true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	for {
		n, err := s.read(ctx, s.ahead[:])
		switch {
		case n > 0:
			s.peeked = true
			return data, false, nil
		case errors.Is(err, io.EOF):
			return data, true, nil
		case err != nil:
			return nil, false, err
		}
	}
}

func (s *liveStream) read(ctx context.Context, b []byte) (int, error) {
	n, err := readerCtx{ctx, s.r}.Read(b)
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	case ctx.Err() != nil:
		return n, context.Cause(ctx)
	}
	return n, &failure{store.ReasonFileStream, "the stream broke off; nothing was sent"}
}

// finished reports that the stream has been read to its end.
func (s *liveStream) finished(size int64, t *tracker) {
	t.setTotal(size)
	close(s.done)
}
