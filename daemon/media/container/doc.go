// Package container reads and writes the files and streams that calls are made
// of: IVF, H.264 in Annex B form, Opus in Ogg, WAV, and (writing only) Matroska.
//
// Readers take untrusted input: every length is bounded before anything is
// allocated for it. Readers and writers are not safe for concurrent use; they
// work on io.Reader and io.Writer, so that pipes are as good as files. Writers
// that also get an io.Seeker complete their headers at the end.
package container

import (
	"errors"
	"io"
)

// ErrFormat says that the input is not what the reader reads.
var ErrFormat = errors.New("malformed media container")

// MaxFrame bounds one picture, packet or access unit in bytes.
const MaxFrame = 8 << 20

// noEOF turns an end inside of something into an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
