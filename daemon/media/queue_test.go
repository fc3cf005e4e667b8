package media

import (
	"errors"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestPausedPlayerHoldsUpNothing: while the reader of one output is paused, the call and a
// recording continue.
func TestPausedPlayerHoldsUpNothing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "out.ogg")
	paused, err := OpenSink(Video, SpecStream, SinkOptions{Stream: blocked{make(chan struct{})}, Format: Matroska})
	if err != nil {
		t.Fatal(err)
	}
	p := join(t, side{sources: Sources{Audio: source(t, Audio, SpecTest)}},
		side{sinks: Sinks{Audio: sink(t, Audio, file), Muxed: paused}})
	p.sinkFails = true
	p.start(t)
	received(t, p.from[1], 120, 0, 15*time.Second)
	p.close(t)
	if n := len(framesOf(t, Audio, file)); n < 120 {
		t.Errorf("the recording has %d packets", n)
	}
}

// gated is a sink whose Write waits for the test.
type gated struct {
	nullSink
	gate chan struct{}
	mu   sync.Mutex
	got  []byte // first byte of each frame
	fail error
}

func (g *gated) Live() bool { return true }
func (g *gated) interrupt() {}
func (g *gated) Write(_ Codec, f Frame) error {
	<-g.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got = append(g.got, f.Data[0])
	return g.fail
}

func TestQueueIsBoundedAndBeginsWithAKeyFrame(t *testing.T) {
	g := &gated{gate: make(chan struct{})}
	q := newQueue(g)
	big := make([]byte, queueBytes/4)
	taken := 0
	var err error
	for ; err == nil && taken < 100; taken++ {
		err = q.Write(VP8, Frame{Data: big, Key: taken == 0})
	}
	if !errors.Is(err, errQueueFull) || taken > 6 {
		t.Fatalf("after %d frames: %v", taken, err)
	}
	for n := 0; err == nil || n < 10; n++ { // sound has its own limit
		if err = q.Write(Opus, Frame{Data: []byte{1}, Key: true}); n > 2*queueFrames {
			t.Fatal("sound without end")
		}
	}
	if !errors.Is(err, errQueueFull) {
		t.Fatal(err)
	}
	close(g.gate)
	for err = errQueueFull; errors.Is(err, errQueueFull); { // until there is room
		err = q.Write(VP8, Frame{Data: []byte{2}})
	}
	if !errors.Is(err, errQueueKey) {
		t.Fatalf("a picture after a hole: %v", err)
	}
	if err := errors.Join(q.Write(VP8, Frame{Data: []byte{3}, Key: true}), q.Write(VP8, Frame{Data: []byte{4}})); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(g.got); n < 2 || g.got[n-2] != 3 || g.got[n-1] != 4 {
		t.Errorf("what came: %v", g.got)
	}
}

func TestQueueTellsOnceWhatTheSinkSaid(t *testing.T) {
	g := &gated{gate: make(chan struct{}), fail: io.ErrClosedPipe}
	close(g.gate)
	q := newQueue(g)
	limit := time.Now().Add(10 * time.Second)
	var err error
	for (err == nil || errors.Is(err, errQueueFull)) && time.Now().Before(limit) {
		err = q.Write(Opus, Frame{Data: []byte{1}, Key: true})
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Errorf("told twice: %v", err)
	}
}

// TestMuxerIsBounded: frames buffered for a file are bounded in bytes, whatever times a
// peer gives them.
func TestMuxerIsBounded(t *testing.T) {
	m := newMuxer(&output{w: discard{}}, Matroska, false)
	for i := range muxBytes>>20 + 8 {
		if err := m.write(VP8, Frame{Data: vp8(true, 1<<20), PTS: time.Duration(i) * time.Millisecond, Key: true}); err != nil {
			t.Fatal(err)
		}
		waiting := 0
		for _, f := range m.queues[Video] {
			waiting += len(f.Data)
		}
		if waiting > muxBytes+1<<20 || waiting != m.bytes {
			t.Fatalf("%d bytes wait, counted %d", waiting, m.bytes)
		}
	}
	if err := m.close(); err != nil || m.bytes != 0 {
		t.Errorf("%v, %d bytes left", err, m.bytes)
	}
}
