package container

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// Types of NAL units (H.264, table 7-1).
const (
	nalSlice    = 1
	nalSliceIDR = 5
	nalSEI      = 6
	nalSPS      = 7
	nalPPS      = 8
	nalAUD      = 9
)

// maxAccessUnitNALs bounds the NAL units of one picture.
const maxAccessUnitNALs = 512

// H264Reader splits an Annex B stream into access units.
type H264Reader struct {
	r       *bufio.Reader
	pending []byte // first NAL unit of the next access unit
	started bool
	ended   bool
	rate    float64
}

// NewH264Reader returns a reader. If there is anything before the first start code, the
// first Next fails with [ErrFormat].
func NewH264Reader(r io.Reader) *H264Reader { return &H264Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// FrameRate returns the rate in the stream's parameter sets, in frames per second; zero if
// there was none so far.
func (r *H264Reader) FrameRate() float64 { return r.rate }

// Next returns one access unit with start codes, or io.EOF at the end. A unit is known to
// be complete when the next one begins. It fails with [ErrFormat] at a picture that refers
// to later ones (a B-picture): its decoding order differs from the display order, which a
// call does not support.
func (r *H264Reader) Next() ([]byte, error) {
	var unit []byte
	havePicture := false
	for n := 0; ; n++ {
		nal := r.pending
		r.pending = nil
		if nal == nil {
			var err error
			if nal, err = r.nal(); err == io.EOF {
				if !havePicture {
					return nil, io.EOF
				}
				return unit, nil
			} else if err != nil {
				return nil, err
			}
		}
		if len(nal) == 0 {
			continue
		}
		if havePicture && beginsUnit(nal) {
			r.pending = nal
			return unit, nil
		}
		if len(unit)+len(nal) > MaxFrame || n > maxAccessUnitNALs {
			return nil, fmt.Errorf("H.264 access unit is too large: %w", ErrFormat)
		}
		switch nal[0] & 0x1f {
		case nalSlice, nalSliceIDR:
			if nal[0]&0x1f == nalSlice && isB(nal) {
				return nil, fmt.Errorf("H.264 with B-frames, encode it without them (ffmpeg -bf 0): %w", ErrFormat)
			}
			havePicture = true
		case nalSPS:
			if sps, err := ParseSPS(nal); err == nil && sps.FrameRate > 0 {
				r.rate = sps.FrameRate
			}
		}
		unit = append(append(unit, 0, 0, 0, 1), nal...)
	}
}

// beginsUnit reports whether a NAL unit after a picture begins the next access unit (H.264,
// section 7.4.1.2.3). It assumes one slice group and no redundant pictures, so a slice that
// begins at macroblock zero begins a picture.
func beginsUnit(nal []byte) bool {
	switch nal[0] & 0x1f {
	case nalSlice, nalSliceIDR:
		return len(nal) > 1 && nal[1]&0x80 != 0 // first_mb_in_slice is ue(0)
	case nalSEI, nalSPS, nalPPS, nalAUD, 14, 15, 16, 17, 18:
		return true
	}
	return false
}

// isB reports whether a slice belongs to a B-picture (H.264, sections 7.3.3 and 7.4.3:
// slice_type 1 or 6).
func isB(slice []byte) bool {
	const head = 16 // both numbers have at most 8 bytes
	b := &bits{data: unescape(slice[1:min(len(slice), head)])}
	b.ue() // first_mb_in_slice
	kind := b.ue()
	return !b.failed && kind%5 == 1
}

// nal reads one NAL unit without its start code.
func (r *H264Reader) nal() ([]byte, error) {
	if !r.started {
		if err := r.firstStartCode(); err != nil {
			return nil, err
		}
		r.started = true
	}
	if r.ended {
		return nil, io.EOF
	}
	var nal []byte
	for {
		// A start code ends in 1, so read up to the next 1 at once.
		part, err := r.r.ReadSlice(1)
		if len(nal)+len(part) > MaxFrame {
			return nil, fmt.Errorf("H.264 NAL unit is too large: %w", ErrFormat)
		}
		nal = append(nal, part...)
		switch {
		case err == nil && bytes.HasSuffix(nal, []byte{0, 0, 1}):
			return bytes.TrimRight(nal[:len(nal)-3], "\x00"), nil
		case err == io.EOF:
			r.ended = true
			return bytes.TrimRight(nal, "\x00"), nil
		case err != nil && err != bufio.ErrBufferFull:
			return nil, fmt.Errorf("read H.264: %w", err)
		}
	}
}

func (r *H264Reader) firstStartCode() error {
	for zeros := 0; ; {
		b, err := r.r.ReadByte()
		switch {
		case err == io.EOF && zeros == 0:
			return io.EOF
		case err != nil:
			return fmt.Errorf("read H.264: %w", noEOF(err))
		case b == 0:
			zeros++
		case b == 1 && zeros >= 2:
			return nil
		default:
			return fmt.Errorf("not an H.264 stream with start codes: %w", ErrFormat)
		}
		if zeros > MaxFrame {
			return fmt.Errorf("not an H.264 stream with start codes: %w", ErrFormat)
		}
	}
}

// H264NALs returns the NAL units of an access unit in Annex B form, as slices of it.
func H264NALs(unit []byte) [][]byte {
	var out [][]byte
	code := []byte{0, 0, 1}
	at := bytes.Index(unit, code)
	for at >= 0 {
		begin := at + len(code)
		next := bytes.Index(unit[begin:], code)
		end := len(unit)
		if next >= 0 {
			end = begin + next
		}
		if nal := bytes.TrimRight(unit[begin:end], "\x00"); len(nal) > 0 {
			out = append(out, nal)
		}
		if next < 0 {
			break
		}
		at = begin + next
	}
	return out
}

// H264IsKey reports whether an access unit contains parameter sets and the start of an IDR
// picture: decoding can start at it.
func H264IsKey(unit []byte) bool {
	var sps, pps bool
	for _, nal := range H264NALs(unit) {
		switch nal[0] & 0x1f {
		case nalSPS:
			sps = true
		case nalPPS:
			pps = true
		case nalSliceIDR:
			return sps && pps && len(nal) > 1 && nal[1]&0x80 != 0
		case nalSlice:
			return false
		}
	}
	return false
}
