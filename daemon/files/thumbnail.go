package files

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"secmsg/rpc/e2e"
)

const (
	// maxPictureFile bounds the size of a picture's file in bytes.
	maxPictureFile = 32 << 20
	// maxPicturePixels bounds its pixels; phone cameras make 12 to 50 million.
	maxPicturePixels = 40_000_000
	// maxPictureMemory bounds the memory for decoding it in bytes, as computed from its
	// header.
	maxPictureMemory = 160 << 20
	// thumbnailSide is the longer side of a thumbnail in pixels.
	thumbnailSide = 160
	// boxSamples bounds the samples for one pixel of the thumbnail along each axis, so that
	// the time does not grow with the picture.
	boxSamples = 16
)

// ErrPicture says that data is not an acceptable picture: it has another format, is
// damaged, or is too large.
var ErrPicture = errors.New("not a picture within bounds")

// Thumbnail makes a small JPEG, at most 160 pixels wide and high and at most
// [e2e.MaxThumbnail] bytes, from a PNG, JPEG or GIF (its first frame) of size bytes. It
// returns the thumbnail with its width and height; ok is false if r is not an acceptable
// picture. Dimensions and memory are checked before anything is decoded. The thumbnail
// contains only pixels: no place, time or camera. The camera's orientation (EXIF) is
// applied.
//
// One call may use 160 MiB: call it from one goroutine at a time.
func Thumbnail(r io.ReaderAt, size int64) (thumbnail []byte, width, height int, ok bool) {
	if size <= 0 || size > maxPictureFile {
		return nil, 0, 0, false
	}
	pic, orientation, err := decodePicture(r, size)
	if err != nil {
		return nil, 0, 0, false
	}
	small := orient(shrink(pic, thumbnailSide), orientation)
	var out bytes.Buffer
	for _, quality := range []int{80, 65, 50, 35, 20, 10} {
		out.Reset()
		if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: quality}); err != nil {
			return nil, 0, 0, false
		}
		if out.Len() <= e2e.MaxThumbnail {
			return out.Bytes(), small.Rect.Dx(), small.Rect.Dy(), true
		}
	}
	return nil, 0, 0, false
}

// decodePicture decodes a picture whose header is within bounds, and returns its
// orientation (1 to 8, as in EXIF).
func decodePicture(r io.ReaderAt, size int64) (image.Image, int, error) {
	open := func() io.Reader { return io.NewSectionReader(r, 0, size) }
	start := make([]byte, pngHeaderEnd) // the rest stays zero for a shorter file
	if _, err := r.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("read picture: %w", err)
	}
	info := pictureInfo{bytesPerPixel: 2, orientation: upright} // GIF: a palette index, twice during deinterlacing
	header, decode := gif.DecodeConfig, gif.Decode
	switch {
	case bytes.HasPrefix(start, []byte("GIF8")):
	case bytes.HasPrefix(start, []byte("\x89PNG\r\n\x1a\n")):
		info.bytesPerPixel = pngMemory(start)
		header, decode = png.DecodeConfig, png.Decode
	case bytes.HasPrefix(start, []byte("\xff\xd8\xff")):
		var err error
		if info, err = scanJPEG(open()); err != nil {
			return nil, 0, err
		}
		header, decode = jpeg.DecodeConfig, jpeg.Decode
	default:
		return nil, 0, ErrPicture
	}
	config, err := header(open())
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	w, h := int64(config.Width), int64(config.Height) // at most 2^31 each
	if w < 1 || h < 1 || w > maxPicturePixels || h > maxPicturePixels || w*h > maxPicturePixels || float64(w*h)*info.bytesPerPixel > maxPictureMemory {
		return nil, 0, fmt.Errorf("%w: %d x %d", ErrPicture, w, h)
	}
	pic, err := decode(open())
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	return pic, info.orientation, nil
}

// pngHeaderEnd is the offset after the fields of a PNG's first chunk (PNG, 11.2.2).
const pngHeaderEnd = 29

// pngMemory returns the memory in bytes for each pixel that decoding a PNG takes: four
// channels of 8 or 16 bits, or one byte with a palette; twice that if it is interlaced,
// since a pass is decoded separately.
func pngMemory(start []byte) float64 {
	const (
		depthAt, typeAt, interlaceAt = 24, 25, 28
		palette                      = 3
	)
	perPixel := 4.0
	switch {
	case start[typeAt] == palette:
		perPixel = 1
	case start[depthAt] == 16:
		perPixel = 8
	}
	if start[interlaceAt] != 0 {
		perPixel *= 2
	}
	return perPixel
}

// shrink scales a picture down so that neither side is longer than side. Each new pixel is
// the mean of the pixels it covers, or of a grid of samples. Transparency becomes white. A
// small picture keeps its size.
func shrink(pic image.Image, side int) *image.RGBA {
	b := pic.Bounds()
	w, h := b.Dx(), b.Dy()
	if longer := max(w, h); longer > side {
		w, h = max(w*side/longer, 1), max(h*side/longer, 1)
	}
	at := func(x, y int) color.RGBA64 { return color.RGBA64Model.Convert(pic.At(x, y)).(color.RGBA64) }
	if fast, ok := pic.(image.RGBA64Image); ok {
		at = fast.RGBA64At // avoids an allocation for each pixel
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		y0, y1 := b.Min.Y+y*b.Dy()/h, b.Min.Y+(y+1)*b.Dy()/h
		for x := range w {
			x0, x1 := b.Min.X+x*b.Dx()/w, b.Min.X+(x+1)*b.Dx()/w
			out.SetRGBA(x, y, mean(at, image.Rect(x0, y0, x1, y1)))
		}
	}
	return out
}

// mean returns the mean colour of a box over white.
func mean(at func(x, y int) color.RGBA64, box image.Rectangle) color.RGBA {
	stepX, stepY := (box.Dx()+boxSamples-1)/boxSamples, (box.Dy()+boxSamples-1)/boxSamples
	var r, g, b, n uint64
	for y := box.Min.Y; y < box.Max.Y; y += stepY {
		for x := box.Min.X; x < box.Max.X; x += stepX {
			c := at(x, y) // premultiplied
			white := uint64(0xffff - c.A)
			r, g, b, n = r+uint64(c.R)+white, g+uint64(c.G)+white, b+uint64(c.B)+white, n+1
		}
	}
	n = max(n, 1)
	return color.RGBA{R: uint8(r / n >> 8), G: uint8(g / n >> 8), B: uint8(b / n >> 8), A: 0xff}
}
