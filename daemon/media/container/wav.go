package container

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Formats and limits of WAV.
const (
	wavPCM        = 1
	wavFloat      = 3
	wavALaw       = 6
	wavMuLaw      = 7
	wavExtensible = 0xfffe
	wavMaxRate    = 192000
	wavMinRate    = 4000
	wavMaxChunk   = 1 << 20 // of chunks that are skipped or read completely
	wavHeaderSize = 44
	// wavUnknown is the size of a stream of unknown length.
	wavUnknown = math.MaxUint32
	// wavEndless is the size from which on the length counts as unknown: programs that
	// write to a pipe use a number of about 2 GiB.
	wavEndless = 0x7f000000
	// wavBlock is the number of bytes converted at a time.
	wavBlock = 4096
)

// WAVReader reads sound in all common sample formats as signed 16-bit PCM.
type WAVReader struct {
	r      io.Reader
	sample wavSample
	raw    []byte // samples to convert
	ready  []byte // converted and not read yet
	err    error  // result after ready is empty
	// Rate is in Hz; Channels is 1 to 8.
	Rate, Channels int
}

// wavSample is a sample format.
type wavSample struct {
	size    int // bytes
	convert func(b []byte) int16
}

// wavSampleOf returns the sample format for a kind and a number of bits, or false if it is
// unknown.
func wavSampleOf(kind, bits uint16) (wavSample, bool) {
	switch {
	case kind == wavPCM && bits == 8: // unsigned, unlike all others
		return wavSample{1, func(b []byte) int16 { return (int16(b[0]) - 128) << 8 }}, true
	case kind == wavPCM && bits == 16:
		return wavSample{2, func(b []byte) int16 { return int16(binary.LittleEndian.Uint16(b)) }}, true
	case kind == wavPCM && bits == 24:
		return wavSample{3, func(b []byte) int16 { return int16(binary.LittleEndian.Uint16(b[1:])) }}, true
	case kind == wavPCM && bits == 32:
		return wavSample{4, func(b []byte) int16 { return int16(binary.LittleEndian.Uint16(b[2:])) }}, true
	case kind == wavFloat && bits == 32:
		return wavSample{4, func(b []byte) int16 { return fromFloat(float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))) }}, true
	case kind == wavFloat && bits == 64:
		return wavSample{8, func(b []byte) int16 { return fromFloat(math.Float64frombits(binary.LittleEndian.Uint64(b))) }}, true
	case kind == wavALaw && bits == 8:
		return wavSample{1, func(b []byte) int16 { return fromALaw(b[0]) }}, true
	case kind == wavMuLaw && bits == 8:
		return wavSample{1, func(b []byte) int16 { return fromMuLaw(b[0]) }}, true
	}
	return wavSample{}, false
}

// fromFloat converts a sample from -1 to 1. It clips values outside, and converts NaN to 0.
func fromFloat(v float64) int16 {
	if math.IsNaN(v) {
		return 0
	}
	return int16(max(min(math.Round(v*(math.MaxInt16+1)), math.MaxInt16), math.MinInt16))
}

// fromALaw decodes a sample (ITU-T G.711, table 1a).
func fromALaw(c byte) int16 {
	c ^= 0x55 // even bits are inverted
	mantissa, segment := int16(c&0x0f), c>>4&7
	v := mantissa<<4 + 8
	if segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if c&0x80 == 0 {
		return -v
	}
	return v
}

// fromMuLaw decodes a sample (ITU-T G.711, table 2a).
func fromMuLaw(c byte) int16 {
	const bias = 0x84
	c = ^c
	v := (int16(c&0x0f)<<3+bias)<<(c>>4&7) - bias
	if c&0x80 != 0 {
		return -v
	}
	return v
}

// NewWAVReader reads the headers up to the samples. It fails with [ErrFormat] unless the
// stream is WAV with PCM of 8, 16, 24 or 32 bits, floating point of 32 or 64 bits, A-law or
// mu-law.
func NewWAVReader(r io.Reader) (*WAVReader, error) {
	var riff [12]byte
	if _, err := io.ReadFull(r, riff[:]); err != nil {
		return nil, fmt.Errorf("read WAV header (%v): %w", noEOF(err), ErrFormat)
	}
	if string(riff[:4]) != "RIFF" || string(riff[8:]) != "WAVE" {
		return nil, fmt.Errorf("not a WAV file: %w", ErrFormat)
	}
	w := &WAVReader{}
	const maxChunks = 64
	for range maxChunks {
		var h [8]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return nil, fmt.Errorf("read WAV header (%v): %w", noEOF(err), ErrFormat)
		}
		size := int64(binary.LittleEndian.Uint32(h[4:]))
		if string(h[:4]) == "data" {
			if w.Channels == 0 {
				return nil, fmt.Errorf("WAV file without a format: %w", ErrFormat)
			}
			w.r = r
			if size != 0 && size < wavEndless {
				w.r = &wavData{r: r, left: size}
			}
			return w, nil
		}
		if size > wavMaxChunk {
			return nil, fmt.Errorf("WAV chunk of %d bytes: %w", size, ErrFormat)
		}
		chunk := make([]byte, size+size&1)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return nil, fmt.Errorf("read WAV header (%v): %w", noEOF(err), ErrFormat)
		}
		if string(h[:4]) == "fmt " {
			if err := w.format(chunk); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("WAV file with too many chunks: %w", ErrFormat)
}

// wavData reads as many bytes as the header states, and fails with [io.ErrUnexpectedEOF] if
// there are fewer.
type wavData struct {
	r    io.Reader
	left int64
}

// Read implements [io.Reader].
func (d *wavData) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	n, err := d.r.Read(p[:min(int64(len(p)), d.left)])
	if d.left -= int64(n); d.left > 0 {
		err = noEOF(err)
	}
	return n, err
}

func (w *WAVReader) format(c []byte) error {
	if len(c) < 16 {
		return fmt.Errorf("WAV format: %w", ErrFormat)
	}
	kind, bits := binary.LittleEndian.Uint16(c), binary.LittleEndian.Uint16(c[14:])
	if kind == wavExtensible && len(c) >= 26 {
		kind = binary.LittleEndian.Uint16(c[24:]) // the first bytes of the sub-format's GUID
	}
	w.Channels = int(binary.LittleEndian.Uint16(c[2:]))
	w.Rate = int(binary.LittleEndian.Uint32(c[4:]))
	var known bool
	if w.sample, known = wavSampleOf(kind, bits); !known {
		return fmt.Errorf("WAV file with samples of format %d in %d bits, which is neither PCM, floating point, A-law nor mu-law: %w", kind, bits, ErrFormat)
	}
	if w.Channels < 1 || w.Channels > 8 || w.Rate < wavMinRate || w.Rate > wavMaxRate {
		return fmt.Errorf("WAV file with %d channels at %d Hz: %w", w.Channels, w.Rate, ErrFormat)
	}
	return nil
}

// Read returns the samples as 16-bit PCM: interleaved, two bytes each, little endian. It
// drops an incomplete sample at the end. It fails with [io.ErrUnexpectedEOF] if there is
// less data than the header states.
func (w *WAVReader) Read(p []byte) (int, error) {
	for len(w.ready) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		w.fill()
	}
	n := copy(p, w.ready)
	w.ready = w.ready[n:]
	return n, nil
}

// fill converts the samples that can be read without blocking again, so that a live stream
// is not delayed.
func (w *WAVReader) fill() {
	if w.raw == nil {
		w.raw = make([]byte, 0, wavBlock)
	}
	n, err := w.r.Read(w.raw[len(w.raw):cap(w.raw)])
	w.raw = w.raw[:len(w.raw)+n]
	w.err = err
	whole := len(w.raw) / w.sample.size * w.sample.size
	out := make([]byte, 0, 2*whole/w.sample.size)
	for at := 0; at < whole; at += w.sample.size {
		out = binary.LittleEndian.AppendUint16(out, uint16(w.sample.convert(w.raw[at:])))
	}
	w.ready = out
	w.raw = w.raw[:copy(w.raw, w.raw[whole:])]
}

// WAVWriter writes mono 16-bit PCM.
type WAVWriter struct {
	w     io.Writer
	rate  int
	bytes int64
}

// NewWAVWriter returns a writer for mono sound at a rate in Hz.
func NewWAVWriter(w io.Writer, rate int) *WAVWriter { return &WAVWriter{w: w, rate: rate} }

// Write appends samples.
func (w *WAVWriter) Write(samples []int16) error {
	var b []byte
	if w.bytes == 0 {
		b = wavHeader(w.rate, wavUnknown)
	}
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("write WAV: %w", err)
	}
	w.bytes += int64(2 * len(samples))
	return nil
}

// Close writes the sizes into the header if the output can seek.
func (w *WAVWriter) Close() error {
	if w.bytes == 0 {
		if _, err := w.w.Write(wavHeader(w.rate, 0)); err != nil {
			return fmt.Errorf("write WAV: %w", err)
		}
		return nil
	}
	s, ok := w.w.(io.WriteSeeker)
	if !ok {
		return nil
	}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return nil // a pipe: the size stays unknown
	}
	if _, err := s.Write(wavHeader(w.rate, uint32(min(w.bytes, wavUnknown-wavHeaderSize)))); err != nil {
		return fmt.Errorf("complete WAV header: %w", err)
	}
	return nil
}

func wavHeader(rate int, size uint32) []byte {
	all := size
	if size != wavUnknown {
		all = size + wavHeaderSize - 8
	}
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), all)
	b = binary.LittleEndian.AppendUint32(append(b, "WAVEfmt "...), 16)
	b = binary.LittleEndian.AppendUint16(b, wavPCM)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(2*rate))
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 16)
	return binary.LittleEndian.AppendUint32(append(b, "data"...), size)
}
