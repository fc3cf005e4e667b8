//go:build cgo && linux

package media

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gen2brain/malgo"
)

// TestSoundDevices uses the library's backend without hardware: frames come at their rate,
// and everything ends.
func TestSoundDevices(t *testing.T) {
	// The library counts one backend (custom) less than its C code.
	null := []malgo.Backend{malgo.BackendNull + 1}
	m, err := openMicrophoneOn(null)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSpeakerOn(null)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i := range 20 {
		f, err := m.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if d := packetSpan(f.Data); d != opusFrame || f.PTS < time.Duration(i)*opusFrame {
			t.Fatalf("frame %d of %s at %s", i, d, f.PTS)
		}
		if err := s.Write(Opus, f); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(begin); d < 200*time.Millisecond {
		t.Errorf("400 ms of sound came in %s", d)
	}
	for range 2 {
		if err := errors.Join(m.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := m.Next(context.Background()); err == nil {
		t.Error("a closed microphone hears")
	}
}
