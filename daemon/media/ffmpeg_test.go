package media

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"secmsg/daemon/media/codec"
)

// need skips a test, with a message, if a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIPPED: %s is not installed", p)
		}
	}
}

func run(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, bad.String())
	}
	if bad.Len() > 0 {
		t.Errorf("%s %s says:\n%s", program, strings.Join(args, " "), bad.String())
	}
	return out.Bytes()
}

// shown is one decoded picture of the synthetic source.
type shown struct {
	number int
	lit    bool
	at     time.Duration
}

// pictures decodes a file and reads the clock in each picture. Every picture must have the
// right size and be readable.
func pictures(t *testing.T, file string, width, height int) []shown {
	t.Helper()
	size := strings.TrimSpace(string(run(t, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0", file)))
	if size != strconv.Itoa(width)+","+strconv.Itoa(height) {
		t.Fatalf("%s: size %q", file, size)
	}
	raw := run(t, "ffmpeg", "-v", "error", "-i", file, "-map", "v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
	times := frameTimes(t, file, "v:0")
	if len(raw) != len(times)*width*height {
		t.Fatalf("%s: %d bytes of pictures for %d frames", file, len(raw), len(times))
	}
	var out []shown
	for i, at := range times {
		n, lit, ok := readClock(raw[i*width*height:(i+1)*width*height], width, height)
		if !ok {
			t.Fatalf("%s: the clock of picture %d cannot be read", file, i)
		}
		out = append(out, shown{n, lit, at})
	}
	return out
}

// frameTimes returns the times of a stream's frames.
func frameTimes(t *testing.T, file, stream string) []time.Duration {
	t.Helper()
	var out []time.Duration
	text := string(run(t, "ffprobe", "-v", "error", "-select_streams", stream, "-show_entries", "frame=pts_time", "-of", "csv=p=0", file))
	for line := range strings.Lines(text) {
		line = strings.Trim(strings.TrimSpace(line), ",")
		if line == "" {
			continue
		}
		s, err := strconv.ParseFloat(line, 64)
		if err != nil && line != "N/A" {
			t.Fatalf("%s: time %q", file, line)
		}
		out = append(out, time.Duration(s*float64(time.Second)))
	}
	return out
}

// sound decodes a file to 48 kHz mono, and returns the time of its first sample.
func sound(t *testing.T, file string) ([]int16, time.Duration) {
	t.Helper()
	// Gaps in the packets' times are filled, as a player does.
	raw := run(t, "ffmpeg", "-v", "error", "-i", file, "-map", "a:0", "-af", "aresample=async=1:min_hard_comp=0.01", "-ac", "1", "-ar", "48000", "-f", "s16le", "-")
	pcm := make([]int16, len(raw)/2)
	for i := range pcm {
		pcm[i] = int16(uint16(raw[2*i]) | uint16(raw[2*i+1])<<8)
	}
	if filepath.Ext(file) != ".mkv" && filepath.Ext(file) != ".webm" {
		return pcm, 0
	}
	times := frameTimes(t, file, "a:0")
	if len(times) == 0 {
		t.Fatalf("%s has no sound", file)
	}
	return pcm, max(0, times[0])
}

// checkClock checks that the pictures' numbers increase, with few gaps (the encoder skips
// pictures on a slow machine).
func checkClock(t *testing.T, all []shown, least int) {
	t.Helper()
	if len(all) < least {
		t.Fatalf("%d pictures, want %d", len(all), least)
	}
	for i, s := range all {
		if i > 0 && s.number <= all[i-1].number {
			t.Errorf("picture %d has number %d, the one before has %d", i, s.number, all[i-1].number)
		}
		if s.lit != (s.number%defaultRate < 3) {
			t.Errorf("picture %d: lit %t", s.number, s.lit)
		}
	}
	if span := all[len(all)-1].number - all[0].number + 1; float64(len(all)) < 0.95*float64(span) {
		t.Errorf("%d pictures of %d", len(all), span)
	}
}

// inStep returns the offset between sound and picture, at each second.
func inStep(t *testing.T, file string, shown []shown) []time.Duration {
	t.Helper()
	pcm, start := sound(t, file)
	checkTone(t, pcm)
	var out []time.Duration
	end := start + time.Duration(len(pcm))*time.Second/codec.Rate
	for _, s := range shown {
		if s.number%defaultRate != 0 || s.at+3*ToneGap > end {
			continue
		}
		nearest := time.Second / 2 // a lost one counts as no offset
		for _, begin := range gaps(pcm) {
			if off := start + begin - ToneGap - s.at; off.Abs() < nearest.Abs() {
				nearest = off
			}
		}
		if nearest < time.Second/2 {
			out = append(out, nearest)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s: nothing to compare", file)
	}
	return out
}
