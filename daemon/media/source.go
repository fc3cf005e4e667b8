package media

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"secmsg/daemon/media/codec"
	"secmsg/daemon/media/container"
)

// Format is the format of a file or stream.
type Format string

// Formats. Sources support all except Matroska and WebM.
const (
	// IVF contains VP8.
	IVF Format = "ivf"
	// AnnexB is an H.264 stream with start codes.
	AnnexB Format = "h264"
	// Ogg contains Opus.
	Ogg Format = "ogg"
	// WAV contains 16-bit PCM.
	WAV Format = "wav"
	// S16LE is PCM at 48 kHz, mono, signed 16 bit, little endian, without a header.
	S16LE Format = "s16le"
	// Matroska contains both kinds in one file, with any codec.
	Matroska Format = "mkv"
	// WebM contains both kinds in one file, VP8 and Opus.
	WebM Format = "webm"
)

// formatOf returns the format indicated by a file's name, or "".
func formatOf(name string) Format {
	f := Format(strings.TrimPrefix(strings.ToLower(filepath.Ext(name)), "."))
	switch f {
	case IVF, AnnexB, Ogg, WAV, Matroska, WebM, S16LE:
		return f
	case "opus":
		return Ogg
	case "264":
		return AnnexB
	}
	return ""
}

// Names of sources and sinks other than paths.
const (
	// SpecDevice is the default camera, microphone or loudspeaker.
	SpecDevice = "device"
	// SpecTest is the synthetic picture with a clock, or the tone.
	SpecTest = "test"
	// SpecStream is the caller's stream.
	SpecStream = "-"
	// SpecNull discards everything.
	SpecNull = "null"
)

// SourceOptions are the options of a source.
type SourceOptions struct {
	// Stream is the stream for [SpecStream]; the source closes it.
	Stream io.ReadCloser
	// Format is the format of the stream, or of a path whose name does not indicate it.
	// Empty for a stream of sound means Ogg.
	Format Format
	// Width, Height and FrameRate apply to the camera and the synthetic picture; zero means
	// 640, 480 and 30. FrameRate is also used for H.264 streams without a rate.
	Width, Height, FrameRate int
}

// Defaults and limits of video that is encoded here.
const (
	defaultWidth, defaultHeight, defaultRate = 640, 480, 30
	maxWidth, maxHeight, maxRate             = 1920, 1088, 60
)

func (o *SourceOptions) defaults() error {
	if o.Width == 0 && o.Height == 0 {
		o.Width, o.Height = defaultWidth, defaultHeight
	}
	if o.FrameRate == 0 {
		o.FrameRate = defaultRate
	}
	if o.Width < 160 || o.Height < 120 || o.Width > maxWidth || o.Height > maxHeight || o.Width%2+o.Height%2 != 0 ||
		o.FrameRate < 1 || o.FrameRate > maxRate {
		return fmt.Errorf("video of %dx%d at %d frames per second: %w", o.Width, o.Height, o.FrameRate, ErrUnsupported)
	}
	return nil
}

// OpenSource opens a source: "device", "test", "-" for the stream in the options, or the
// path of a file or FIFO. A FIFO is opened when the call starts to send, and read live. It
// fails with [ErrUnsupported] if this build or machine lacks something that is needed, and
// with [ErrFormat] if the content does not match the kind.
func OpenSource(kind Kind, spec string, o SourceOptions) (Source, error) {
	s, err := openSource(kind, spec, o)
	if err != nil {
		if spec == SpecStream && o.Stream != nil {
			err = errors.Join(err, o.Stream.Close())
		}
		return nil, fmt.Errorf("open %s source %q: %w", kind, spec, err)
	}
	return s, nil
}

func openSource(kind Kind, spec string, o SourceOptions) (Source, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	switch spec {
	case SpecTest:
		if kind == Audio {
			return newTone()
		}
		return newTestPicture(o)
	case SpecDevice:
		if kind == Audio {
			return openMicrophone()
		}
		return openCamera(o)
	case SpecStream:
		if o.Stream == nil {
			return nil, fmt.Errorf("no stream was given: %w", ErrUnsupported)
		}
		if o.Format == "" && kind == Audio {
			o.Format = Ogg
		}
		return newStreamSource(kind, o, true, o.Stream, func() (io.ReadCloser, error) { return o.Stream, nil })
	}
	return openPath(kind, spec, o)
}

func openPath(kind Kind, path string, o SourceOptions) (Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if f := formatOf(path); o.Format == "" || f != "" && info.Mode().IsRegular() {
		o.Format = f
	}
	switch {
	case info.Mode()&os.ModeNamedPipe != 0:
		p := newFIFOReader(path)
		return newStreamSource(kind, o, true, p, p.open)
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		s, err := newStreamSource(kind, o, false, f, func() (io.ReadCloser, error) { return f, nil })
		if err == nil {
			err = s.checkFile(f) // before the call rings
		}
		if err == nil {
			err = s.prepare()
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return s, nil
	}
	return nil, fmt.Errorf("neither a file nor a FIFO: %w", ErrUnsupported)
}

// checkLimit bounds how much of a file is checked before a call, in bytes: hours of sound,
// minutes of video.
const checkLimit = 64 << 20

// checkFile checks a file by reading it, and seeks back to its start. It fails with [ErrFormat]
// if the file is damaged, truncated or empty, or cannot be sent.
func (s *streamSource) checkFile(f *os.File) error {
	limited := &io.LimitedReader{R: f, N: checkLimit}
	err := s.readThrough(limited)
	if limited.N <= 0 && (errors.Is(err, io.ErrUnexpectedEOF) || err == nil) {
		err = nil // the check ended at its limit, not the file
	}
	if errors.Is(err, container.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

func (s *streamSource) readThrough(r io.Reader) error {
	var next func() (Frame, error)
	var err error
	switch s.format {
	case WAV, S16LE: // any bytes after the header are samples
		var one [2]byte
		samples := r
		if s.format == WAV {
			if samples, err = container.NewWAVReader(bufio.NewReader(r)); err != nil {
				return err
			}
		}
		if _, err = io.ReadFull(samples, one[:]); err != nil {
			return fmt.Errorf("it contains no sound: %w", ErrFormat)
		}
		_, err = io.Copy(io.Discard, samples) // are there as many as announced?
		return err
	case IVF:
		next, err = ivfFrames(r)
	case AnnexB:
		next = s.h264Frames(r)
	default:
		next, err = oggFrames(r)
	}
	for n := 0; err == nil; n++ {
		if _, err = next(); errors.Is(err, io.EOF) {
			if n == 0 {
				return fmt.Errorf("it contains nothing: %w", ErrFormat)
			}
			return nil
		}
	}
	return err
}

// codecOfFormat returns the codec that a source with a format sends.
func codecOfFormat(f Format) Codec {
	switch f {
	case IVF:
		return VP8
	case AnnexB:
		return H264
	}
	return Opus
}

// checkFormat returns an error if a format is not usable for a source of a kind.
func checkFormat(kind Kind, f Format) error {
	switch f {
	case "":
		return fmt.Errorf("its name does not indicate a format: end it in .ivf, .h264, .ogg or .wav: %w", ErrUnsupported)
	case Matroska, WebM:
		return fmt.Errorf("%s can only be written: %w", f, ErrUnsupported)
	case IVF, AnnexB, Ogg, WAV, S16LE:
	default:
		return fmt.Errorf("format %q: %w", f, ErrUnsupported)
	}
	if codecOfFormat(f).Kind() != kind {
		return fmt.Errorf("%s holds no %s: %w", f, kind, ErrUnsupported)
	}
	if !codec.CanEncode && (f == WAV || f == S16LE) {
		return fmt.Errorf("%w: %w", ErrUnsupported, codec.ErrNoEncoder)
	}
	return nil
}
