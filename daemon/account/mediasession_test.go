package account

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"secmsg/daemon/media"
	"secmsg/rpc/local"
)

// session is a connection with one source of sound from tone.ogg, and pictures
// if a spec is given.
func session(t *testing.T, m local.CallMedia) *callSession {
	t.Helper()
	sources, err := openSources(m, nil)
	if err != nil {
		t.Skip("SKIPPED: a build without encoders: ", err)
	}
	x, err := media.NewSession(media.Options{Loopback: true}, media.Caller, sources, media.Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	s := newCallSession(x, m, sources, media.Sinks{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range s.Events() {
		}
	}()
	t.Cleanup(func() {
		if _, err := s.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return s
}

// A call with hangup after play ends when its finite sources have ended.
func TestEndlessSources(t *testing.T) {
	for _, tc := range []struct {
		audio, video string
		want         int
	}{{"../media/tone.ogg", "", 1}, {"../media/tone.ogg", "test", 1}, {"test", "", 0}} {
		if got := session(t, local.CallMedia{AudioIn: tc.audio, VideoIn: tc.video}).sources; got != tc.want {
			t.Errorf("%+v: %d sources end", tc, got)
		}
	}
}

// The media servers are asked anew for a restart once their credentials are old,
// and those that are known stay if there is no answer.
func TestServersAreAskedAnew(t *testing.T) {
	s := session(t, local.CallMedia{AudioIn: "../media/tone.ogg"})
	asked := 0
	var fail error
	s.servers = func(context.Context) ([]media.ICEServer, error) {
		asked++
		return []media.ICEServer{{URLs: []string{"stun:127.0.0.1:9"}}}, fail
	}
	restart := func(since time.Duration, want int) {
		t.Helper()
		s.asked = time.Now().Add(-since)
		s.refresh(t.Context())
		if asked != want {
			t.Errorf("asked %d times, want %d", asked, want)
		}
	}
	restart(time.Minute, 0)
	restart(freshFor+time.Second, 1)
	if time.Since(s.asked) > time.Minute {
		t.Error("what was asked for now is old")
	}
	fail = errors.New("the server is away")
	restart(freshFor+time.Second, 2)
	if time.Since(s.asked) < time.Minute {
		t.Error("no answer counts as one")
	}
}

// The case of an extension makes no difference: a file that holds sound and pictures
// gets both.
func TestFilesOfSoundAndPictures(t *testing.T) {
	for _, name := range []string{"got.mkv", "got.MKV", "got.WebM"} {
		out, err := openSinks(local.CallMedia{VideoOut: filepath.Join(t.TempDir(), name)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if out.Muxed == nil || out.Video != nil || out.Audio != nil {
			t.Errorf("%s: %+v", name, out)
		}
		if err := closeSinks(out); err != nil {
			t.Error(err)
		}
	}
}
