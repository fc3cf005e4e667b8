package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"slices"
	"strings"
)

// Pictures are drawn by own code: mattn/go-sixel covers one of the five ways, and none of
// them may pass on a byte that a peer wrote.

// Ways to draw a picture on a terminal: the values of --graphics, and blocks256 for
// terminals with only 256 colours.
const (
	graphicsKitty     = "kitty"
	graphicsITerm     = "iterm"
	graphicsSixel     = "sixel"
	graphicsBlocks    = "blocks"
	graphicsBlocks256 = "blocks256"
	graphicsNone      = "none"
)

const (
	// maxPictureBytes bounds a thumbnail; peers may send 12 KiB.
	maxPictureBytes = 16 << 10
	// maxPictureSide bounds its width and height in pixels.
	maxPictureSide = 512
	// cellWidth is the assumed width of a character in pixels. Asking the terminal
	// would mean reading its answer from standard input.
	cellWidth = 8
	// maxPictureColumns bounds the width of a picture in characters.
	maxPictureColumns = maxPictureSide
)

// graphicsValues are the values of --graphics.
func graphicsValues() []string {
	return []string{graphicsKitty, graphicsITerm, graphicsSixel, graphicsBlocks, graphicsNone}
}

// graphicsMode returns how pictures are drawn. An explicit choice wins. Without a
// terminal, or with NO_COLOR (https://no-color.org), nothing is drawn. Otherwise the
// environment variables of known terminals decide.
func graphicsMode(explicit string, terminal bool, getenv func(string) string) (string, error) {
	deep := slices.Contains([]string{"truecolor", "24bit"}, getenv("COLORTERM")) || strings.HasSuffix(getenv("TERM"), "-direct")
	blocks := graphicsBlocks256
	if deep {
		blocks = graphicsBlocks
	}
	switch {
	case explicit == graphicsBlocks:
		return blocks, nil
	case explicit != "":
		if !slices.Contains(graphicsValues(), explicit) {
			return "", usagef("--graphics: %q is not one of %s", visible(explicit), strings.Join(graphicsValues(), ", "))
		}
		return explicit, nil
	case !terminal, getenv("NO_COLOR") != "":
		return graphicsNone, nil
	}
	if how := terminalGraphics(getenv); how != "" {
		return how, nil
	}
	return blocks, nil
}

// terminalGraphics returns the graphics protocol of a terminal, graphicsNone, or an
// empty string if only blocks are known to work.
func terminalGraphics(getenv func(string) string) string {
	term, program := getenv("TERM"), getenv("TERM_PROGRAM")
	has := func(s string, parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
	}
	switch {
	case term == "" || term == "dumb" || strings.HasPrefix(term, "vt"):
		return graphicsNone
	case strings.HasPrefix(term, "screen"), strings.HasPrefix(term, "tmux"), program == "tmux":
		return "" // multiplexers pass none of the protocols on
	case getenv("KITTY_WINDOW_ID") != "", has(term, "kitty", "ghostty"), program == "ghostty":
		return graphicsKitty
	case has(program, "iTerm", "WezTerm", "mintty"), has(getenv("LC_TERMINAL"), "iTerm"):
		return graphicsITerm
	case has(term, "sixel", "mlterm", "contour"), term == "foot", strings.HasPrefix(term, "foot-"):
		return graphicsSixel
	}
	return ""
}

// openPicture decodes a thumbnail that a peer sent. It must be a JPEG, and its length,
// width and height are checked before it is decoded.
func openPicture(data []byte) (image.Image, error) {
	if len(data) > maxPictureBytes {
		return nil, fmt.Errorf("picture of %d bytes", len(data))
	}
	config, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxPictureSide || config.Height > maxPictureSide {
		return nil, fmt.Errorf("picture of %d x %d pixels", config.Width, config.Height)
	}
	pic, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return pic, nil
}

// renderPicture draws a picture, at most cols characters wide, followed by a newline.
// how is a result of graphicsMode; for none, only a note is written. The pixels are
// encoded again here, so the terminal never gets a byte that a peer wrote.
func renderPicture(w io.Writer, pic image.Image, how string, cols int) error {
	cols = min(max(cols, 1), maxPictureColumns)
	var out bytes.Buffer
	var err error
	switch how {
	case graphicsKitty:
		err = drawKitty(&out, pic, cols)
	case graphicsITerm:
		err = drawITerm(&out, pic, cols)
	case graphicsSixel:
		drawSixel(&out, fit(pic, cols*cellWidth))
	case graphicsBlocks:
		drawBlocks(&out, fit(pic, cols), deepColor)
	case graphicsBlocks256:
		drawBlocks(&out, fit(pic, cols), color256)
	case graphicsNone:
		fmt.Fprintf(&out, "picture of %d x %d pixels, not drawn", pic.Bounds().Dx(), pic.Bounds().Dy())
	default:
		return fmt.Errorf("draw picture: unknown mode %q", how)
	}
	if err != nil {
		return fmt.Errorf("draw picture: %w", err)
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

// columns is the width of a picture in characters, at most cols.
func columns(pic image.Image, cols int) int {
	return min((pic.Bounds().Dx()+cellWidth-1)/cellWidth, cols)
}

// fit scales a picture down to a width in pixels. Each new pixel is the mean of the
// pixels it covers. A picture that is narrow enough keeps its size. Transparent pixels
// become black.
func fit(pic image.Image, width int) *image.RGBA {
	b := pic.Bounds()
	w, h := b.Dx(), b.Dy()
	if w > width {
		w, h = width, max(h*width/w, 1)
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			box := image.Rect(b.Min.X+x*b.Dx()/w, b.Min.Y+y*b.Dy()/h, b.Min.X+(x+1)*b.Dx()/w, b.Min.Y+(y+1)*b.Dy()/h)
			out.SetRGBA(x, y, meanColor(pic, box))
		}
	}
	return out
}

func meanColor(pic image.Image, box image.Rectangle) color.RGBA {
	var r, g, b uint32 // at most 2^18 pixels of 8 bits
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			pr, pg, pb, _ := pic.At(x, y).RGBA()
			r, g, b = r+pr>>8, g+pg>>8, b+pb>>8
		}
	}
	n := max(uint32(box.Dx()*box.Dy()), 1)
	return color.RGBA{R: uint8(r / n), G: uint8(g / n), B: uint8(b / n), A: 0xff}
}
