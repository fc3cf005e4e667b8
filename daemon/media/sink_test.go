package media

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/daemon/media/codec"
)

// TestWhatCannotBeOpened: every rejection explains itself, and no file is truncated.
func TestWhatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, content := range map[string]string{"bad.ivf": "hello", "bad.ogg": strings.Repeat("OggS", 20), "bad.wav": "RIFFsizeWAVE", "notes.txt": "keep"} {
		if err := os.WriteFile(path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		kind Kind
		spec string
		want error
	}{
		{Video, path("bad.ivf"), ErrFormat}, {Audio, path("bad.ogg"), ErrFormat}, {Audio, path("missing.ogg"), os.ErrNotExist},
		{Audio, path("bad.ivf"), ErrUnsupported}, {Video, path("bad.ogg"), ErrUnsupported}, {Video, path("notes.txt"), ErrUnsupported},
		{Audio, dir, ErrUnsupported}, {Audio, SpecStream, ErrUnsupported},
	} {
		if _, err := OpenSource(c.kind, c.spec, SourceOptions{}); !errors.Is(err, c.want) {
			t.Errorf("source %s: %v", filepath.Base(c.spec), err)
		}
	}
	for _, spec := range []string{path("notes.txt"), path("x.ivf"), dir, SpecStream} {
		if _, err := OpenSink(Audio, spec, SinkOptions{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("sink %s: %v", filepath.Base(spec), err)
		}
	}
	if b, err := os.ReadFile(path("notes.txt")); err != nil || string(b) != "keep" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := OpenSource(Video, SpecTest, SourceOptions{Width: 100_000, Height: 100_000}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("size: %v", err)
	}
	if _, err := NewSession(Options{}, Caller, Sources{}, Sinks{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("nothing to do: %v", err)
	}
	if _, err := OpenSource(Audio, SpecDevice, SourceOptions{}); err != nil && !errors.Is(err, ErrUnsupported) {
		t.Errorf("no microphone: %v", err)
	}
	if codec.CanEncode {
		return
	}
	for kind, spec := range map[Kind]string{Video: SpecTest, Audio: path("bad.wav")} {
		if _, err := OpenSource(kind, spec, SourceOptions{}); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "cgo") {
			t.Errorf("without encoders: %v", err)
		}
	}
}

// TestPlayerGetsTheCall uses a program in place of a player.
func TestPlayerGetsTheCall(t *testing.T) {
	needEncoders(t)
	need(t, "ffmpeg", "ffprobe")
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out.mkv")
	pl, err := startPlayer(exec.Command("sh", "-c", `cat > "$0"`, out))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newFrameSink(Video, Matroska, &output{w: pl}, true)
	if err != nil {
		t.Fatal(err)
	}
	sources := []Source{source(t, Video, SpecTest), source(t, Audio, SpecTest)}
	for range 30 {
		for _, src := range sources {
			f, err := src.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write(src.Codec(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, src := range sources {
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(pictures(t, out, defaultWidth, defaultHeight)); n != 30 {
		t.Errorf("%d pictures", n)
	}
	gone, err := startPlayer(exec.Command("true"))
	if err != nil {
		t.Fatal(err)
	}
	limit := time.Now().Add(5 * time.Second)
	for err == nil && time.Now().Before(limit) { // until its end is noticed
		_, err = gone.Write(make([]byte, 1<<16))
	}
	if err == nil {
		t.Error("a player that is gone still takes frames")
	}
	if err := gone.Close(); err != nil {
		t.Error(err)
	}
}

// blocked is a stream without a reader.
type blocked struct{ end chan struct{} }

func (b blocked) Write([]byte) (int, error) { <-b.end; return 0, io.ErrClosedPipe }
func (b blocked) Close() error              { close(b.end); return nil }

// TestCloseDoesNotWaitForReaders: a stream without a reader delays neither other media nor
// the end of the call.
func TestCloseDoesNotWaitForReaders(t *testing.T) {
	t.Parallel()
	stuck, err := OpenSink(Audio, SpecStream, SinkOptions{Stream: blocked{make(chan struct{})}})
	if err != nil {
		t.Fatal(err)
	}
	p := join(t, side{sources: Sources{Audio: source(t, Audio, SpecTest)}}, side{sinks: Sinks{Audio: stuck}})
	p.sinkFails = true
	p.start(t)
	until(t, p.from[1], 10*time.Second, func(s Stats) bool { return s.AudioIn.Packets > 20 })
	begin := time.Now()
	p.close(t)
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("closing took %s", d)
	}
}
