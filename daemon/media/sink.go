package media

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"secmsg/daemon/media/codec"
	"secmsg/daemon/media/container"
)

// SinkOptions are the options of a sink.
type SinkOptions struct {
	// Stream is the destination for [SpecStream]; the sink closes it.
	Stream io.WriteCloser
	// Format is the format of the stream, or of a path whose name does not indicate it.
	// Empty for a stream of sound means Ogg.
	Format Format
	// Place renames a finished recording, the file temp in root, to the requested name or a
	// similar free one, and returns that. It must not replace a file. Nil: [PlaceExact].
	Place func(root *os.Root, temp, name string) (string, error)
}

// OpenSink opens a destination: "null", "-" for the stream in the options, "device" (the
// loudspeaker), or the path of a file or FIFO. A FIFO gets frames as soon as it has a
// reader. A file is created under a temporary name at the first frame and renamed when the
// call has ended, so a call without any frame leaves no file, and existing files are not
// changed. Formats that contain both kinds ignore kind. It fails with [ErrUnsupported] if
// this build or machine lacks something that is needed.
func OpenSink(kind Kind, spec string, o SinkOptions) (Sink, error) {
	s, err := openSink(kind, spec, o)
	if err != nil {
		if spec == SpecStream && o.Stream != nil {
			err = errors.Join(err, o.Stream.Close())
		}
		return nil, fmt.Errorf("open %s sink %q: %w", kind, spec, err)
	}
	return s, nil
}

func openSink(kind Kind, spec string, o SinkOptions) (Sink, error) {
	switch spec {
	case SpecNull:
		return nullSink{}, nil
	case SpecDevice:
		if kind == Video {
			return nil, fmt.Errorf("video cannot go to a device, use a player: %w", ErrUnsupported)
		}
		return openSpeaker()
	case SpecStream:
		if o.Stream == nil {
			return nil, fmt.Errorf("no stream was given: %w", ErrUnsupported)
		}
		if o.Format == "" && kind == Audio {
			o.Format = Ogg
		}
		return newFrameSink(kind, o.Format, &output{w: o.Stream}, true)
	}
	info, err := os.Stat(spec)
	if f := formatOf(spec); f != "" && (o.Format == "" || err != nil || info.Mode().IsRegular()) {
		o.Format = f // a file's name takes precedence
	}
	if err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return newFrameSink(kind, o.Format, &output{fifo: spec}, true)
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("neither a file nor a FIFO: %w", ErrUnsupported)
	}
	if _, err := takes(kind, o.Format); err != nil {
		return nil, err
	}
	r, err := newRecording(spec, o.Place)
	if err != nil {
		return nil, err
	}
	return newFrameSink(kind, o.Format, &output{file: r}, false)
}

// nullSink discards everything.
type nullSink struct{}

// Codecs implements [Sink].
func (nullSink) Codecs(k Kind) []Codec {
	if k == Audio {
		return []Codec{Opus}
	}
	return []Codec{H264, VP8}
}

// Write implements [Sink].
func (nullSink) Write(Codec, Frame) error { return nil }

// Live implements [Sink].
func (nullSink) Live() bool { return false }

// Close implements [Sink].
func (nullSink) Close() error { return nil }

// interrupter is a sink whose Write may block.
type interrupter interface {
	// interrupt unblocks a pending Write soon.
	interrupt()
}

// reporter is a sink with a message after Close.
type reporter interface {
	// report returns a sentence for the user, or "".
	report() string
}

// interruptAfter is how long a reader may take at the end of a call.
const interruptAfter = time.Second

// output is a sink's destination: a stream, a file that is created for the first frame, or
// a FIFO that is opened when it has a reader.
type output struct {
	fifo string
	file *recording

	mu     sync.Mutex
	w      io.WriteCloser // nil before a FIFO has a reader or a file its first frame; guarded by mu
	closed bool           // guarded by mu
}

// ready reports whether the destination is open, and opens it if possible.
func (o *output) ready() (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false, ErrClosed
	}
	if o.w != nil {
		return true, nil
	}
	if o.file != nil {
		f, err := o.file.create()
		if err != nil {
			return false, err
		}
		o.w = f
		return true, nil
	}
	f, err := os.OpenFile(o.fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	o.w = f
	return true, nil
}

func (o *output) writer() io.WriteCloser {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w
}

// Write writes to the open destination.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.writer().Write(p)
	if err != nil && o.file != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		err = o.file.failed(err)
	}
	return n, err
}

// Seek seeks in a file.
func (o *output) Seek(offset int64, whence int) (int64, error) {
	if s, ok := o.writer().(io.Seeker); ok {
		return s.Seek(offset, whence)
	}
	return 0, errors.ErrUnsupported
}

func (o *output) interrupt() {
	w := o.writer()
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		if d.SetWriteDeadline(time.Now().Add(interruptAfter)) == nil {
			return
		}
	}
	if _, file := w.(*os.File); w != nil && !file {
		time.AfterFunc(interruptAfter, func() { _ = o.Close() })
	}
}

// Close closes the destination and renames a recording. Further calls do nothing.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	var err error
	if o.w != nil {
		err = o.w.Close()
	}
	if o.file != nil {
		err = errors.Join(err, o.file.finish())
	}
	return err
}

// takes returns the codecs of a kind that a format can contain, the preferred one first.
func takes(kind Kind, f Format) ([]Codec, error) {
	switch {
	case f == "":
		return nil, fmt.Errorf("its name does not indicate a format: end it in .ogg, .wav, .ivf, .h264 or .mkv: %w", ErrUnsupported)
	case kind == Audio && (f == Ogg || f == WAV || f == S16LE || f == Matroska || f == WebM):
		return []Codec{Opus}, nil
	case kind == Video && f == AnnexB:
		return []Codec{H264}, nil
	case kind == Video && (f == IVF || f == WebM):
		return []Codec{VP8}, nil
	case kind == Video && f == Matroska:
		return []Codec{H264, VP8}, nil
	}
	return nil, fmt.Errorf("%s holds no %s: %w", f, kind, ErrUnsupported)
}

// frameWriter writes one format.
type frameWriter interface {
	write(c Codec, f Frame) error
	close() error
}

// frameSink is a sink with one format.
type frameSink struct {
	kind   Kind
	format Format
	live   bool
	out    *output

	mu     sync.Mutex  // sound and video come from two goroutines
	writer frameWriter // guarded by mu; nil before the first frame
	failed bool        // Write has returned an error; guarded by mu
}

func newFrameSink(kind Kind, f Format, out *output, live bool) (Sink, error) {
	if _, err := takes(kind, f); err != nil {
		return nil, err
	}
	return &frameSink{kind: kind, format: f, live: live, out: out}, nil
}

// Codecs implements [Sink].
func (s *frameSink) Codecs(k Kind) []Codec {
	if k != s.kind && s.format != Matroska && s.format != WebM {
		return nil
	}
	c, err := takes(k, s.format)
	if err != nil {
		return nil
	}
	return c
}

// Live implements [Sink].
func (s *frameSink) Live() bool { return s.live }

// Write implements [Sink]. It drops frames while a FIFO has no reader.
func (s *frameSink) Write(c Codec, f Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer == nil {
		if !f.Key {
			return nil
		}
		ready, err := s.out.ready()
		if err != nil || !ready {
			return err
		}
		if s.writer, err = s.newWriter(); err != nil {
			return err
		}
	}
	err := s.writer.write(c, f)
	s.failed = s.failed || err != nil
	return err
}

func (s *frameSink) newWriter() (frameWriter, error) {
	switch s.format {
	case IVF:
		return &ivfSink{w: container.NewIVFWriter(s.out)}, nil
	case AnnexB:
		return &annexBSink{w: s.out}, nil
	case Ogg:
		return &oggSink{out: s.out}, nil
	case Matroska, WebM:
		return newMuxer(s.out, s.format, s.live), nil
	}
	return newPCMSink(s.out, s.format == WAV)
}

// report implements reporter.
func (s *frameSink) report() string {
	if s.out.file == nil {
		return ""
	}
	return s.out.file.report()
}

func (s *frameSink) interrupt() { s.out.interrupt() }

// Close implements [Sink].
func (s *frameSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.writer == nil && s.out.writer() != nil && s.format != Matroska && s.format != WebM {
		s.writer, err = s.newWriter() // an empty stream in its format
	}
	if s.writer != nil {
		if end := s.writer.close(); !s.failed { // otherwise the same error again
			err = errors.Join(err, end)
		}
	}
	s.writer = nil
	return errors.Join(err, s.out.Close())
}

type ivfSink struct{ w *container.IVFWriter }

func (s *ivfSink) write(_ Codec, f Frame) error { return s.w.Write(f.Data, f.PTS) }
func (s *ivfSink) close() error                 { return s.w.Close() }

type annexBSink struct{ w io.Writer }

func (s *annexBSink) write(_ Codec, f Frame) error {
	_, err := s.w.Write(f.Data)
	return err
}
func (s *annexBSink) close() error { return nil }

// Gaps in sound are filled, so that a file lasts as long as the call.
const (
	// gapFrom is the shortest gap that is filled; shorter ones are clock jitter.
	gapFrom = 3 * opusFrame / 2
	// gapMost bounds a filled gap. A longer one is shortened to it.
	gapMost = 10 * time.Minute
)

// gap returns the number of missing 20 ms packets between end and a frame at pts, and the
// new end.
func gap(end, pts time.Duration) (packets int, newEnd time.Duration) {
	missing := min(pts-end, gapMost)
	if missing < gapFrom {
		return 0, end
	}
	packets = int((missing + opusFrame/2) / opusFrame)
	return packets, end + time.Duration(packets)*opusFrame
}

type oggSink struct {
	out *output
	w   *container.OggWriter
	end time.Duration
}

func (s *oggSink) write(_ Codec, f Frame) error {
	if s.w == nil {
		channels := 1
		if container.OpusStereo(f.Data) {
			channels = 2
		}
		s.w = container.NewOggWriter(s.out, channels)
	}
	n, end := gap(s.end, f.PTS)
	for range n {
		if err := s.w.Write(silence(opusFrame)); err != nil {
			return err
		}
	}
	s.end = end + f.Duration
	return s.w.Write(f.Data)
}

func (s *oggSink) close() error {
	if s.w == nil {
		s.w = container.NewOggWriter(s.out, 1)
	}
	return s.w.Close()
}

// pcmSink decodes sound to WAV or raw samples.
type pcmSink struct {
	decoder *codec.OpusDecoder
	samples func([]int16) error
	done    func() error
	end     time.Duration
}

func newPCMSink(out *output, wav bool) (*pcmSink, error) {
	d, err := codec.NewOpusDecoder()
	if err != nil {
		return nil, err
	}
	if wav {
		w := container.NewWAVWriter(out, codec.Rate)
		return &pcmSink{decoder: d, samples: w.Write, done: w.Close}, nil
	}
	return &pcmSink{decoder: d, samples: rawSamples(out), done: func() error { return nil }}, nil
}

// rawSamples writes samples without a header.
func rawSamples(w io.Writer) func([]int16) error {
	return func(samples []int16) error {
		b := make([]byte, 0, 2*len(samples))
		for _, v := range samples {
			b = append(b, byte(v), byte(uint16(v)>>8))
		}
		_, err := w.Write(b)
		return err
	}
}

func (s *pcmSink) write(_ Codec, f Frame) error {
	n, end := gap(s.end, f.PTS)
	for range n {
		if err := s.samples(make([]int16, codec.FrameSamples)); err != nil {
			return err
		}
	}
	s.end = end + f.Duration
	return s.samples(s.decoder.Decode(f.Data))
}

func (s *pcmSink) close() error { return s.done() }
