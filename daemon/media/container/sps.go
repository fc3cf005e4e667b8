package container

import "fmt"

// maxDimension bounds a picture's width and height.
const maxDimension = 16384

// SPS has the used fields of a sequence parameter set (H.264, section 7.3.2.1.1).
type SPS struct {
	// Profile, Constraints and Level are the three bytes after the NAL header.
	Profile, Constraints, Level byte
	// Width and Height are the picture's size after cropping.
	Width, Height int
	// FrameRate is in frames per second; zero: not specified.
	FrameRate float64
}

// ParseSPS parses a NAL unit of type 7. It fails with [ErrFormat].
func ParseSPS(nal []byte) (SPS, error) {
	if len(nal) < 4 || nal[0]&0x1f != nalSPS {
		return SPS{}, fmt.Errorf("not a sequence parameter set: %w", ErrFormat)
	}
	s := SPS{Profile: nal[1], Constraints: nal[2], Level: nal[3]}
	b := &bits{data: unescape(nal[4:])}
	b.ue() // seq_parameter_set_id
	chroma := uint32(1)
	switch s.Profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma = b.high()
	}
	b.ue() // log2_max_frame_num_minus4
	switch b.ue() {
	case 0:
		b.ue() // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		b.u(1)
		b.ue() // signed values have the same length
		b.ue()
		for n := min(b.ue(), 255); n > 0; n-- {
			b.ue()
		}
	}
	b.ue() // max_num_ref_frames
	b.u(1) // gaps_in_frame_num_value_allowed_flag
	width, height := b.ue()+1, b.ue()+1
	frameOnly := b.u(1)
	if frameOnly == 0 {
		b.u(1)
	}
	b.u(1) // direct_8x8_inference_flag
	var left, right, top, bottom uint32
	if b.u(1) == 1 {
		left, right, top, bottom = b.ue(), b.ue(), b.ue(), b.ue()
	}
	if b.failed || width > maxDimension/16 || height > maxDimension/16 || max(left, right, top, bottom) > maxDimension {
		return SPS{}, fmt.Errorf("sequence parameter set: %w", ErrFormat)
	}
	cropX, cropY := uint32(2), uint32(2)
	switch chroma {
	case 0, 3:
		cropX, cropY = 1, 1
	case 2:
		cropY = 1
	}
	cropY *= 2 - frameOnly
	s.Width = int(width)*16 - int(cropX*(left+right))
	s.Height = int(height)*16*int(2-frameOnly) - int(cropY*(top+bottom))
	if s.Width <= 0 || s.Height <= 0 {
		return SPS{}, fmt.Errorf("sequence parameter set: %w", ErrFormat)
	}
	s.FrameRate = b.frameRate()
	return s, nil
}

// high reads the additional fields of the high profiles and returns chroma_format_idc.
func (b *bits) high() uint32 {
	chroma := b.ue()
	if chroma == 3 {
		b.u(1)
	}
	b.ue()
	b.ue()
	b.u(1)
	if b.u(1) == 0 {
		return chroma
	}
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if b.u(1) == 0 {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := int32(8), int32(8)
		for range size {
			if next != 0 {
				next = (last + b.se() + 256) & 255
			}
			if next != 0 {
				last = next
			}
		}
	}
	return chroma
}

// frameRate reads the start of the usability information (annex E.1.1).
func (b *bits) frameRate() float64 {
	if b.u(1) == 0 {
		return 0
	}
	if b.u(1) == 1 && b.u(8) == 255 { // explicit aspect ratio
		b.u(32)
	}
	if b.u(1) == 1 { // overscan
		b.u(1)
	}
	if b.u(1) == 1 { // video signal
		b.u(4)
		if b.u(1) == 1 {
			b.u(24)
		}
	}
	if b.u(1) == 1 { // chroma location
		b.ue()
		b.ue()
	}
	if b.u(1) == 0 {
		return 0
	}
	tick, scale := b.u(32), b.u(32)
	if b.failed || tick == 0 {
		return 0
	}
	const slowest, fastest = 1, 240 // values outside have another meaning
	rate := float64(scale) / float64(tick) / 2
	if rate < slowest || rate > fastest {
		return 0
	}
	return rate
}

// bits reads a bit string. After its end it returns zeros and sets failed.
type bits struct {
	data   []byte
	at     int
	failed bool
}

func (b *bits) u(n int) uint32 {
	var v uint32
	for range n {
		if b.at >= 8*len(b.data) {
			b.failed = true
			return 0
		}
		v = v<<1 | uint32(b.data[b.at/8]>>(7-b.at%8)&1)
		b.at++
	}
	return v
}

// ue reads an unsigned Exp-Golomb code (section 9.1).
func (b *bits) ue() uint32 {
	zeros := 0
	for b.u(1) == 0 {
		if zeros++; b.failed || zeros > 31 {
			b.failed = true
			return 0
		}
	}
	return 1<<zeros - 1 + b.u(zeros)
}

func (b *bits) se() int32 {
	v := b.ue()
	if v&1 == 1 {
		return int32(v/2 + 1)
	}
	return -int32(v / 2)
}

// unescape removes the emulation prevention bytes (section 7.4.1.1).
func unescape(p []byte) []byte {
	out := make([]byte, 0, len(p))
	zeros := 0
	for _, c := range p {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}
