package media

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"secmsg/daemon/media/codec"
	"secmsg/daemon/media/container"
)

// liveGap is how late a live stream may be before its silence becomes a gap on the
// timeline.
const liveGap = 100 * time.Millisecond

// streamSource reads frames from a file, a FIFO or a stream.
type streamSource struct {
	format Format
	rate   int  // frames per second if the stream does not specify it
	live   bool // time passes while it delivers nothing
	open   func() (io.ReadCloser, error)
	closer io.Closer // closed if nothing was opened

	// owned by the goroutine of Next
	next    func() (Frame, error)
	early   []Frame // already read by Ready
	begun   time.Time
	behind  time.Duration
	encoder *codec.OpusEncoder

	mu     sync.Mutex
	reader io.Closer // guarded by mu
	closed bool      // guarded by mu
	busy   sync.WaitGroup
}

func newStreamSource(kind Kind, o SourceOptions, live bool, closer io.Closer, open func() (io.ReadCloser, error)) (*streamSource, error) {
	if err := checkFormat(kind, o.Format); err != nil {
		return nil, err
	}
	return &streamSource{format: o.Format, rate: o.FrameRate, live: live, closer: closer, open: open}, nil
}

// Codec implements [Source].
func (s *streamSource) Codec() Codec { return codecOfFormat(s.format) }

// prepare opens the stream and reads its header.
func (s *streamSource) prepare() error {
	if s.next != nil {
		return nil
	}
	r, err := s.open()
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(ErrClosed, r.Close())
	}
	s.reader = r
	s.mu.Unlock()
	next, err := s.frames(r)
	if err != nil {
		if errors.Is(err, container.ErrFormat) {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return err
	}
	s.next = next
	return nil
}

func (s *streamSource) frames(r io.Reader) (func() (Frame, error), error) {
	switch s.format {
	case IVF:
		return ivfFrames(r)
	case AnnexB:
		return s.h264Frames(r), nil
	case Ogg:
		return oggFrames(r)
	case WAV:
		w, err := container.NewWAVReader(bufio.NewReader(r))
		if err != nil {
			return nil, err
		}
		return s.pcmFrames(w, w.Rate, w.Channels)
	}
	return s.pcmFrames(r, codec.Rate, 1)
}

func ivfFrames(r io.Reader) (func() (Frame, error), error) {
	ivf, err := container.NewIVFReader(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	return func() (Frame, error) {
		data, pts, err := ivf.Next()
		return Frame{Data: data, PTS: pts, Key: err == nil && isKey(VP8, data)}, err
	}, nil
}

func (s *streamSource) h264Frames(r io.Reader) func() (Frame, error) {
	h := container.NewH264Reader(r)
	var pts time.Duration
	return func() (Frame, error) {
		data, err := h.Next()
		f := Frame{Data: data, PTS: pts, Key: err == nil && isKey(H264, data)}
		rate := h.FrameRate()
		if rate == 0 {
			rate = float64(s.rate)
		}
		pts += time.Duration(float64(time.Second) / rate)
		return f, err
	}
}

func oggFrames(r io.Reader) (func() (Frame, error), error) {
	ogg, err := container.NewOggReader(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	var pts time.Duration
	var parts [][]byte // remaining parts of a packet that was too large
	return func() (Frame, error) {
		if len(parts) == 0 {
			data, _, err := ogg.Next()
			if err != nil {
				return Frame{}, err
			}
			if parts, err = fitting(data); err != nil {
				return Frame{}, err
			}
		}
		data := parts[0]
		parts = parts[1:]
		f := Frame{Data: data, PTS: pts, Duration: packetSpan(data), Key: true}
		pts += f.Duration
		return f, nil
	}, nil
}

// fitting returns a packet of sound unchanged or, if it is too large for the network, as
// packets of one frame each. A single frame cannot be split (RFC 7587, section 4.2).
func fitting(data []byte) ([][]byte, error) {
	if len(data) <= maxPayload {
		return [][]byte{data}, nil
	}
	parts := splitOpus(data)
	for _, part := range parts {
		if len(part) > maxPayload {
			return nil, fmt.Errorf("%w: an audio frame has %d bytes, but a packet of a call has room for %d; encode it with a lower bit rate",
				container.ErrFormat, len(part), maxPayload)
		}
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: not an Opus packet", container.ErrFormat)
	}
	return parts, nil
}

// pcmFrames encodes samples, mixed to mono and resampled to 48 kHz.
func (s *streamSource) pcmFrames(r io.Reader, rate, channels int) (func() (Frame, error), error) {
	e, err := codec.NewOpusEncoder()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	s.encoder = e
	samples := newResampler(bufio.NewReader(r), rate, channels)
	var pts time.Duration
	buffer := make([]int16, codec.FrameSamples)
	return func() (Frame, error) {
		n, err := samples.read(buffer)
		if n == 0 {
			return Frame{}, err
		}
		clear(buffer[n:])
		data, err := e.Encode(buffer)
		f := Frame{Data: data, PTS: pts, Duration: opusFrame, Key: true}
		pts += opusFrame
		return f, err
	}, nil
}

// Next implements [Source].
func (s *streamSource) Next(ctx context.Context) (Frame, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return Frame{}, io.EOF
	}
	s.busy.Add(1)
	s.mu.Unlock()
	defer s.busy.Done()
	if s.begun.IsZero() {
		s.begun = time.Now()
	}
	f, err := s.read()
	if err != nil {
		return Frame{}, err
	}
	f.PTS += s.behind
	if late := time.Since(s.begun) - f.PTS; s.live && late > liveGap {
		s.behind += late
		f.PTS += late
	}
	return f, ctx.Err()
}

// read returns the next frame with its time in the stream.
func (s *streamSource) read() (Frame, error) {
	if len(s.early) > 0 {
		f := s.early[0]
		s.early = s.early[1:]
		return f, nil
	}
	if err := s.prepare(); err != nil {
		return Frame{}, err
	}
	f, err := s.next()
	switch {
	case errors.Is(err, container.ErrFormat):
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("it is truncated (%w): %w", err, ErrFormat)
	}
	return f, err
}

// Ready implements [Readier]. It must be called before the first Next.
func (s *streamSource) Ready(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // the only way to end a blocked read
	defer stop()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.busy.Add(1)
	s.mu.Unlock()
	defer s.busy.Done()
	f, err := s.read()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("it is empty: %w", ErrFormat)
	case err != nil:
		return err
	}
	f.Data = bytes.Clone(f.Data)
	s.early = append(s.early, f)
	return nil
}

// Close implements [Source].
func (s *streamSource) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	r := s.reader
	s.mu.Unlock()
	if r == nil {
		r = s.closer // ends a blocked open
	}
	err := r.Close()
	s.busy.Wait()
	if s.encoder != nil {
		err = errors.Join(err, s.encoder.Close())
	}
	return err
}

// resampler reads interleaved 16-bit samples as mono at 48 kHz, with linear interpolation:
// good enough for speech, and cheap.
type resampler struct {
	r          io.Reader
	channels   int
	step       float64 // input samples per output sample
	at         float64 // position between prev (0) and cur (1)
	prev, cur  float64
	begun, end bool
	raw        []byte
}

func newResampler(r io.Reader, rate, channels int) *resampler {
	return &resampler{r: r, channels: channels, step: float64(rate) / codec.Rate, raw: make([]byte, 2*channels)}
}

// read fills out with the available samples. It returns io.EOF if there are none.
func (r *resampler) read(out []int16) (int, error) {
	for n := range out {
		for !r.begun || r.at >= 1 {
			if err := r.advance(); err != nil {
				if n > 0 && errors.Is(err, io.EOF) {
					return n, nil
				}
				return 0, err
			}
		}
		out[n] = int16(r.prev + (r.cur-r.prev)*r.at)
		r.at += r.step
	}
	return len(out), nil
}

func (r *resampler) advance() error {
	if r.end {
		return io.EOF
	}
	n, err := io.ReadFull(r.r, r.raw)
	if n > 0 && err == io.ErrUnexpectedEOF { // an incomplete sample: read again to get io.EOF or an error
		_, err = io.ReadFull(r.r, r.raw)
	}
	if err != nil {
		r.end = err == io.EOF
		return err
	}
	sum := 0
	for c := range r.channels {
		sum += int(int16(binary.LittleEndian.Uint16(r.raw[2*c:])))
	}
	v := float64(sum) / float64(r.channels)
	if !r.begun {
		r.begun, r.prev, r.cur = true, v, v // the first sample has no predecessor
		return nil
	}
	r.prev, r.cur = r.cur, v
	r.at--
	return nil
}
