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

// Words that stand for a source or destination instead of a path.
const (
	mediaDevice = "device"
	mediaTest   = "test"
	mediaNull   = "null"
	mediaStream = "-"
)

const mediaHelp = "A source SRC is device (the default microphone or camera), test (a tone of 1 kHz, a\n" +
	"picture with a moving clock), a file (.ogg .wav; .ivf .h264), a FIFO, or - for\n" +
	"standard input. A destination DST is device (the loudspeaker), a file (the same\n" +
	"kinds; .webm and .mkv take sound and pictures together), a FIFO, - for standard\n" +
	"output, or null. With no source and no destination, sound goes from and to the\n" +
	"device; with any, media that are not named are off.\n\n" +
	"A file to record into must not exist. It appears when the call has ended, and only\n" +
	"if something came. A source file is read through before the peer is rung; if a\n" +
	"source or destination fails during the call, the call goes on with the rest, and the\n" +
	"exit code is 1 (the input is at fault) or 3 in the end.\n\n" +
	"Standard streams and FIFOs carry sound as Ogg with Opus or, with --audio-format\n" +
	"s16le, as raw PCM at 48 kHz, mono; pictures as IVF with VP8, or H.264. The kind of\n" +
	"the destination's file decides which codec is asked for. A build without cgo has no\n" +
	"devices and no encoders: it sends and records media that are encoded already."

// mediaOptions are the media flags of call start and call answer.
type mediaOptions struct {
	local.CallMedia
	again bool // set by call answer --forever
}

func (o *mediaOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.AudioIn, "audio-in", "", "send sound from this `SRC`")
	f.StringVar(&o.VideoIn, "video-in", "", "send pictures from this `SRC`")
	f.StringVar(&o.AudioOut, "audio-out", "", "sound of the peer goes to this `DST`")
	f.StringVar(&o.VideoOut, "video-out", "", "pictures of the peer go to this `DST`")
	f.StringVar(&o.AudioFormat, "audio-format", "", "`FORMAT` of sound in - and FIFOs: ogg, s16le or wav (default ogg)")
	f.StringVar(&o.VideoFormat, "video-format", "", "`FORMAT` of pictures in - and FIFOs: ivf or h264 (default ivf)")
	f.StringVar(&o.VideoSize, "video-size", "", "`SIZE` of the pictures of camera and test (default 640x480)")
	f.BoolVar(&o.HangupAfterPlay, "hangup-after-play", false, "hang up when all files and streams that are sent have ended")
	f.BoolVar(&o.RelayOnly, "relay-only", false, "tell the peer no address of this machine: media go through the server")
	f.BoolVar(&o.Play, "play", false, "show what comes in an installed player (mpv or ffplay)")
}

// media are checked flags: what the daemon is told, and the ends that are here.
type media struct {
	local.CallMedia
	streams local.CallStreams
	again   bool // one call after the other records: under numbered names
	stdin   bool // standard input is a source
	stdout  bool // standard output is a destination
	close   func()
}

// open checks the flags, makes paths absolute and opens what only this process
// can open: standard streams and descriptors of a process substitution.
func (a *app) openMedia(ctx context.Context, cmd *cobra.Command, o mediaOptions) (_ media, err error) {
	m := media{CallMedia: o.CallMedia, again: o.again}
	var files []*os.File
	m.close = func() {
		for _, f := range files {
			_ = f.Close() // what was written has been taken, or the call failed for it
		}
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if err := filled(cmd, "audio-in", "video-in", "audio-out", "video-out", "audio-format", "video-format", "video-size"); err != nil {
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

// complete says what no flag has said, and refuses what cannot be meant.
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
		return usagef("-o json and media both want standard output").WithHint("a file or a FIFO for the media")
	case m.stdout && a.stdoutTerminal():
		return usagef("media are not for a terminal").WithHint("a file, or a pipe behind the command")
	}
	if m.VideoFormat == "" && (m.VideoIn == mediaStream || m.VideoOut == mediaStream) {
		m.VideoFormat = "ivf"
	}
	return nil
}

// openMediaSource looks at one source; a file is returned if it is read here.
func (a *app) openMediaSource(ctx context.Context, flag string, spec *string, m *media) (*os.File, error) {
	switch *spec {
	case "", mediaDevice, mediaTest:
		return nil, nil
	case mediaNull:
		return nil, usagef("%s null: not a source", flag)
	case mediaStream:
		if m.stdin {
			return nil, usagef("standard input is one source, not two")
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
		f, err := os.Open(*spec) // better said now than by the daemon later
		if err != nil {
			return nil, sourceError(*spec, err)
		}
		_ = f.Close()
	}
	*spec = abs
	return nil, pathText(flag, abs)
}

// openMediaTarget looks at one destination; a file is returned if it is written here.
func (a *app) openMediaTarget(ctx context.Context, flag string, spec *string, m *media) (*os.File, error) {
	switch *spec {
	case "", mediaNull:
		return nil, nil
	case mediaTest:
		return nil, usagef("%s test: not a destination", flag)
	case mediaDevice:
		if flag == "--video-out" {
			return nil, usagef("--video-out device: there is no window of our own").WithHint("--play")
		}
		return nil, nil
	case mediaStream:
		if m.stdout {
			return nil, usagef("standard output is one destination, not two").WithHint("a .webm or .mkv file takes both")
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
			return nil, usagef("%s: no such directory", filepath.Dir(*spec))
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
		return nil, usagef("%s %s exists; a recording replaces no file", flag, *spec).WithHint("another name, or remove the file")
	}
	if err != nil || info.Mode().IsRegular() {
		if err := mediaName(flag, *spec, targetKinds(flag)); err != nil {
			return nil, err
		}
	}
	*spec = abs
	return nil, pathText(flag, abs)
}

// pathText refuses a path that cannot be named to the daemon.
func pathText(flag, abs string) error {
	if !utf8.ValidString(abs) {
		return usagef("%s: the path is not UTF-8", flag)
	}
	return nil
}

// sourceKinds and targetKinds are the names of files that a flag takes.
func sourceKinds(flag string) []string {
	if strings.HasPrefix(flag, "--audio") {
		return []string{".ogg", ".opus", ".wav"}
	}
	return []string{".ivf", ".h264", ".264"}
}

func targetKinds(flag string) []string { return append(sourceKinds(flag), ".webm", ".mkv") }

// mediaName checks that a file is called as its kind: the name decides the format.
func mediaName(flag, path string, kinds []string) error {
	if ext := strings.ToLower(filepath.Ext(path)); !slices.Contains(kinds, ext) {
		return usagef("%s %s: the name must end in %s", flag, path, strings.Join(kinds, ", "))
	}
	return nil
}
