package media

import (
	"image"
	"math/bits"
	"time"
)

// The synthetic picture contains a bar code with the frame's number: cells of equal width,
// starting with a white and a black one, then 24 bits with the highest first, then four
// bits with the number of ones. Below are the time in digits, a marker that is lit at the
// start of each second, and a moving bar.
const (
	clockBits  = 24
	clockCheck = 4
	clockGuard = 2
	clockCells = clockGuard + clockBits + clockCheck
	lumaBlack  = 32
	lumaWhite  = 224
	lumaGrey   = 96
)

// drawClock draws frame n at a rate of perSecond.
func drawClock(p *image.YCbCr, n, perSecond int) {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	fill(p, image.Rect(0, 0, w, h), lumaGrey)
	for i := range p.Cb { // the colour changes slowly
		p.Cb[i], p.Cr[i] = uint8(112+n/perSecond%32), uint8(144-n/perSecond%32)
	}
	code := uint32(1)<<(clockBits+clockCheck+1) | uint32(n)%(1<<clockBits)<<clockCheck | uint32(bits.OnesCount32(uint32(n)%(1<<clockBits)))%16
	for i := range clockCells {
		luma := uint8(lumaBlack)
		if code>>(clockCells-1-i)&1 == 1 {
			luma = lumaWhite
		}
		fill(p, image.Rect(i*w/clockCells, h/8, (i+1)*w/clockCells, h*3/8), luma)
	}
	marker := uint8(lumaBlack)
	if time.Duration(n%perSecond)*time.Second/time.Duration(perSecond) < ToneGap {
		marker = lumaWhite
	}
	fill(p, image.Rect(w*3/4, h*5/8, w*15/16, h*7/8), marker)
	drawDigits(p, image.Rect(w/16, h*5/8, w*5/8, h*7/8), []int{n / perSecond / 60 % 100, n / perSecond % 60, n % perSecond})
	x := n * 4 % w
	fill(p, image.Rect(x, h*7/16, min(x+w/16, w), h*9/16), lumaWhite)
}

func fill(p *image.YCbCr, r image.Rectangle, luma uint8) {
	r = r.Intersect(p.Rect)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := p.Y[p.YOffset(r.Min.X, y) : p.YOffset(r.Max.X-1, y)+1]
		for i := range row {
			row[i] = luma
		}
	}
}

// segments returns the lit parts of a digit, starting with the lowest bit: top, upper left,
// upper right, middle, lower left, lower right, bottom.
func segments(digit int) uint8 {
	return [10]uint8{0x77, 0x24, 0x5d, 0x6d, 0x2e, 0x6b, 0x7b, 0x25, 0x7f, 0x6f}[digit%10]
}

// drawDigits draws numbers with two digits each.
func drawDigits(p *image.YCbCr, r image.Rectangle, numbers []int) {
	cell := r.Dx() / (3*len(numbers) - 1)
	for i, n := range numbers {
		for j, digit := range []int{n / 10, n % 10} {
			x := r.Min.X + (3*i+j)*cell
			drawDigit(p, image.Rect(x, r.Min.Y, x+cell*4/5, r.Max.Y), digit)
		}
	}
}

func drawDigit(p *image.YCbCr, r image.Rectangle, digit int) {
	t, w, h := max(2, r.Dy()/10), r.Dx(), r.Dy()
	at := func(x, y, dx, dy int) image.Rectangle {
		return image.Rect(x, y, x+dx, y+dy).Add(r.Min)
	}
	parts := [7]image.Rectangle{
		at(0, 0, w, t), at(0, 0, t, h/2), at(w-t, 0, t, h/2), at(0, h/2-t/2, w, t),
		at(0, h/2, t, h/2), at(w-t, h/2, t, h/2), at(0, h-t, w, t),
	}
	for i, part := range parts {
		if segments(digit)>>i&1 == 1 {
			fill(p, part, lumaWhite)
		}
	}
}
