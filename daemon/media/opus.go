package media

import "time"

// Opus packets that are created without an encoder (RFC 6716, section 3).
const (
	// opusFrame is the duration of one packet of our encoders.
	opusFrame = 20 * time.Millisecond
	// tocSilence20 is the TOC byte of full-band CELT, 20 ms, mono, one frame. The three
	// configurations below it have the shorter durations.
	tocSilence20 = 31 << 3
	// tocMany means that a number of frames of equal size follows.
	tocMany = 3
	// maxOpusSpan is the longest duration of a packet.
	maxOpusSpan = 120 * time.Millisecond
)

// silence returns an Opus packet of digital silence with duration d, or 20 ms if Opus does
// not have that duration.
func silence(d time.Duration) []byte {
	switch d {
	case 2500 * time.Microsecond:
		return []byte{tocSilence20 - 3<<3, 0xff, 0xfe}
	case 5 * time.Millisecond:
		return []byte{tocSilence20 - 2<<3, 0xff, 0xfe}
	case 10 * time.Millisecond:
		return []byte{tocSilence20 - 1<<3, 0xff, 0xfe}
	}
	n := int(d / opusFrame)
	if n < 2 || d%opusFrame != 0 || d > maxOpusSpan {
		return []byte{tocSilence20, 0xff, 0xfe}
	}
	p := []byte{tocSilence20 | tocMany, byte(n)}
	for range n {
		p = append(p, 0xff, 0xfe)
	}
	return p
}

// splitOpus splits a packet into packets of one frame each (RFC 6716, section 3.2), in case
// it is too large for the network. It returns nil if it is not an Opus packet.
func splitOpus(p []byte) [][]byte {
	if len(p) == 0 {
		return nil
	}
	toc, rest := p[0], p[1:]
	var frames [][]byte
	switch toc & 3 {
	case 0:
		frames = [][]byte{rest}
	case 1:
		if len(rest)%2 != 0 {
			return nil
		}
		frames = [][]byte{rest[:len(rest)/2], rest[len(rest)/2:]}
	case 2:
		n, rest, ok := opusLength(rest)
		if !ok || n > len(rest) {
			return nil
		}
		frames = [][]byte{rest[:n], rest[n:]}
	case tocMany:
		frames = opusFrames(rest)
	}
	out := make([][]byte, 0, len(frames))
	for _, f := range frames {
		out = append(out, append([]byte{toc &^ 3}, f...))
	}
	return out
}

// opusFrames returns the frames of a packet with a count byte, or nil if it is malformed.
func opusFrames(rest []byte) [][]byte {
	if len(rest) == 0 {
		return nil
	}
	const (
		variable = 0x80 // each frame except the last has a length
		padded   = 0x40
		counted  = 0x3f
		more     = 255 // a padding byte that stands for 254, followed by another one
	)
	flags := rest[0]
	n := int(flags & counted)
	rest = rest[1:]
	if flags&padded != 0 {
		padding := 0
		for {
			if len(rest) == 0 {
				return nil
			}
			b := int(rest[0])
			rest = rest[1:]
			if b != more {
				padding += b
				break
			}
			padding += more - 1
		}
		if padding > len(rest) {
			return nil
		}
		rest = rest[:len(rest)-padding]
	}
	if n == 0 {
		return nil
	}
	if flags&variable == 0 {
		if len(rest)%n != 0 {
			return nil
		}
		frames, size := make([][]byte, n), len(rest)/n
		for i := range frames {
			frames[i] = rest[i*size : (i+1)*size]
		}
		return frames
	}
	sizes, sum := make([]int, n), 0
	for i := range n - 1 {
		var ok bool
		if sizes[i], rest, ok = opusLength(rest); !ok {
			return nil
		}
		sum += sizes[i]
	}
	if sizes[n-1] = len(rest) - sum; sizes[n-1] < 0 {
		return nil
	}
	frames := make([][]byte, n)
	for i, size := range sizes {
		frames[i], rest = rest[:size], rest[size:]
	}
	return frames
}

// opusLength reads the length of a frame (RFC 6716, section 3.2.1).
func opusLength(p []byte) (n int, rest []byte, ok bool) {
	const long = 252 // first value that is followed by a second byte
	switch {
	case len(p) == 0:
		return 0, nil, false
	case p[0] < long:
		return int(p[0]), p[1:], true
	case len(p) < 2:
		return 0, nil, false
	}
	return int(p[1])*4 + int(p[0]), p[2:], true
}
