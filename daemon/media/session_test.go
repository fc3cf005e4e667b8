package media

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is two sessions in one process, joined over real sockets.
type pair struct {
	caller, callee *Session
	keys           Keys
	from           [2]chan Event // what the tests look at, by role
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

// join makes both sessions and lets them exchange signals.
func join(t *testing.T, a, b side) *pair {
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
				if c, ok := e.(Candidate); ok {
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

func (p *pair) close(t *testing.T) {
	t.Helper()
	if err := p.caller.Close(); err != nil {
		t.Errorf("close caller: %v", err)
	}
	if err := p.callee.Close(); err != nil {
		t.Errorf("close callee: %v", err)
	}
	for _, c := range p.from {
		for range c { // until the reader ended
		}
	}
}

// until waits for an event of a type, and a condition on it.
func until[E Event](t *testing.T, c <-chan Event, within time.Duration, ok func(E) bool) E {
	t.Helper()
	limit := time.After(within)
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

// received waits until a session has so many frames of each kind.
func received(t *testing.T, c <-chan Event, audio, video uint64, within time.Duration) Stats {
	t.Helper()
	return until(t, c, within, func(s Stats) bool { return s.AudioIn.Frames >= audio && s.VideoIn.Frames >= video })
}

func TestTestSourceToFile(t *testing.T) {
	out := filepath.Join(t.TempDir(), "call.mkv")
	p := join(t, side{sources: Sources{Audio: source(t, Audio, SpecTest), Video: source(t, Video, SpecTest)}, sinks: null()},
		side{sinks: Sinks{Muxed: sink(t, Video, out)}})
	p.start(t)
	until[Connected](t, p.from[1], 10*time.Second, nil)
	st := received(t, p.from[1], 150, 90, 20*time.Second)
	t.Logf("%+v", st)
	p.close(t)
	t.Logf("%+v", p.callee.Summary())
	info, err := os.Stat(out)
	if err != nil || info.Size() < 10000 {
		t.Fatalf("%v %v", info, err)
	}
	b, _ := os.ReadFile(out)
	_ = os.WriteFile("/tmp/e2.mkv", b, 0o644)
}
