// Package container reads and writes the file and stream formats of calls: IVF, H.264 in
// Annex B form, Opus in Ogg, WAV, and (writing only) Matroska.
//
// Readers accept untrusted input: every length is checked before anything is allocated for
// it. Readers and writers are not safe for concurrent use. They use io.Reader and
// io.Writer, so pipes work as well as files. A writer whose output is also an io.Seeker
// completes its header at the end.
package container

import (
	"errors"
	"io"
)

// ErrFormat says that the input does not have the expected format.
var ErrFormat = errors.New("malformed media container")

// MaxFrame bounds one picture, packet or access unit in bytes.
const MaxFrame = 8 << 20

// noEOF turns io.EOF inside of a structure into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
