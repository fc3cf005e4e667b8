package media

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/daemon/media/codec"
)

func TestMain(m *testing.M) {
	// Calls mostly wait: run more of them in parallel than there are cores.
	if f := flag.Lookup("test.parallel"); f != nil {
		_ = f.Value.Set("6")
	}
	goleak.VerifyTestMain(m)
}

// pair is two sessions in one process, connected over real sockets.
type pair struct {
	caller, callee *Session
	keys           Keys
	from           [2]chan Event // events read by the tests, by role
	sinkFails      bool          // a sink of the callee is expected to fail
}

type side struct {
	options Options
	sources Sources
	sinks   Sinks
}

func newKeys() Keys {
	var k Keys
	for _, b := range [][]byte{k.CallID[:], k.Caller[:], k.Callee[:], k.Offer[:], k.Answer[:]} {
		rand.Read(b)
	}
	return k
}

// join creates both sessions and passes each side's candidates to the other.
func join(t *testing.T, a, b side) *pair {
	t.Helper()
	return newPair(t, a, b, true)
}

// strangers creates both sessions and drops their candidates: only the test passes signals.
func strangers(t *testing.T, a, b side) *pair {
	t.Helper()
	return newPair(t, a, b, false)
}

func newPair(t *testing.T, a, b side, exchange bool) *pair {
	t.Helper()
	a.options.Loopback, b.options.Loopback = true, true
	p := &pair{keys: newKeys()}
	var err error
	if p.caller, err = NewSession(a.options, Caller, a.sources, a.sinks); err != nil {
		t.Fatal(err)
	}
	if p.callee, err = NewSession(b.options, Callee, b.sources, b.sinks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.close(t) })
	for i, s := range []*Session{p.caller, p.callee} {
		other := []*Session{p.callee, p.caller}[i]
		p.from[i] = make(chan Event, 1024)
		go func() {
			defer close(p.from[i])
			for e := range s.Events() {
				if c, ok := e.(Candidate); ok && exchange {
					if err := other.AddCandidate(c.SDP); err != nil && !errors.Is(err, ErrClosed) {
						t.Errorf("candidate: %v", err)
					}
				}
				select {
				case p.from[i] <- e:
				default:
				}
			}
		}()
	}
	return p
}

// negotiate exchanges offer and answer.
func (p *pair) negotiate(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	offer, callerPrint, err := p.caller.Offer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	answer, calleePrint, err := p.callee.Accept(ctx, offer, callerPrint)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.caller.Answer(answer, calleePrint); err != nil {
		t.Fatal(err)
	}
}

func (p *pair) start(t *testing.T) {
	t.Helper()
	p.negotiate(t)
	if err := p.callee.SetKeys(p.keys); err != nil {
		t.Fatal(err)
	}
	if err := p.caller.SetKeys(p.keys); err != nil {
		t.Fatal(err)
	}
}

// close closes both. A second call does nothing.
func (p *pair) close(t *testing.T) {
	t.Helper()
	if err := p.caller.Close(); err != nil {
		t.Errorf("close caller: %v", err)
	}
	if err := p.callee.Close(); (err != nil) != p.sinkFails {
		t.Errorf("close callee: %v", err)
	}
	for _, c := range p.from {
		for range c { // until the reader has ended
		}
	}
}

// slack is how much longer than necessary a test waits on a busy machine.
const slack = 6

// until waits for an event of a type that satisfies a condition.
func until[E Event](t *testing.T, c <-chan Event, within time.Duration, ok func(E) bool) E {
	t.Helper()
	limit := time.After(slack * within)
	for {
		select {
		case e, open := <-c:
			if !open {
				t.Fatalf("events ended before %T", *new(E))
			}
			if f, failed := e.(SinkFailed); failed {
				t.Errorf("sink: %v", f.Err)
			}
			if want, is := e.(E); is && (ok == nil || ok(want)) {
				return want
			}
		case <-limit:
			t.Fatalf("no %T within %s", *new(E), within)
		}
	}
}

func source(t *testing.T, kind Kind, spec string) Source {
	t.Helper()
	s, err := OpenSource(kind, spec, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sink(t *testing.T, kind Kind, spec string) Sink {
	t.Helper()
	s, err := OpenSink(kind, spec, SinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func null() Sinks { return Sinks{Muxed: nullSink{}} }

// received waits until a session has received a number of frames of each kind.
func received(t *testing.T, c <-chan Event, audio, video uint64, within time.Duration) Stats {
	t.Helper()
	return until(t, c, within, func(s Stats) bool { return s.AudioIn.Frames >= audio && s.VideoIn.Frames >= video })
}

// apart is the allowed offset between sound and picture.
const apart = 80 * time.Millisecond

// checkStep checks the median of the offsets: on a briefly busy machine a single picture is
// late, but not the sound.
func checkStep(t *testing.T, off []time.Duration) {
	t.Helper()
	t.Logf("apart: %v", off)
	sorted := slices.Clone(off)
	slices.SortFunc(sorted, func(a, b time.Duration) int { return cmp.Compare(a.Abs(), b.Abs()) })
	if len(sorted) == 0 || sorted[len(sorted)/2].Abs() > apart {
		t.Errorf("sound is not in step with the picture: %v", off)
	}
}

func needEncoders(t *testing.T) {
	t.Helper()
	if !codec.CanEncode {
		t.Skip("SKIPPED: this build has no encoders")
	}
}

func TestTestSourceToFile(t *testing.T) {
	needEncoders(t)
	t.Parallel()
	need(t, "ffmpeg", "ffprobe")
	out := filepath.Join(t.TempDir(), "call.mkv")
	p := join(t, side{sources: Sources{Audio: source(t, Audio, SpecTest), Video: source(t, Video, SpecTest)}, sinks: null()},
		side{sinks: Sinks{Muxed: sink(t, Video, out)}})
	p.start(t)
	if c := until[Connected](t, p.from[1], 10*time.Second, nil); c.Pair != Direct {
		t.Errorf("pair %q", c.Pair)
	}
	sent := until(t, p.from[0], 20*time.Second, func(s Stats) bool { return s.VideoOut.Frames >= 120 && s.RoundTrip > 0 })
	if sent.Target < minBitRate || sent.AudioOut.BitRate < 20_000 || sent.VideoOut.BitRate < 20_000 || sent.VideoOut.Codec != H264 {
		t.Errorf("stats %+v", sent)
	}
	p.close(t)
	shown := pictures(t, out, defaultWidth, defaultHeight)
	checkClock(t, shown, 110)
	off := inStep(t, out, shown)
	checkStep(t, off)
	sum := p.callee.Summary()
	if sum.AudioIn.Frames < 190 || sum.VideoIn.Frames < 110 || sum.AudioIn.Refused+sum.VideoIn.Refused != 0 || sum.Duration < 3*time.Second {
		t.Errorf("summary %+v", sum)
	}
}

// framesOf reads the frames of a file.
func framesOf(t *testing.T, kind Kind, file string) [][]byte {
	t.Helper()
	s := source(t, kind, file)
	defer s.Close()
	var out [][]byte
	for {
		f, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f.Data)
	}
}

// sameFrames checks that the received frames are the sent ones, byte by byte. It ignores
// silence that fills a pause of a busy machine.
func sameFrames(t *testing.T, kind Kind, sent, got string) {
	t.Helper()
	filled := func(f []byte) bool { return bytes.Equal(f, silence(opusFrame)) }
	a, b := framesOf(t, kind, sent), slices.DeleteFunc(framesOf(t, kind, got), filled)
	if len(b) != len(a) {
		t.Fatalf("%s: %d frames of %d", filepath.Base(got), len(b), len(a))
	}
	for i := range b {
		if !bytes.Equal(b[i], a[i]) {
			t.Fatalf("%s: frame %d differs", filepath.Base(got), i)
		}
	}
}

func TestFileToFile(t *testing.T) {
	need(t, "ffmpeg")
	t.Parallel()
	for _, c := range []struct {
		name, ext string
		encoder   []string
	}{
		{"vp8", ".ivf", []string{"-c:v", "libvpx", "-deadline", "realtime", "-b:v", "500k"}},
		{"h264", ".h264", []string{"-pix_fmt", "yuv420p", "-c:v", "libx264", "-bsf:v", "filter_units=remove_types=6", "-profile:v", "baseline", "-g", "15", "-preset", "ultrafast"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name) }
			args := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=20:duration=2"}, c.encoder...)
			run(t, "ffmpeg", append(args, path("in"+c.ext))...)
			run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=1000:duration=2", "-c:a", "libopus", path("in.ogg"))
			p := join(t,
				side{sources: Sources{Audio: source(t, Audio, path("in.ogg")), Video: source(t, Video, path("in"+c.ext))},
					sinks: Sinks{Audio: sink(t, Audio, path("back.wav"))}},
				side{sources: Sources{Audio: source(t, Audio, path("in.ogg"))},
					sinks: Sinks{Audio: sink(t, Audio, path("out.ogg")), Video: sink(t, Video, path("out"+c.ext))}})
			p.start(t)
			for range 2 {
				until[SourceEnded](t, p.from[0], 20*time.Second, func(e SourceEnded) bool { return e.Err == nil })
			}
			until[SourceEnded](t, p.from[1], 20*time.Second, nil)
			received(t, p.from[1], uint64(len(framesOf(t, Audio, path("in.ogg")))), uint64(len(framesOf(t, Video, path("in"+c.ext)))), 10*time.Second)
			p.close(t)
			sameFrames(t, Audio, path("in.ogg"), path("out.ogg"))
			sameFrames(t, Video, path("in"+c.ext), path("out"+c.ext))
			pcm, _ := sound(t, path("back.wav"))
			if heard := len(pcm) / codec.Rate; heard < 1 || goertzel(pcm[codec.Rate/2:codec.Rate], 1000) < 1000 {
				t.Errorf("%d samples, 1 kHz has %.0f", len(pcm), goertzel(pcm[codec.Rate/2:codec.Rate], 1000))
			}
		})
	}
}

func TestPipeToPipe(t *testing.T) {
	needEncoders(t)
	t.Parallel()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	for _, f := range []string{in, out} {
		if err := syscall.Mkfifo(f, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, err := OpenSource(Audio, in, SourceOptions{Format: S16LE})
	if err != nil {
		t.Fatal(err)
	}
	dst, err := OpenSink(Audio, out, SinkOptions{Format: S16LE})
	if err != nil {
		t.Fatal(err)
	}
	stream, streamIn := io.Pipe()
	back, backOut := io.Pipe()
	streamSource, err := OpenSource(Audio, SpecStream, SourceOptions{Format: S16LE, Stream: stream})
	if err != nil {
		t.Fatal(err)
	}
	streamSink, err := OpenSink(Audio, SpecStream, SinkOptions{Format: S16LE, Stream: backOut})
	if err != nil {
		t.Fatal(err)
	}
	p := join(t, side{sources: Sources{Audio: src}, sinks: Sinks{Audio: streamSink}}, side{sources: Sources{Audio: streamSource}, sinks: Sinks{Audio: dst}})
	samples := make([]int16, 3*codec.Rate)
	toneSamples(0, samples)
	var tone bytes.Buffer
	if err := rawSamples(&tone)(samples); err != nil {
		t.Fatal(err)
	}
	feed := func(w io.WriteCloser, err error) {
		if err == nil {
			_, err = w.Write(tone.Bytes())
		}
		if err != nil {
			t.Errorf("feed: %v", err)
			return
		}
		_ = w.Close()
	}
	take := func(r io.Reader) chan []int16 {
		got := make(chan []int16, 1)
		go func() {
			b, _ := io.ReadAll(r) // everything until the end
			pcm := make([]int16, len(b)/2)
			for i := range pcm {
				pcm[i] = int16(uint16(b[2*i]) | uint16(b[2*i+1])<<8)
			}
			got <- pcm
		}()
		return got
	}
	go feed(streamIn, nil)
	go func() { feed(os.OpenFile(in, os.O_WRONLY, 0)) }()
	reader, err := os.OpenFile(out, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	p.start(t)
	until[Connected](t, p.from[0], 10*time.Second, nil)
	fromStream := take(back)
	until(t, p.from[1], 10*time.Second, func(s Stats) bool { return s.AudioIn.Frames > 0 })
	fromFIFO := take(reader)
	until[SourceEnded](t, p.from[0], 20*time.Second, nil)
	until[SourceEnded](t, p.from[1], 20*time.Second, nil)
	received(t, p.from[0], 140, 0, 5*time.Second)
	p.close(t)
	checkTone(t, <-fromStream)
	checkTone(t, <-fromFIFO)
}
