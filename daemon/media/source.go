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

// Format is how media stand in a file or stream.
type Format string

// The formats. Sources take all but Matroska and WebM.
const (
	// IVF holds VP8.
	IVF Format = "ivf"
	// AnnexB is an H.264 stream with start codes.
	AnnexB Format = "h264"
	// Ogg holds Opus.
	Ogg Format = "ogg"
	// WAV holds 16-bit PCM.
	WAV Format = "wav"
	// S16LE is PCM at 48 kHz, mono, signed 16 bit, little endian, without header.
	S16LE Format = "s16le"
	// Matroska holds both kinds in one file, any codec.
	Matroska Format = "mkv"
	// WebM holds both kinds in one file, VP8 and Opus.
	WebM Format = "webm"
)

// formatOf is what a file's name says; empty if nothing.
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

// Words that stand for a source or sink instead of a path.
const (
	// SpecDevice is the default camera, microphone or loudspeaker.
	SpecDevice = "device"
	// SpecTest is the synthetic picture with its clock, or the tone.
	SpecTest = "test"
	// SpecStream is the caller's stream.
	SpecStream = "-"
	// SpecNull takes everything and keeps nothing.
	SpecNull = "null"
)

// SourceOptions say more about a source.
type SourceOptions struct {
	// Stream is what [SpecStream] reads; the source closes it.
	Stream io.ReadCloser
	// Format is that of the stream, or of a path whose name does not tell it.
	// Of a stream of sound it may be empty: then it is Ogg.
	Format Format
	// Width, Height and FrameRate are those of camera and synthetic picture;
	// zero means 640, 480 and 30. FrameRate is also assumed of H.264 streams that
	// name none.
	Width, Height, FrameRate int
}

// Defaults and limits of pictures that are encoded here.
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
		return fmt.Errorf("pictures of %dx%d at %d a second: %w", o.Width, o.Height, o.FrameRate, ErrUnsupported)
	}
	return nil
}

// OpenSource opens what spec names: "device", "test", "-" for the stream of the
// options, or a path of a file or FIFO. A FIFO is opened when the call begins to
// send, and read live. It fails with [ErrUnsupported] if this build or machine
// lacks what is needed, [ErrFormat] if the media are not of the kind.
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
			err = s.look(f) // before the peer is rung
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

// lookAt bounds how much of a file is looked at before a call, in bytes: hours of
// sound, minutes of pictures.
const lookAt = 64 << 20

// look reads a file through and sets it back to its beginning. It fails with
// [ErrFormat] if the file is damaged, cut off or empty, or cannot be sent.
func (s *streamSource) look(f *os.File) error {
	limited := &io.LimitedReader{R: f, N: lookAt}
	err := s.lookThrough(limited)
	if limited.N <= 0 && (errors.Is(err, io.ErrUnexpectedEOF) || err == nil) {
		err = nil // the end is that of the look
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

func (s *streamSource) lookThrough(r io.Reader) error {
	var next func() (Frame, error)
	var err error
	switch s.format {
	case WAV, S16LE: // any bytes behind the header are samples
		var one [2]byte
		samples := r
		if s.format == WAV {
			if samples, err = container.NewWAVReader(bufio.NewReader(r)); err != nil {
				return err
			}
		}
		if _, err = io.ReadFull(samples, one[:]); err != nil {
			return fmt.Errorf("no sound in it: %w", ErrFormat)
		}
		_, err = io.Copy(io.Discard, samples) // as many as are announced?
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
				return fmt.Errorf("nothing in it: %w", ErrFormat)
			}
			return nil
		}
	}
	return err
}

// codecOfFormat is what a source of a format sends.
func codecOfFormat(f Format) Codec {
	switch f {
	case IVF:
		return VP8
	case AnnexB:
		return H264
	}
	return Opus
}

// checkFormat reports why a format does not do for a source of a kind.
func checkFormat(kind Kind, f Format) error {
	switch f {
	case "":
		return fmt.Errorf("its name does not say what it is, end it in .ivf, .h264, .ogg or .wav: %w", ErrUnsupported)
	case Matroska, WebM:
		return fmt.Errorf("%s can be written only: %w", f, ErrUnsupported)
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
