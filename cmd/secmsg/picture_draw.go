package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/png"
)

const (
	escape = "\x1b"
	// endString ends the strings of escape sequences (ECMA-48, ST).
	endString = escape + `\`
	// kittyChunk bounds the payload of one sequence of kitty's protocol, in bytes.
	kittyChunk = 4096
	// sixelRows is how many rows of pixels a line of sixels has.
	sixelRows = 6
)

// encodePNG encodes a picture as PNG, for kitty and iTerm2.
func encodePNG(pic image.Image) ([]byte, error) {
	var b bytes.Buffer
	err := png.Encode(&b, pic)
	return b.Bytes(), err
}

// drawKitty writes a picture in kitty's protocol (terminal graphics protocol,
// "Remote client"): transmit and show (a=T) a PNG (f=100) in pieces (m=1 for all but
// the last). q=2 suppresses the terminal's answer, which would appear as typed input.
func drawKitty(out *bytes.Buffer, pic image.Image, cols int) error {
	data, err := encodePNG(pic)
	if err != nil {
		return err
	}
	payload := base64.StdEncoding.EncodeToString(data)
	keys := fmt.Sprintf("a=T,f=100,c=%d,", columns(pic, cols))
	for more := 1; more == 1; keys = "" {
		n := min(len(payload), kittyChunk)
		if n == len(payload) {
			more = 0
		}
		fmt.Fprintf(out, escape+"_G%sq=2,m=%d;%s"+endString, keys, more, payload[:n])
		payload = payload[n:]
	}
	return nil
}

// drawITerm writes a picture in iTerm2's protocol (OSC 1337, "Inline Images").
func drawITerm(out *bytes.Buffer, pic image.Image, cols int) error {
	data, err := encodePNG(pic)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, escape+"]1337;File=inline=1;size=%d;width=%d;preserveAspectRatio=1:%s\a",
		len(data), columns(pic, cols), base64.StdEncoding.EncodeToString(data))
	return nil
}

// drawSixel writes a picture as sixels (VT330/VT340 Programmer Reference Manual,
// chapter 14) in the 216 colours that every such terminal can hold, dithered.
func drawSixel(out *bytes.Buffer, pic *image.RGBA) {
	w, h := pic.Rect.Dx(), pic.Rect.Dy()
	paletted := image.NewPaletted(pic.Rect, palette.WebSafe)
	draw.FloydSteinberg.Draw(paletted, pic.Rect, pic, pic.Rect.Min)
	var used [256]bool
	for _, i := range paletted.Pix {
		used[i] = true
	}
	fmt.Fprintf(out, escape+"P0;1q\"1;1;%d;%d", w, h) // 0: no ratio; 1: keep the background; square pixels
	for i, c := range paletted.Palette {
		if used[i] {
			r, g, b, _ := c.RGBA()
			const percent = 0xffff / 100
			fmt.Fprintf(out, "#%d;2;%d;%d;%d", i, r/percent, g/percent, b/percent)
		}
	}
	for top := 0; top < h; top += sixelRows {
		first := true
		for i := range paletted.Palette {
			if line, ok := sixelLine(paletted, top, uint8(i)); ok {
				if !first {
					out.WriteByte('$') // back to the start of the line
				}
				first = false
				fmt.Fprintf(out, "#%d%s", i, line)
			}
		}
		out.WriteByte('-') // the next line
	}
	out.WriteString(endString)
}

// sixelLine returns the sixels of one colour in the line that begins at row top,
// and whether there are any.
func sixelLine(pic *image.Paletted, top int, index uint8) (string, bool) {
	var out bytes.Buffer
	var last byte
	run, any := 0, false
	flush := func() {
		if run > 3 { // else the repetition is no shorter
			fmt.Fprintf(&out, "!%d%c", run, last)
		} else {
			out.Write(bytes.Repeat([]byte{last}, run))
		}
	}
	for x := range pic.Rect.Dx() {
		bits := byte(0)
		for y := range min(sixelRows, pic.Rect.Dy()-top) {
			if pic.ColorIndexAt(x, top+y) == index {
				bits |= 1 << y
			}
		}
		any = any || bits != 0
		if sixel := '?' + bits; sixel != last || run == 0 {
			flush()
			last, run = sixel, 0
		}
		run++
	}
	if last != '?' { // empty sixels at the end need not be drawn
		flush()
	}
	return out.String(), any
}

// drawBlocks writes a picture as upper half blocks. Each block shows two pixels: the
// foreground colour is the upper one, the background colour the lower one.
func drawBlocks(out *bytes.Buffer, pic *image.RGBA, code func(color.RGBA) string) {
	const upperHalf = "\u2580"
	for y := 0; y < pic.Rect.Dy(); y += 2 {
		if y > 0 {
			out.WriteByte('\n')
		}
		last := ""
		for x := range pic.Rect.Dx() {
			colors := "38;" + code(pic.RGBAAt(x, y)) + ";49"
			if y+1 < pic.Rect.Dy() {
				colors = "38;" + code(pic.RGBAAt(x, y)) + ";48;" + code(pic.RGBAAt(x, y+1))
			}
			if colors != last {
				out.WriteString(escape + "[" + colors + "m")
				last = colors
			}
			out.WriteString(upperHalf)
		}
		out.WriteString(escape + "[0m")
	}
}

// deepColor is the parameter that selects a colour of 24 bits (ISO 8613-6).
func deepColor(c color.RGBA) string { return fmt.Sprintf("2;%d;%d;%d", c.R, c.G, c.B) }

// color256 is the parameter that selects the nearest of xterm's colours 16 to 255: a
// cube with six levels of each primary (0, 95, 135 ... 255), then 24 greys (8, 18 ...
// 238).
func color256(c color.RGBA) string {
	const cube, greys = 16, 232
	level := func(v uint8) (index, value int) {
		if v < 48 {
			return 0, 0
		}
		index = max((int(v)-35)/40, 1)
		return index, 55 + 40*index
	}
	ri, r := level(c.R)
	gi, g := level(c.G)
	bi, b := level(c.B)
	grey := min(max((int(c.R)+int(c.G)+int(c.B))/3-3, 0)/10, 23)
	if v := 8 + 10*grey; distance(c, v, v, v) < distance(c, r, g, b) {
		return fmt.Sprintf("5;%d", greys+grey)
	}
	return fmt.Sprintf("5;%d", cube+36*ri+6*gi+bi)
}

// distance is the square of the distance between two colours.
func distance(c color.RGBA, r, g, b int) int {
	dr, dg, db := int(c.R)-r, int(c.G)-g, int(c.B)-b
	return dr*dr + dg*dg + db*db
}
