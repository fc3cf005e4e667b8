package media

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"secmsg/daemon/media/container"
)

// largeSound returns an Opus packet of 60 ms in three frames, too large for the network.
// variable: the frames have different sizes.
func largeSound(variable bool) []byte {
	frame := func(n int, v byte) []byte { return bytes.Repeat([]byte{v}, n) }
	toc := byte(tocSilence20 | tocMany)
	if !variable {
		return append([]byte{toc, 3}, bytes.Join([][]byte{frame(600, 1), frame(600, 2), frame(600, 3)}, nil)...)
	}
	p := []byte{toc, 0x80 | 0x40 | 3, 5, 252, 87, 20} // 5 bytes of padding; 252 + 4*87 = 600, 20
	return append(p, bytes.Join([][]byte{frame(600, 1), frame(20, 2), frame(900, 3), make([]byte, 5)}, nil)...)
}

func TestSplitOpus(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		want   []int
	}{
		"three of one size":       {largeSound(false), []int{600, 600, 600}},
		"three, padded":           {largeSound(true), []int{600, 20, 900}},
		"one":                     {append([]byte{tocSilence20}, make([]byte, 50)...), []int{50}},
		"two of one size":         {append([]byte{tocSilence20 | 1}, make([]byte, 50)...), []int{25, 25}},
		"two":                     {append([]byte{tocSilence20 | 2, 10}, make([]byte, 50)...), []int{10, 40}},
		"two of an odd size":      {append([]byte{tocSilence20 | 1}, make([]byte, 51)...), nil},
		"two, too short":          {[]byte{tocSilence20 | 2, 10, 1}, nil},
		"a count of none":         {[]byte{tocSilence20 | 3, 0}, nil},
		"a count without content": {[]byte{tocSilence20 | 3}, nil},
		"padding beyond the end":  {[]byte{tocSilence20 | 3, 0x41, 255, 255, 255, 9, 1}, nil},
		"sizes beyond the end":    {[]byte{tocSilence20 | 3, 0x83, 250, 250, 1}, nil},
		"nothing":                 {nil, nil},
	} {
		parts := splitOpus(c.packet)
		if len(parts) != len(c.want) {
			t.Errorf("%s: %d parts", name, len(parts))
			continue
		}
		var span time.Duration
		for i, p := range parts {
			if len(p) != c.want[i]+1 || packetSpan(p) != opusFrame {
				t.Errorf("%s: part %d has %d bytes and lasts %s", name, i, len(p), packetSpan(p))
			}
			span += packetSpan(p)
		}
		if len(parts) > 0 && span != packetSpan(c.packet) {
			t.Errorf("%s: lasts %s, its parts %s", name, packetSpan(c.packet), span)
		}
	}
}

func FuzzSplitOpus(f *testing.F) {
	f.Add(largeSound(true))
	f.Add(largeSound(false))
	f.Fuzz(func(t *testing.T, p []byte) {
		sum := 0
		for _, part := range splitOpus(p) {
			sum += len(part) - 1
		}
		if sum > len(p) {
			t.Errorf("%d bytes came of %d", sum, len(p))
		}
	})
}

// oggOf writes packets to a file.
func oggOf(t *testing.T, packets ...[]byte) string {
	t.Helper()
	var b bytes.Buffer
	w := container.NewOggWriter(&b, 1)
	for _, p := range packets {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.ogg")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLargeSoundIsCut: packets of several frames that are too large for the network are
// sent frame by frame. A frame that is too large is rejected before the call.
func TestLargeSoundIsCut(t *testing.T) {
	s := source(t, Audio, oggOf(t, largeSound(false), largeSound(true)))
	var spans time.Duration
	n := 0
	for {
		f, err := s.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(f.Data) > maxPayload || f.PTS != spans {
			t.Fatalf("frame %d: %d bytes at %s, %v", n, len(f.Data), f.PTS, err)
		}
		spans += f.Duration
		n++
	}
	if n != 6 || spans != 120*time.Millisecond {
		t.Errorf("%d frames of %s", n, spans)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenSource(Audio, oggOf(t, append([]byte{tocSilence20}, make([]byte, 1200)...)), SourceOptions{}); !errors.Is(err, ErrFormat) {
		t.Errorf("a frame of 1200 bytes: %v", err)
	}
}

// TestReadyKeepsTheFirstFrame: Ready reads the start of a stream without losing it, and
// detects an empty stream or a wrong format.
func TestReadyKeepsTheFirstFrame(t *testing.T) {
	b, err := os.ReadFile("tone.ogg")
	if err != nil {
		t.Fatal(err)
	}
	open := func(content []byte, f Format) Source {
		s, err := OpenSource(Audio, SpecStream, SourceOptions{Format: f, Stream: io.NopCloser(bytes.NewReader(content))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open(b, Ogg)
	if err := s.(Readier).Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = s.Next(t.Context())
	}
	if want := len(framesOf(t, Audio, "tone.ogg")); n-1 != want || !errors.Is(err, io.EOF) {
		t.Errorf("%d frames of %d, %v", n-1, want, err)
	}
	for name, content := range map[string]string{"nothing": "", "text": "hello, this is a text and not sound at all"} {
		if err := open([]byte(content), Ogg).(Readier).Ready(t.Context()); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDamagedFilesAreFoundBefore: everything that is wrong with a file is detected when it
// is opened, before the call.
func TestDamagedFilesAreFoundBefore(t *testing.T) {
	b, err := os.ReadFile("tone.ogg")
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(b)
	damaged[len(damaged)*2/3] ^= 1
	for name, content := range map[string][]byte{"damaged": damaged, "cut off": b[:len(b)*2/3], "empty": nil} {
		path := filepath.Join(t.TempDir(), "x.ogg")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSource(Audio, path, SourceOptions{}); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
