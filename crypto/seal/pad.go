package seal

import (
	"bytes"
	"fmt"
	"math/bits"
)

// PadFloor is the smallest padded length in bytes, so that all short messages
// look alike (SPEC "Padding").
const PadFloor = 160

// padMark ends the plaintext, so that the padding can be removed from any plaintext (ISO/IEC 7816-4).
const padMark = 0x80

// PaddedLen returns the length that [Pad] gives to n bytes of plaintext: the Padme length of n + 1, at
// least [PadFloor]. Padme leaks O(log log n) bits of a length and adds at most 12 percent (Nikitin et
// al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019).
func PaddedLen(n int) int {
	l := uint64(n) + 1 // the mark
	if l <= PadFloor {
		return PadFloor
	}
	e := bits.Len64(l) - 1           // floor(log2 l)
	s := bits.Len64(uint64(e))       // floor(log2 e) + 1
	mask := uint64(1)<<uint(e-s) - 1 // the bits lost in rounding
	return int((l + mask) &^ mask)
}

// Pad returns a new slice: p, the byte 0x80, and zeros up to [PaddedLen].
func Pad(p []byte) []byte {
	out := make([]byte, PaddedLen(len(p)))
	n := copy(out, p)
	out[n] = padMark
	return out
}

// Unpad returns the plaintext inside padded, as a part of the same slice. It returns [ErrPadding] for
// anything that is not an output of Pad. Padding is authenticated before it is read, so this needs no
// constant time.
func Unpad(padded []byte) ([]byte, error) {
	end := len(bytes.TrimRight(padded, "\x00")) - 1
	if len(padded) < PadFloor || end < 0 || padded[end] != padMark {
		return nil, fmt.Errorf("unpad %d bytes: %w", len(padded), ErrPadding)
	}
	if PaddedLen(end) != len(padded) {
		return nil, fmt.Errorf("unpad %d bytes to %d: %w", len(padded), end, ErrPadding)
	}
	return padded[:end:end], nil
}
