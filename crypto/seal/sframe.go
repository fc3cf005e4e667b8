package seal

import (
	"encoding/binary"
	"fmt"
)

// The config byte of an SFrame header (RFC 9605, section 4.3): X KKK Y CCC.
const (
	sframeExtendedKID     = 0x80 // X: the KID follows; never set here
	sframeKIDShift        = 4
	sframeKIDMask         = 0x7
	sframeExtendedCounter = 0x08 // Y: the counter follows in CCC+1 bytes
	sframeCounterMask     = 0x7
)

// appendSFrameHeader appends the shortest header of a KID below eight.
func appendSFrameHeader(dst []byte, kid byte, counter uint64) []byte {
	config := kid << sframeKIDShift
	if counter <= sframeCounterMask {
		return append(dst, config|byte(counter))
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], counter)
	skip := 0
	for b[skip] == 0 {
		skip++
	}
	dst = append(dst, config|sframeExtendedCounter|byte(len(b)-skip-1))
	return append(dst, b[skip:]...)
}

// parseSFrameHeader returns the counter and the length of the header. It accepts only the direction's
// KID and only the shortest form, so that one counter has one header.
func parseSFrameHeader(p []byte, kid byte) (counter uint64, n int, err error) {
	if len(p) < 1+TagSize {
		return 0, 0, fmt.Errorf("media packet of %d bytes: %w", len(p), ErrFormat)
	}
	config := p[0]
	if config&sframeExtendedKID != 0 || config>>sframeKIDShift&sframeKIDMask != kid {
		return 0, 0, fmt.Errorf("media packet of another key: %w", ErrFormat)
	}
	short := config & sframeCounterMask
	if config&sframeExtendedCounter == 0 {
		return uint64(short), 1, nil
	}
	n = 1 + int(short) + 1
	if len(p) < n+TagSize {
		return 0, 0, fmt.Errorf("media packet of %d bytes: %w", len(p), ErrFormat)
	}
	for _, b := range p[1:n] {
		counter = counter<<8 | uint64(b)
	}
	if p[1] == 0 || counter <= sframeCounterMask {
		return 0, 0, fmt.Errorf("media counter is not in its shortest form: %w", ErrFormat)
	}
	return counter, n, nil
}
