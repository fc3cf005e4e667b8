package media

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

// fake is a source with frames defined by the test, one for each step.
type fake struct {
	codec Codec
	step  time.Duration
	frame func(f *fake) Frame // called under mu; returns data and key flag

	mu     sync.Mutex
	next   time.Duration
	ended  bool
	rates  []int // bit rates set by congestion control
	forced int   // number of forced key frames
	key    bool  // the next frame must be a key frame
}

func (f *fake) Codec() Codec { return f.codec }

func (f *fake) Next(ctx context.Context) (Frame, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return Frame{}, io.EOF
	}
	out := f.frame(f)
	f.key = false
	out.PTS, out.Duration = f.next, f.step
	f.next += f.step
	return out, ctx.Err()
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	return nil
}

func (f *fake) SetBitRate(rate int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rates = append(f.rates, rate)
}

func (f *fake) ForceKeyFrame() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forced++
	f.key = true
}

func (f *fake) rate() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rates) == 0 {
		return 0
	}
	return f.rates[len(f.rates)-1]
}

func (f *fake) keys() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.forced
}

// vp8 returns a frame of a size that looks like VP8; a key frame has a picture size.
func vp8(key bool, size int) []byte {
	b := bytes.Repeat([]byte{0x55}, max(size, 16))
	b[0] = 0x11
	if key {
		copy(b, []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 48, 0})
	}
	return b
}
