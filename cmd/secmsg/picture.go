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

// Ways to draw a picture on a terminal: the values of --graphics, and blocks in
// the 256 colours of terminals that do not take 24 bits.
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
	// cellWidth is how many pixels wide a character is taken to be: the terminals
	// do not tell without being asked.
	cellWidth = 8
	// maxPictureColumns bounds the width of a picture in characters.
	maxPictureColumns = maxPictureSide
)

// graphicsValues are the values of --graphics.
func graphicsValues() []string {
	return []string{graphicsKitty, graphicsITerm, graphicsSixel, graphicsBlocks, graphicsNone}
}

// graphicsMode returns how pictures are drawn: as the user said, if he did; else
// not at all if nobody sees it or colours are not wanted (https://no-color.org);
// else what the terminal is known to be able to, by its environment.
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
			return "", usagef("--graphics %s: want one of %s", visible(explicit), strings.Join(graphicsValues(), ", "))
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

// terminalGraphics names what a terminal draws, or nothing if that is blocks.
func terminalGraphics(getenv func(string) string) string {
	term, program := getenv("TERM"), getenv("TERM_PROGRAM")
	has := func(s string, parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(s, p) })
	}
	switch {
	case term == "" || term == "dumb" || strings.HasPrefix(term, "vt"):
		return graphicsNone
	case strings.HasPrefix(term, "screen"), strings.HasPrefix(term, "tmux"), program == "tmux":
		return "" // a multiplexer, which passes on none of the protocols
	case getenv("KITTY_WINDOW_ID") != "", has(term, "kitty", "ghostty"), program == "ghostty":
		return graphicsKitty
	case has(program, "iTerm", "WezTerm", "mintty"), has(getenv("LC_TERMINAL"), "iTerm"):
		return graphicsITerm
	case has(term, "sixel", "mlterm", "contour"), term == "foot", strings.HasPrefix(term, "foot-"):
		return graphicsSixel
	}
	return ""
}

// openPicture decodes the thumbnail of a file, which is a peer's: a JPEG whose
// length and sides are checked before anything is decoded. After an error the
// file is as good as one without a picture.
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

// renderPicture draws a picture, at most cols characters wide, with a newline
// behind it. how is what graphicsMode gave; for none only a note is written. The
// terminal gets pixels that were encoded here, never a byte of what a peer sent.
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
		return fmt.Errorf("draw picture: no way called %q", how)
	}
	if err != nil {
		return fmt.Errorf("draw picture: %w", err)
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

// columns is how many characters a picture of a width in pixels takes.
func columns(pic image.Image, cols int) int {
	return min((pic.Bounds().Dx()+cellWidth-1)/cellWidth, cols)
}

// fit returns a picture scaled down to a width in pixels, each new pixel being
// the mean of those that it covers; one that is narrow enough keeps its size.
// What is transparent becomes black.
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
