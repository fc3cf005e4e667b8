package container

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"
)

// Sizes of IVF's headers in bytes.
const (
	ivfHeaderSize = 32
	ivfFrameSize  = 12
	// ivfMaxHeader bounds the header size that a file may state.
	ivfMaxHeader = 4096
	// ivfRate is the written time base: milliseconds.
	ivfRate = 1000
)

// IVFReader reads VP8 frames from an IVF stream.
type IVFReader struct {
	r           io.Reader
	num, den    uint32 // a tick lasts num/den seconds
	Width       int    // from the header; the frames take precedence
	Height      int
	first       uint64
	haveFirst   bool
	frameHeader [ivfFrameSize]byte
}

// NewIVFReader reads the file header. It fails with [ErrFormat] if the stream is not IVF
// with VP8.
func NewIVFReader(r io.Reader) (*IVFReader, error) {
	var h [ivfHeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("read IVF header (%v): %w", noEOF(err), ErrFormat)
	}
	if string(h[:4]) != "DKIF" || string(h[8:12]) != "VP80" {
		return nil, fmt.Errorf("not an IVF file with VP8: %w", ErrFormat)
	}
	size := int64(binary.LittleEndian.Uint16(h[6:]))
	den, num := binary.LittleEndian.Uint32(h[16:]), binary.LittleEndian.Uint32(h[20:])
	if size < ivfHeaderSize || size > ivfMaxHeader || den == 0 || num == 0 {
		return nil, fmt.Errorf("IVF header: %w", ErrFormat)
	}
	if _, err := io.CopyN(io.Discard, r, size-ivfHeaderSize); err != nil {
		return nil, fmt.Errorf("read IVF header (%v): %w", noEOF(err), ErrFormat)
	}
	return &IVFReader{
		r: r, num: num, den: den,
		Width: int(binary.LittleEndian.Uint16(h[12:])), Height: int(binary.LittleEndian.Uint16(h[14:])),
	}, nil
}

// Next returns a frame and its time since the first one, or io.EOF at the end.
func (r *IVFReader) Next() ([]byte, time.Duration, error) {
	if _, err := io.ReadFull(r.r, r.frameHeader[:]); err != nil {
		if err == io.EOF {
			return nil, 0, err
		}
		return nil, 0, fmt.Errorf("read IVF frame: %w", err)
	}
	size := binary.LittleEndian.Uint32(r.frameHeader[:])
	if size == 0 || size > MaxFrame {
		return nil, 0, fmt.Errorf("IVF frame of %d bytes: %w", size, ErrFormat)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r.r, data); err != nil {
		return nil, 0, fmt.Errorf("read IVF frame: %w", noEOF(err))
	}
	tick := binary.LittleEndian.Uint64(r.frameHeader[4:])
	if !r.haveFirst {
		r.first, r.haveFirst = tick, true
	}
	if tick < r.first {
		tick = r.first
	}
	seconds := float64(tick-r.first) * float64(r.num) / float64(r.den)
	const maxSeconds = 1 << 30 // keeps the duration below its maximum
	return data, time.Duration(min(seconds, maxSeconds) * float64(time.Second)), nil
}

// IVFWriter writes VP8 frames as an IVF stream.
type IVFWriter struct {
	w          io.Writer
	frames     uint32
	last, step time.Duration // time of the last frame, and duration of the one before it
}

// NewIVFWriter returns a writer. It writes the header with the first frame, which contains
// the size of the picture.
func NewIVFWriter(w io.Writer) *IVFWriter { return &IVFWriter{w: w} }

// Write appends a frame with presentation time pts.
func (w *IVFWriter) Write(frame []byte, pts time.Duration) error {
	var b []byte
	if w.frames == 0 {
		width, height, _ := VP8Size(frame)
		b = ivfHeader(width, height, 0)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
	b = binary.LittleEndian.AppendUint64(b, uint64(pts.Milliseconds()))
	if _, err := w.w.Write(append(b, frame...)); err != nil {
		return fmt.Errorf("write IVF: %w", err)
	}
	if w.frames > 0 {
		w.step = pts - w.last
	}
	w.last = pts
	w.frames++
	return nil
}

// Close writes the length into the header if the output can seek. The length is in ticks of
// the time base, as players expect it, although the field is called the number of frames.
// (libvpx uses one tick per frame, so there both are the same.)
func (w *IVFWriter) Close() error {
	s, ok := w.w.(io.WriteSeeker)
	if !ok || w.frames == 0 {
		return nil
	}
	if _, err := s.Seek(24, io.SeekStart); err != nil {
		return nil // a pipe: the length stays unknown
	}
	length := (w.last + w.step).Milliseconds()
	if _, err := s.Write(binary.LittleEndian.AppendUint32(nil, uint32(min(length, math.MaxUint32)))); err != nil {
		return fmt.Errorf("complete IVF header: %w", err)
	}
	return nil
}

func ivfHeader(width, height int, length uint32) []byte {
	b := append([]byte("DKIF"), 0, 0, ivfHeaderSize, 0)
	b = append(b, "VP80"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(width))
	b = binary.LittleEndian.AppendUint16(b, uint16(height))
	b = binary.LittleEndian.AppendUint32(b, ivfRate)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint32(b, length)
	return binary.LittleEndian.AppendUint32(b, 0)
}

// VP8Size returns the picture size in a key frame (RFC 6386, section 9.1); key is false for
// other frames.
func VP8Size(frame []byte) (width, height int, key bool) {
	if len(frame) < 10 || frame[0]&1 != 0 || frame[3] != 0x9d || frame[4] != 0x01 || frame[5] != 0x2a {
		return 0, 0, false
	}
	const sizeBits = 0x3fff // the two bits above are a scale
	return int(binary.LittleEndian.Uint16(frame[6:])) & sizeBits, int(binary.LittleEndian.Uint16(frame[8:])) & sizeBits, true
}
