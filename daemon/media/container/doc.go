// Package container reads and writes the file and stream formats of calls: IVF, H.264 in
// Annex B form, Opus in Ogg, WAV, and (writing only) Matroska.
//
// Readers accept untrusted input: every length is checked before anything is allocated for
// it. Readers and writers are not safe for concurrent use. They use io.Reader and
// io.Writer, so pipes work as well as files. A writer whose output is also an io.Seeker
// completes its header at the end.
//
// pion/webrtc has readers and writers of Ogg, IVF and H.264, at-wat/ebml-go writes Matroska,
// and go-audio/wav reads WAV. None of them fits a call: here the input is untrusted, so every
// length is bounded; H.264 is cut into access units, where pion's h264reader gives single NAL
// units; an Ogg page holds up to 200 ms, since a page for each packet costs 28 bytes for
// every 20 ms; and the writers complete the duration in a header that was written at the
// start. The package has 1,460 lines; pion's two files for Ogg alone have 1,850.
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
