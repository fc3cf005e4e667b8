package files

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"secmsg/rpc/e2e"
)

func encodePNG(t testing.TB, pic image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, pic); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encodeJPEG(t testing.TB, pic image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, pic, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encodeGIF(t testing.TB, pic image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gif.Encode(&b, pic, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// quarters returns a picture whose quarters are red, green, blue and white.
func quarters(w, h int) *image.RGBA {
	pic := image.NewRGBA(image.Rect(0, 0, w, h))
	for i, c := range []color.RGBA{{0xff, 0, 0, 0xff}, {0, 0xff, 0, 0xff}, {0, 0, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff}} {
		at := image.Pt(i%2*w/2, i/2*h/2)
		draw.Draw(pic, image.Rect(0, 0, w/2, h/2).Add(at), image.NewUniform(c), image.Point{}, draw.Src)
	}
	return pic
}

func thumbnailOf(t *testing.T, data []byte) image.Image {
	t.Helper()
	small, w, h, ok := Thumbnail(bytes.NewReader(data), int64(len(data)))
	if !ok {
		t.Fatal("no thumbnail")
	}
	pic, err := jpeg.Decode(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if pic.Bounds() != image.Rect(0, 0, w, h) || w > thumbnailSide || h > thumbnailSide || len(small) > e2e.MaxThumbnail {
		t.Fatalf("%v, said %d x %d, %d bytes", pic.Bounds(), w, h, len(small))
	}
	return pic
}

// letter names the colour of a pixel: r, g, b, w or ?.
func letter(pic image.Image, x, y int) byte {
	r, g, b, _ := pic.At(x, y).RGBA()
	const low, high = 0x3000, 0xc000
	switch {
	case r > high && g > high && b > high:
		return 'w'
	case r > high && g < low && b < low:
		return 'r'
	case r < low && g > high && b < low:
		return 'g'
	case r < low && g < low && b > high:
		return 'b'
	}
	return '?'
}

// letters names the colours of the quarters.
func letters(pic image.Image) string {
	w, h := pic.Bounds().Dx(), pic.Bounds().Dy()
	return string([]byte{letter(pic, w/4, h/4), letter(pic, 3*w/4, h/4), letter(pic, w/4, 3*h/4), letter(pic, 3*w/4, 3*h/4)})
}

func TestThumbnail(t *testing.T) {
	pic := quarters(400, 200)
	paletted := image.NewPaletted(pic.Rect, palette.Plan9)
	draw.Draw(paletted, pic.Rect, pic, image.Point{}, draw.Src)
	moved := pic.SubImage(image.Rect(20, 10, 380, 190)) // bounds that do not start at 0
	for name, data := range map[string][]byte{
		"png": encodePNG(t, pic), "jpeg": encodeJPEG(t, pic), "gif": encodeGIF(t, paletted), "paletted png": encodePNG(t, paletted), "part": encodePNG(t, moved),
	} {
		if small := thumbnailOf(t, data); letters(small) != "rgbw" || small.Bounds().Dx() != 160 || small.Bounds().Dy() != 80 {
			t.Errorf("%s: %s, %v", name, letters(small), small.Bounds())
		}
	}
	for _, v := range []struct{ w, h, wantW, wantH int }{
		{1, 1, 1, 1}, {160, 160, 160, 160}, {100, 30, 100, 30}, {161, 10, 160, 9}, {2, 1000, 1, 160}, {4000, 1, 160, 1}, {600, 800, 120, 160},
	} {
		small := thumbnailOf(t, encodePNG(t, image.NewGray(image.Rect(0, 0, v.w, v.h))))
		if b := small.Bounds(); b.Dx() != v.wantW || b.Dy() != v.wantH {
			t.Errorf("%d x %d: %v", v.w, v.h, b)
		}
	}
	if small := thumbnailOf(t, encodePNG(t, image.NewNRGBA(image.Rect(0, 0, 400, 400)))); letters(small) != "wwww" {
		t.Errorf("transparent: %s", letters(small))
	}
	// Noise compresses worst; a lower quality makes it fit.
	noise := image.NewRGBA(image.Rect(0, 0, 160, 160))
	random := rand.NewChaCha8([32]byte{1})
	for i := range noise.Pix {
		noise.Pix[i] = byte(random.Uint64())
	}
	thumbnailOf(t, encodePNG(t, noise))
}

// withEXIF inserts an APP1 segment at the start of a JPEG.
func withEXIF(jpg []byte, order binary.AppendByteOrder, orientation uint16) []byte {
	tiff := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		tiff = []byte("MM\x00*")
	}
	tiff = order.AppendUint16(order.AppendUint32(tiff, 8), 2)
	tiff = append(tiff, make([]byte, 12)...) // another entry
	tiff = order.AppendUint16(order.AppendUint16(tiff, 0x0112), 3)
	tiff = order.AppendUint16(order.AppendUint16(order.AppendUint32(tiff, 1), orientation), 0)
	return withAPP1(jpg, append([]byte("Exif\x00\x00"), tiff...))
}

func withAPP1(jpg, payload []byte) []byte {
	segment := binary.BigEndian.AppendUint16([]byte{0xff, markerAPP1}, uint16(len(payload)+2))
	return slices.Concat(jpg[:2], segment, payload, jpg[2:])
}

func TestThumbnailOrientation(t *testing.T) {
	jpg := encodeJPEG(t, quarters(400, 200))
	for orientation, want := range map[uint16]string{
		0: "rgbw", 1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb", 9: "rgbw", 0xffff: "rgbw",
	} {
		for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
			small := thumbnailOf(t, withEXIF(jpg, order, orientation))
			if got := letters(small); got != want {
				t.Errorf("orientation %d, %v: %s, want %s", orientation, order, got, want)
			}
			if turned := small.Bounds().Dy() > small.Bounds().Dx(); turned != (orientation >= 5 && orientation <= 8) {
				t.Errorf("orientation %d: %v", orientation, small.Bounds())
			}
		}
	}
}

// The camera's metadata is not in the thumbnail.
func TestThumbnailHasNoMetadata(t *testing.T) {
	jpg := withAPP1(encodeJPEG(t, quarters(400, 200)), []byte("Exif\x00\x00CANARY 52.5N 13.4E"))
	small, _, _, ok := Thumbnail(bytes.NewReader(jpg), int64(len(jpg)))
	if !ok || bytes.Contains(small, []byte("CANARY")) || bytes.Contains(small, []byte("Exif")) {
		t.Errorf("ok %v, metadata in %q", ok, small[:60])
	}
}

// bombPNG returns a PNG that claims the given sides, and holds 1 MiB of compressed zeros
// with padding up to n bytes.
func bombPNG(t testing.TB, w, h uint32, n int) []byte {
	t.Helper()
	var data bytes.Buffer
	z, err := zlib.NewWriterLevel(&data, zlib.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	chunk := func(kind string, body []byte) []byte {
		c := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
		c = append(c, body...)
		return binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
	}
	ihdr := append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h), 8, 6, 0, 0, 0)
	return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", ihdr), chunk("IDAT", data.Bytes()), chunk("IDAT", make([]byte, n)), chunk("IEND", nil))
}

// D8 in crypto/ATTACKS.md: a PNG of about 1 MiB that claims 50,000 x 50,000 pixels (10 GB)
// is refused because of its header. Nothing of that size is allocated.
func TestDecompressionBombD8(t *testing.T) {
	bomb := bombPNG(t, 50_000, 50_000, 1<<20)
	jpg := encodeJPEG(t, quarters(16, 16))
	sof := bytes.Index(jpg, []byte{0xff, markerSOF0})
	big := bytes.Clone(jpg)
	copy(big[sof+5:], []byte{0xff, 0xff, 0xff, 0xff})
	progressive := bytes.Clone(jpg)
	progressive[sof+1] = markerSOF2
	progressive[bytes.Index(jpg, []byte{0xff, 0xda})+12] = 0 // its first scan has one coefficient
	full := withSampling(t, 0x11)
	for _, b := range [][]byte{progressive, full} {
		copy(b[sof+5:], []byte{0x17, 0x70, 0x17, 0x70}) // 6,000 x 6,000: few pixels, much memory
	}
	giffed := encodeGIF(t, image.NewPaletted(image.Rect(0, 0, 4, 4), palette.Plan9))
	copy(giffed[6:], []byte{0xff, 0xff, 0xff, 0xff})
	for name, data := range map[string][]byte{
		"png": bomb, "wide png": bombPNG(t, 1<<31-1, 1, 0), "high png": bombPNG(t, 1, 1<<31-1, 0), "png of 41 million": bombPNG(t, 41_000, 1000, 0),
		"jpeg": big, "progressive jpeg": progressive, "jpeg without subsampling": full, "gif": giffed,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, _, _, ok := Thumbnail(bytes.NewReader(data), int64(len(data))); ok {
			t.Errorf("%s: a thumbnail", name)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
	if _, _, _, ok := Thumbnail(bytes.NewReader(bomb), maxPictureFile+1); ok {
		t.Error("a file that is too long")
	}
}

func TestNoThumbnail(t *testing.T) {
	good := encodePNG(t, quarters(300, 300))
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("hello, this is no picture at all"), "short": good[:8], "cut": good[:len(good)/2], "bmp": []byte("BM000000000000000000000000000000000000"),
		"jpeg start": {0xff, 0xd8, 0xff}, "jpeg of nothing": {0xff, 0xd8, 0xff, 0xd9, 0, 0, 0, 0}, "gif": []byte("GIF89a"),
		"no sampling": withSampling(t, 0), "svg": []byte("<svg xmlns='http://www.w3.org/2000/svg'/>"),
	} {
		if _, _, _, ok := Thumbnail(bytes.NewReader(data), int64(len(data))); ok {
			t.Errorf("%s: a thumbnail", name)
		}
	}
}

func withSampling(t *testing.T, sampling byte) []byte {
	t.Helper()
	jpg := encodeJPEG(t, quarters(16, 16))
	sof := bytes.Index(jpg, []byte{0xff, markerSOF0})
	for i := range 3 {
		jpg[sof+11+3*i] = sampling
	}
	return jpg
}

func FuzzThumbnail(f *testing.F) {
	pic := quarters(40, 20)
	f.Add(encodePNG(f, pic))
	f.Add(encodeJPEG(f, pic))
	f.Add(withEXIF(encodeJPEG(f, pic), binary.BigEndian, 6))
	f.Add(encodeGIF(f, pic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			t.Skip()
		}
		small, w, h, ok := Thumbnail(bytes.NewReader(data), int64(len(data)))
		if ok {
			pic, err := jpeg.Decode(bytes.NewReader(small))
			if err != nil || pic.Bounds() != image.Rect(0, 0, w, h) || w > e2e.MaxThumbnailSide || h > e2e.MaxThumbnailSide || len(small) > e2e.MaxThumbnail {
				t.Errorf("made a thumbnail of %d x %d in %d bytes that a peer does not open: %v", w, h, len(small), err)
			}
		}
	})
}

// BenchmarkThumbnail makes the thumbnail of a photo with 12 million pixels.
func BenchmarkThumbnail(b *testing.B) {
	jpg := encodeJPEG(b, quarters(4000, 3000))
	for b.Loop() {
		if _, _, _, ok := Thumbnail(bytes.NewReader(jpg), int64(len(jpg))); !ok {
			b.Fatal("no thumbnail")
		}
	}
}
