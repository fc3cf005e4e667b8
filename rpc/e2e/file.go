package e2e

import (
	"crypto/sha256"
	"fmt"
	"unicode/utf8"
)

// Bounds of a file reference.
const (
	// MaxFiles bounds the files of one message. Further files go into messages of their own.
	MaxFiles = 20
	// FileKeySize is the length of a file key in bytes.
	FileKeySize = 32
	// MaxFileName bounds a name in bytes: the limit of common file systems.
	MaxFileName = 255
	// MaxFileType bounds a media type in bytes (RFC 6838, section 4.2: twice 127 and a slash).
	MaxFileType = 255
	// MaxBlobID bounds the server's id of a blob in bytes.
	MaxBlobID = 128
	// MaxFileSize bounds a file in bytes. A sealed blob has at most 4,000 parts of 8 MiB, so a larger
	// file could not be fetched.
	MaxFileSize = 32 << 30
	// MaxThumbnail bounds a thumbnail in bytes, so that a file's message stays small.
	MaxThumbnail = 12 << 10
	// MaxThumbnailSide bounds a thumbnail's width and height in pixels.
	MaxThumbnailSide = 512
)

// checkFiles checks the files of a text: each needs an id, and no id may occur twice.
func checkFiles(files []*File) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("%w: %d files", ErrMalformed, len(files))
	}
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		if err := checkFile(f, true); err != nil {
			return err
		}
		if seen[string(f.GetId())] {
			return fmt.Errorf("%w: duplicate file id", ErrMalformed)
		}
		seen[string(f.GetId())] = true
	}
	return nil
}

// checkFile checks one reference. withID requires an id in it.
func checkFile(f *File, withID bool) error {
	wantID := 0
	if withID {
		wantID = IDSize
	}
	switch {
	case len(f.GetId()) != wantID:
		return fmt.Errorf("%w: file id of %d bytes", ErrMalformed, len(f.GetId()))
	case f.GetBlob() == "" || len(f.GetBlob()) > MaxBlobID || !plainASCII(f.GetBlob()):
		return fmt.Errorf("%w: blob id", ErrMalformed)
	case len(f.GetKey()) != FileKeySize:
		return fmt.Errorf("%w: file key of %d bytes", ErrMalformed, len(f.GetKey()))
	case len(f.GetSha256()) != sha256.Size:
		return fmt.Errorf("%w: file digest of %d bytes", ErrMalformed, len(f.GetSha256()))
	case f.GetSize() > MaxFileSize:
		return fmt.Errorf("%w: file size", ErrMalformed)
	case len(f.GetName()) > MaxFileName || !utf8.ValidString(f.GetName()):
		return fmt.Errorf("%w: file name", ErrMalformed)
	case len(f.GetType()) > MaxFileType || !plainASCII(f.GetType()):
		return fmt.Errorf("%w: file type", ErrMalformed)
	case !validTime(f.GetExpiresMs()):
		return fmt.Errorf("%w: file expiry", ErrMalformed)
	}
	t := f.GetThumbnail()
	if t != nil && (len(t.GetJpeg()) == 0 || len(t.GetJpeg()) > MaxThumbnail || t.GetWidth() == 0 || t.GetWidth() > MaxThumbnailSide ||
		t.GetHeight() == 0 || t.GetHeight() > MaxThumbnailSide) {
		return fmt.Errorf("%w: thumbnail", ErrMalformed)
	}
	return nil
}

// plainASCII reports whether s consists of printable ASCII without spaces.
func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
