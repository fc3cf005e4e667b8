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
	wavExtensible = 0xfffe
	wavMaxRate    = 192000
	wavMinRate    = 4000
	wavMaxChunk   = 1 << 20 // of chunks that are passed over or read whole
	wavHeaderSize = 44
	// wavUnknown is the size of a stream whose end is not known.
	wavUnknown = math.MaxUint32
)

// WAVReader reads signed 16-bit PCM.
type WAVReader struct {
	r io.Reader
	// Rate is in Hz; Channels is 1 to 8.
	Rate, Channels int
}

// NewWAVReader reads the headers up to the samples. It fails with [ErrFormat]
// unless the stream is WAV with 16-bit PCM.
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
			if size != 0 && size != wavUnknown {
				w.r = io.LimitReader(r, size)
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

func (w *WAVReader) format(c []byte) error {
	if len(c) < 16 {
		return fmt.Errorf("WAV format: %w", ErrFormat)
	}
	kind := binary.LittleEndian.Uint16(c)
	if kind == wavExtensible && len(c) >= 26 {
		kind = binary.LittleEndian.Uint16(c[24:])
	}
	w.Channels = int(binary.LittleEndian.Uint16(c[2:]))
	w.Rate = int(binary.LittleEndian.Uint32(c[4:]))
	if kind != wavPCM || binary.LittleEndian.Uint16(c[14:]) != 16 {
		return fmt.Errorf("WAV file is not 16-bit PCM: %w", ErrFormat)
	}
	if w.Channels < 1 || w.Channels > 8 || w.Rate < wavMinRate || w.Rate > wavMaxRate {
		return fmt.Errorf("WAV file with %d channels at %d Hz: %w", w.Channels, w.Rate, ErrFormat)
	}
	return nil
}

// Read returns the samples as they stand, interleaved, two bytes each, little
// endian.
func (w *WAVReader) Read(p []byte) (int, error) { return w.r.Read(p) }

// WAVWriter writes mono 16-bit PCM.
type WAVWriter struct {
	w     io.Writer
	rate  int
	bytes int64
}

// NewWAVWriter makes a writer of mono sound at a rate in Hz.
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
	w.bytes += int64(2 * len(samples))
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("write WAV: %w", err)
	}
	return nil
}

// Close writes the sizes into the header where the output can seek.
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
