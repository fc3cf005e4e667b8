package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// Values of the media flags that are not paths.
const (
	mediaDevice = "device"
	mediaTest   = "test"
	mediaNull   = "null"
	mediaStream = "-"
)

const mediaHelp = "A source SRC is device (the default microphone or camera), test (a 1 kHz tone, a\n" +
	"picture with a moving clock), a file (.ogg .wav for audio, .ivf .h264 for\n" +
	"video), a FIFO, or - for standard input. A destination DST is device (the\n" +
	"loudspeaker), a file (the same types; .webm and .mkv hold audio and video\n" +
	"together), a FIFO, - for standard output, or null. If no source and no\n" +
	"destination is given, audio goes from and to the device. If any is given, media\n" +
	"without a flag are off.\n\n" +
	"The file of a recording must not exist yet. It appears when the call has ended,\n" +
	"and only if anything was received. A source file is checked to its end before\n" +
	"the peer's side rings. If a source or destination fails during the call, the\n" +
	"call continues with the rest, and the exit code at its end is 1 (bad input) or\n" +
	"3.\n\n" +
	"Standard streams and FIFOs carry audio as Ogg with Opus or, with --audio-format\n" +
	"s16le, as raw PCM (48 kHz, mono), and video as IVF with VP8, or as H.264. The\n" +
	"type of the destination file decides which video codec is requested. A build\n" +
	"without cgo has no devices and no encoders: it can only send and record media\n" +
	"that are already encoded."

// mediaOptions are the media flags of call start and call answer.
type mediaOptions struct {
	local.CallMedia
	again bool // set by call answer --forever
}

func (o *mediaOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.AudioIn, "audio-in", "", "send audio from `SRC`")
	f.StringVar(&o.VideoIn, "video-in", "", "send video from `SRC`")
	f.StringVar(&o.AudioOut, "audio-out", "", "write the peer's audio to `DST`")
	f.StringVar(&o.VideoOut, "video-out", "", "write the peer's video to `DST`")
	f.StringVar(&o.AudioFormat, "audio-format", "", "audio `FORMAT` in - and FIFOs: ogg, s16le or wav (default ogg)")
	f.StringVar(&o.VideoFormat, "video-format", "", "video `FORMAT` in - and FIFOs: ivf or h264 (default ivf)")
	f.StringVar(&o.VideoSize, "video-size", "", "video `SIZE` of camera and test (default 640x480)")
	f.BoolVar(&o.HangupAfterPlay, "hangup-after-play", false, "hang up when all sources have ended")
	f.BoolVar(&o.RelayOnly, "relay-only", false, "hide this machine's addresses from the peer: send all media through the server")
	f.BoolVar(&o.Play, "play", false, "play the peer's media in an installed player (mpv or ffplay)")
}

// media holds the checked flags: the parameters for the daemon, and the streams
// that this process carries itself.
type media struct {
	local.CallMedia
	streams local.CallStreams
	again   bool // several calls follow one another, so recordings get numbered names
	stdin   bool // standard input is a source
	stdout  bool // standard output is a destination
	close   func()
}

// openMedia checks the flags, makes paths absolute and opens the streams that only
// this process can open: standard streams and the descriptors of a process
// substitution.
func (a *app) openMedia(ctx context.Context, cmd *cobra.Command, o mediaOptions) (_ media, err error) {
	m := media{CallMedia: o.CallMedia, again: o.again}
	var files []*os.File
	m.close = func() {
		for _, f := range files {
			_ = f.Close() // a write that failed was already reported by the call
		}
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if err := filled(cmd); err != nil {
		return m, err
	}
	for _, err := range []error{
		oneOf("--audio-format", o.AudioFormat, "ogg", "s16le", "wav"),
		oneOf("--video-format", o.VideoFormat, "ivf", "h264"),
	} {
		if err != nil {
			return m, err
		}
	}
	for _, src := range []struct {
		flag string
		spec *string
		set  func(*os.File)
	}{
		{"--audio-in", &m.AudioIn, func(f *os.File) { m.streams.AudioIn = f }},
		{"--video-in", &m.VideoIn, func(f *os.File) { m.streams.VideoIn = f }},
	} {
		f, err := a.openMediaSource(ctx, src.flag, src.spec, &m)
		if err != nil {
			return m, err
		}
		if f != nil {
			src.set(f)
			if f != a.stdin {
				files = append(files, f)
			}
		}
	}
	for _, dst := range []struct {
		flag string
		spec *string
		set  func(stdoutWriter)
	}{
		{"--audio-out", &m.AudioOut, func(w stdoutWriter) { m.streams.AudioOut = w }},
		{"--video-out", &m.VideoOut, func(w stdoutWriter) { m.streams.VideoOut = w }},
	} {
		f, err := a.openMediaTarget(ctx, dst.flag, dst.spec, &m)
		if err != nil {
			return m, err
		}
		if f != nil {
			dst.set(stdoutWriter{f})
			if f != a.stdout {
				files = append(files, f)
			}
		}
	}
	return m, m.complete(a)
}

// complete fills in the defaults, and refuses flags that contradict each other.
func (m *media) complete(a *app) error {
	if m.AudioIn == "" && m.VideoIn == "" && m.AudioOut == "" && m.VideoOut == "" {
		m.AudioIn = mediaDevice
		if !m.Play {
			m.AudioOut = mediaDevice
		}
	}
	endless := func(s string) bool { return s == "" || s == mediaDevice || s == mediaTest }
	switch {
	case m.HangupAfterPlay && endless(m.AudioIn) && endless(m.VideoIn):
		return usagef("--hangup-after-play needs a source that ends: a file, a FIFO or -")
	case m.stdout && a.json():
		return usagef("standard output cannot carry both media and -o json").WithHint("write the media to a file or a FIFO")
	case m.stdout && a.stdoutTerminal():
		return usagef("media cannot be written to a terminal").WithHint("write them to a file, or to a pipe")
	}
	if m.VideoFormat == "" && (m.VideoIn == mediaStream || m.VideoOut == mediaStream) {
		m.VideoFormat = "ivf"
	}
	return nil
}

// openMediaSource checks one source. It returns a file if this process reads the
// source itself.
func (a *app) openMediaSource(ctx context.Context, flag string, spec *string, m *media) (*os.File, error) {
	switch *spec {
	case "", mediaDevice, mediaTest:
		return nil, nil
	case mediaNull:
		return nil, usagef("%s: null is not a source", flag)
	case mediaStream:
		if m.stdin {
			return nil, usagef("standard input can be only one source")
		}
		if a.stdinTerminal() {
			return nil, usagef("%s -: standard input is a terminal", flag)
		}
		m.stdin = true
		return a.stdin, nil
	}
	abs := absolute(*spec)
	info, err := os.Stat(*spec)
	switch {
	case err != nil:
		return nil, sourceError(*spec, err)
	case info.IsDir():
		return nil, usagef("%s is a directory", *spec)
	case ownPath(abs):
		f, err := await(ctx, func() (*os.File, error) { return os.Open(*spec) })
		if err != nil {
			return nil, sourceError(*spec, err)
		}
		*spec = mediaStream
		return f, nil
	}
	if info.Mode().IsRegular() {
		if err := mediaName(flag, *spec, sourceKinds(flag)); err != nil {
			return nil, err
		}
		f, err := os.Open(*spec) // to report an error before the daemon is asked
		if err != nil {
			return nil, sourceError(*spec, err)
		}
		_ = f.Close()
	}
	*spec = abs
	return nil, pathText(flag, abs)
}

// openMediaTarget checks one destination. It returns a file if this process writes
// to the destination itself.
func (a *app) openMediaTarget(ctx context.Context, flag string, spec *string, m *media) (*os.File, error) {
	switch *spec {
	case "", mediaNull:
		return nil, nil
	case mediaTest:
		return nil, usagef("%s: test is not a destination", flag)
	case mediaDevice:
		if flag == "--video-out" {
			return nil, usagef("--video-out: device is not a destination for video").WithHint("to watch the video, use --play")
		}
		return nil, nil
	case mediaStream:
		if m.stdout {
			return nil, usagef("standard output can be only one destination").WithHint("a .webm or .mkv file can hold both audio and video")
		}
		m.stdout = true
		return a.stdout, nil
	case os.DevNull:
		*spec = mediaNull
		return nil, nil
	}
	abs := absolute(*spec)
	info, err := os.Stat(*spec)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if dir, err := os.Stat(filepath.Dir(abs)); err != nil || !dir.IsDir() {
			return nil, usagef("%s: no such directory", filepath.Dir(*spec)).WithHint("mkdir -p %s", shellWord(filepath.Dir(*spec)))
		}
	case err != nil:
		return nil, sourceError(*spec, err)
	case info.IsDir():
		return nil, usagef("%s is a directory", *spec)
	case ownPath(abs):
		f, err := await(ctx, func() (*os.File, error) { return os.OpenFile(*spec, os.O_WRONLY, 0) })
		if err != nil {
			return nil, sourceError(*spec, err)
		}
		*spec = mediaStream
		return f, nil
	}
	if err == nil && info.Mode().IsRegular() && !m.again {
		return nil, usagef("%s: %s exists; a recording never replaces a file", flag, *spec).WithHint("use another name, or remove the file")
	}
	if err != nil || info.Mode().IsRegular() {
		if err := mediaName(flag, *spec, targetKinds(flag)); err != nil {
			return nil, err
		}
	}
	*spec = abs
	return nil, pathText(flag, abs)
}

// pathText refuses a path that cannot be sent to the daemon in JSON.
func pathText(flag, abs string) error {
	if !utf8.ValidString(abs) {
		return usagef("%s: the path is not UTF-8", flag)
	}
	return nil
}

// sourceKinds and targetKinds are the file name extensions that a flag accepts.
func sourceKinds(flag string) []string {
	if strings.HasPrefix(flag, "--audio") {
		return []string{".ogg", ".opus", ".wav"}
	}
	return []string{".ivf", ".h264", ".264"}
}

func targetKinds(flag string) []string { return append(sourceKinds(flag), ".webm", ".mkv") }

// mediaName checks the extension of a file, which decides its format.
func mediaName(flag, path string, kinds []string) error {
	if ext := strings.ToLower(filepath.Ext(path)); !slices.Contains(kinds, ext) {
		return usagef("%s: the name %s must end in one of %s", flag, path, strings.Join(kinds, ", "))
	}
	return nil
}
