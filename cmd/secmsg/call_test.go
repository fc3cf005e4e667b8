package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"secmsg/rpc/local"
)

// mediaFor opens the media that flags name, on a process whose streams are pipes.
func mediaFor(t *testing.T, output string, args ...string) (media, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	a := newApp(nil, r, w, w)
	a.output = output
	var o mediaOptions
	c := &cobra.Command{}
	o.flags(c)
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	m, err := a.openMedia(t.Context(), c, o)
	if err == nil {
		t.Cleanup(m.close)
	}
	return m, err
}

func TestMediaFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("in.ogg", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	abs := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		args []string
		want local.CallMedia
	}{
		{nil, local.CallMedia{AudioIn: "device", AudioOut: "device"}},
		{[]string{"--relay-only"}, local.CallMedia{AudioIn: "device", AudioOut: "device", RelayOnly: true}},
		{[]string{"--play"}, local.CallMedia{AudioIn: "device", Play: true}},
		{[]string{"--audio-in", "test"}, local.CallMedia{AudioIn: "test"}},
		{[]string{"--audio-in", "in.ogg", "--hangup-after-play"}, local.CallMedia{AudioIn: abs("in.ogg"), HangupAfterPlay: true}},
		{[]string{"--audio-out", "out.wav", "--video-out", "out.h264"}, local.CallMedia{AudioOut: abs("out.wav"), VideoOut: abs("out.h264")}},
		{[]string{"--video-out", "both.webm"}, local.CallMedia{VideoOut: abs("both.webm")}},
		{[]string{"--audio-out", "/dev/null"}, local.CallMedia{AudioOut: "null"}},
		{[]string{"--audio-in", "-", "--audio-format", "s16le"}, local.CallMedia{AudioIn: "-", AudioFormat: "s16le"}},
		{[]string{"--video-out", "-"}, local.CallMedia{VideoOut: "-", VideoFormat: "ivf"}},
	} {
		if got, err := mediaFor(t, "", c.args...); err != nil || got.CallMedia != c.want {
			t.Errorf("%q: %+v, %v, want %+v", c.args, got.CallMedia, err, c.want)
		}
	}
	for _, args := range [][]string{
		{"--audio-in", ""}, {"--audio-in", "null"}, {"--audio-out", "test"}, {"--video-out", "device"},
		{"--audio-in", "missing.ogg"}, {"--audio-in", "."}, {"--audio-out", "."}, {"--audio-out", "no/such.ogg"},
		{"--audio-out", "out.ivf"}, {"--video-out", "out.ogg"}, {"--audio-out", "out"}, {"--video-in", "in.ogg"},
		{"--audio-in", "-", "--video-in", "-"}, {"--audio-out", "-", "--video-out", "-"},
		{"--hangup-after-play"}, {"--audio-in", "test", "--hangup-after-play"}, {"--audio-format", "mp3"}, {"--video-format", "webm"},
	} {
		if m, err := mediaFor(t, "", args...); !isCode(err, local.CodeUsage) {
			t.Errorf("%q: %+v, %v", args, m.CallMedia, err)
		}
	}
	if _, err := mediaFor(t, outputJSON, "--audio-out", "-"); !isCode(err, local.CodeUsage) {
		t.Errorf("JSON and media on one stream: %v", err)
	}
}

// TestMediaStreams checks that streams which only this process can open are carried by it.
func TestMediaStreams(t *testing.T) {
	m, err := mediaFor(t, "", "--audio-in", "/dev/null", "--video-out", "-")
	if err != nil || m.AudioIn != "-" || m.streams.AudioIn == nil || m.streams.VideoOut == nil || m.streams.VideoIn != nil || m.streams.AudioOut != nil || !m.stdout || m.stdin {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestAnswerParams(t *testing.T) {
	p, err := answerParams(answerOptions{auto: true, from: []string{"alice", "bob"}, forever: true, timeout: 3e9, hasTimeout: true}, nil)
	if err != nil || !p.Auto || !slices.Equal(p.From, []string{"alice", "bob"}) || p.Timeout != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := answerParams(answerOptions{}, []string{"id"}); err != nil || p.ID != "id" || p.Auto {
		t.Errorf("%+v, %v", p, err)
	}
	for name, c := range map[string]struct {
		o    answerOptions
		args []string
	}{
		"empty id":        {answerOptions{}, []string{""}},
		"auto with id":    {answerOptions{auto: true}, []string{"id"}},
		"from alone":      {answerOptions{from: []string{"alice"}}, nil},
		"empty from":      {answerOptions{auto: true, from: []string{""}}, nil},
		"forever alone":   {answerOptions{forever: true}, nil},
		"timeout alone":   {answerOptions{hasTimeout: true, timeout: 1}, nil},
		"timeout of zero": {answerOptions{auto: true, hasTimeout: true}, nil},
	} {
		if _, err := answerParams(c.o, c.args); !isCode(err, local.CodeUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCallText(t *testing.T) {
	stats := &local.CallStats{Pair: "relayed", RoundTripMS: 23.4, AudioIn: &local.CallStream{Codec: "opus", BitRate: 32100, Packets: 500, Lost: 2}}
	for _, c := range []struct {
		call local.Call
		want string
	}{
		{local.Call{ID: "i", State: local.CallRinging, Direction: "in", Audio: true}, "is calling (audio); answer with: secmsg call answer i"},
		{local.Call{State: local.CallRinging, Direction: "out"}, "call ringing"},
		{local.Call{State: local.CallEnded, Direction: "in", Missed: true, Audio: true, Video: true}, "missed call (audio and video)"},
		{local.Call{State: local.CallConnected, Stats: stats}, "call connected, relayed, 23 ms, audio in opus 32 kbit/s 500 packets 2 lost"},
		{local.Call{State: local.CallEnded, Reason: "hangup", Duration: 12.34}, "call ended (hangup) after 12.3s"},
		{local.Call{State: local.CallEnded, Reason: "failed", Text: "no way\n2026 bob: hi"}, `call ended (failed): no way\n2026 bob: hi`},
	} {
		if got := callText(&c.call); got != c.want {
			t.Errorf("%+v: %q, want %q", c.call, got, c.want)
		}
	}
	e := local.Event{Type: "call", Peer: "bob@x", Call: &local.Call{State: "connected", Text: "\x1b[2J"}}
	if got := eventText(&e); strings.ContainsRune(got, 0x1b) || !strings.Contains(got, "bob@x * call connected") {
		t.Errorf("event = %q", got)
	}
}
