package media

import "time"

// Opus packets that are made without an encoder (RFC 6716, section 3).
const (
	// opusFrame is the span of sound in one packet of our encoders.
	opusFrame = 20 * time.Millisecond
	// tocSilence20 is the TOC byte of full-band CELT, 20 ms, mono, one frame;
	// the shorter spans have the three configurations below it.
	tocSilence20 = 31 << 3
	// tocMany says that a count of frames of equal size follows.
	tocMany = 3
	// maxOpusSpan is the longest packet.
	maxOpusSpan = 120 * time.Millisecond
)

// silence returns an Opus packet of digital silence that lasts d; 20 ms if d is
// no length that Opus has.
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
