package media

import "math/bits"

// readClock reads the luma plane of a synthetic picture: the number of the frame, and
// whether the marker is lit. ok is false for a damaged or another picture.
func readClock(luma []byte, width, height int) (number int, lit, ok bool) {
	if width < clockCells || height < 16 || len(luma) < width*height {
		return 0, false, false
	}
	at := func(x, y int) uint32 {
		if luma[y*width+x] > (lumaBlack+lumaWhite)/2 {
			return 1
		}
		return 0
	}
	var code uint32
	for i := range clockCells {
		code = code<<1 | at((2*i+1)*width/clockCells/2, height/4)
	}
	n := code >> clockCheck & (1<<clockBits - 1)
	ok = code>>(clockBits+clockCheck) == 0b10 && code&15 == uint32(bits.OnesCount32(n))%16
	return int(n), at(width*27/32, height*3/4) == 1, ok
}
