package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"io"
)

// upright is the EXIF orientation of a picture that needs no rotation.
const upright = 1

// The header of a JPEG is read here and not by an EXIF library (dsoprea/go-exif): one
// tag is needed, from files of strangers too, and this reads no more than the segments
// before the image, each within its stated length.

// pictureInfo holds header fields that the standard library does not return.
type pictureInfo struct {
	bytesPerPixel float64 // memory needed for decoding
	orientation   int     // EXIF, 1 to 8
}

// JPEG markers (ITU-T T.81, table B.1).
const (
	markerSOF0 = 0xc0 // baseline
	markerSOF1 = 0xc1 // extended sequential
	markerSOF2 = 0xc2 // progressive
	markerAPP1 = 0xe1 // EXIF, among others
)

// scanJPEG reads the segments of a JPEG up to the frame header. It fails with [ErrPicture].
func scanJPEG(r io.Reader) (pictureInfo, error) {
	info := pictureInfo{orientation: upright}
	in := bufio.NewReader(r)
	if _, err := in.Discard(2); err != nil { // start of image
		return info, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	for {
		marker, segment, err := readSegment(in)
		if err != nil {
			return info, fmt.Errorf("%w: %w", ErrPicture, err)
		}
		switch marker {
		case markerAPP1:
			if o := exifOrientation(segment); o != 0 {
				info.orientation = o
			}
		case markerSOF0, markerSOF1, markerSOF2:
			info.bytesPerPixel = frameMemory(segment, marker == markerSOF2)
			if info.bytesPerPixel == 0 {
				return info, fmt.Errorf("%w: frame header", ErrPicture)
			}
			return info, nil
		}
	}
}

// readSegment reads a marker and its segment, at most 65,533 bytes.
func readSegment(in *bufio.Reader) (marker byte, segment []byte, err error) {
	if marker, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	if marker != 0xff {
		return 0, nil, fmt.Errorf("byte %#x in place of a marker", marker)
	}
	for marker == 0xff { // any number of fill bytes
		if marker, err = in.ReadByte(); err != nil {
			return 0, nil, err
		}
	}
	var length [2]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:])) - len(length)
	if n < 0 {
		return 0, nil, fmt.Errorf("marker %#x of %d bytes", marker, n)
	}
	segment = make([]byte, n)
	_, err = io.ReadFull(in, segment)
	return marker, segment, err
}

// frameMemory returns the memory in bytes for each pixel that decoding takes: one byte for
// each sample, of components that may be subsampled; four more for each sample of a
// progressive picture, whose coefficients are kept; four for each pixel if it may be RGB or
// CMYK, which is converted. It returns 0 for a malformed frame header.
func frameMemory(frame []byte, progressive bool) float64 {
	const fixed, each = 6, 3 // precision, sides, component count; id, sampling, table
	if len(frame) < fixed || len(frame) != fixed+each*int(frame[fixed-1]) {
		return 0
	}
	samples, maxH, maxV := 0, 0, 0
	for c := frame[fixed:]; len(c) > 0; c = c[each:] {
		h, v := int(c[1]>>4), int(c[1]&15)
		samples, maxH, maxV = samples+h*v, max(maxH, h), max(maxV, v)
	}
	if samples == 0 || maxH == 0 || maxV == 0 {
		return 0
	}
	perPixel := float64(samples) / float64(maxH*maxV)
	converted := 0.0
	if perPixel >= 3 {
		converted = 4
	}
	if progressive {
		perPixel *= 5
	}
	return perPixel + converted
}

// exifOrientation returns the orientation in an APP1 segment, 1 to 8, or 0 if there is none
// (EXIF 2.3, 4.6.4; TIFF 6.0, section 2).
func exifOrientation(segment []byte) int {
	const (
		tagOrientation = 0x0112
		typeShort      = 3
		entrySize      = 12
	)
	tiff, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00"))
	if !ok || len(tiff) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.BigEndian
	if string(tiff[:2]) == "II" {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(tiff[4:])) // offset of the first directory
	if at+2 > int64(len(tiff)) {
		return 0
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < entrySize {
			return 0
		}
		if order.Uint16(entries) == tagOrientation && order.Uint16(entries[2:]) == typeShort {
			if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			return 0
		}
		entries = entries[entrySize:]
	}
	return 0
}

// orient rotates and mirrors a stored picture according to its orientation.
func orient(pic *image.RGBA, orientation int) *image.RGBA {
	if orientation <= upright || orientation > 8 {
		return pic
	}
	w, h := pic.Rect.Dx(), pic.Rect.Dy()
	turned := orientation >= 5 // width and height are swapped
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if turned {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			tx, ty := x, y
			switch orientation {
			case 2: // mirrored
				tx = w - 1 - x
			case 3: // rotated by 180 degrees
				tx, ty = w-1-x, h-1-y
			case 4: // mirrored vertically
				ty = h - 1 - y
			case 5: // transposed
				tx, ty = y, x
			case 6: // rotated by 90 degrees clockwise
				tx, ty = h-1-y, x
			case 7: // transposed along the other diagonal
				tx, ty = h-1-y, w-1-x
			case 8: // rotated by 90 degrees counterclockwise
				tx, ty = y, w-1-x
			}
			out.SetRGBA(tx, ty, pic.RGBAAt(x, y))
		}
	}
	return out
}
