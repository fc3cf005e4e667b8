package media

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecordingTouchesNoFile: a file appears when the recording is complete, never replaces
// another one, and is not created if nothing was received.
func TestRecordingTouchesNoFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "note.ogg")
	record := func(place func(*os.Root, string, string) (string, error), frames int) (Sink, error) {
		s, err := OpenSink(Audio, path, SinkOptions{Place: place})
		if err != nil {
			t.Fatal(err)
		}
		for range frames {
			if err := s.Write(Opus, Frame{Data: silence(opusFrame), Duration: opusFrame, Key: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); err == nil {
				if b, _ := os.ReadFile(path); string(b) != "mine" {
					t.Fatal("the file appears before it is complete")
				}
			}
		}
		return s, s.Close()
	}
	s, err := record(nil, 0)
	if err != nil || !strings.Contains(s.(reporter).report(), "nothing was received") {
		t.Errorf("nothing was received: %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
	if s, err = record(nil, 3); err != nil || s.(reporter).report() != "" {
		t.Errorf("a recording: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = record(nil, 3); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("in the place of another: %v", err)
	}
	other := func(root *os.Root, temp, name string) (string, error) { return PlaceExact(root, temp, "other.ogg") }
	if s, err = record(other, 3); err != nil || !strings.Contains(s.(reporter).report(), "other.ogg") {
		t.Errorf("under another name: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file that was there: %q, %v", b, err)
	}
}

// TestRecordingThatFails: a recording that cannot be written is reported once, by its own
// name. Data written before stays, and an empty file is removed.
func TestRecordingThatFails(t *testing.T) {
	frame := Frame{Data: silence(opusFrame), Duration: opusFrame, Key: true}
	for name, c := range map[string]struct {
		before int
		report string
	}{
		"at once": {0, "nothing could be written"},
		"later":   {50, "is incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := OpenSink(Audio, filepath.Join(dir, "note.ogg"), SinkOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for range c.before {
				if err := s.Write(Opus, frame); err != nil {
					t.Fatal(err)
				}
			}
			out := s.(*frameSink).out
			if _, err := out.ready(); err != nil {
				t.Fatal(err)
			}
			if err := out.writer().Close(); err != nil { // has the same effect as a full disk
				t.Fatal(err)
			}
			for range 50 {
				if err = s.Write(Opus, frame); err != nil {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), "note.ogg") {
				t.Errorf("the failure: %v", err)
			}
			if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) || err != nil && strings.Contains(err.Error(), "write") {
				t.Errorf("told again: %v", err)
			}
			if r := s.(reporter).report(); !strings.Contains(r, c.report) {
				t.Errorf("report: %q", r)
			}
			if list, _ := os.ReadDir(dir); len(list) != min(c.before, 1) {
				t.Errorf("left behind: %v", list)
			}
		})
	}
}

// TestRecordingWhereNothingCanBeWritten: this is detected before the call.
func TestRecordingWhereNothingCanBeWritten(t *testing.T) {
	dir := "/proc" // not writable even for root
	if _, err := os.Stat(dir); err != nil || os.Geteuid() != 0 {
		dir = t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := OpenSink(Audio, filepath.Join(dir, "note.ogg"), SinkOptions{}); err == nil {
		t.Errorf("opened: %v", s.Close())
	}
}
