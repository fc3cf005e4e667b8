// Package codec encodes and decodes sound and video: Opus (decoded in Go, encoded by the
// libopus bundled with mediadevices) and H.264 (encoded by the bundled openh264).
//
// The encoders need cgo. A build without cgo has only the decoders, and its encoders fail
// with [ErrNoEncoder]. Each encoder or decoder is for one goroutine and starts no
// goroutines.
package codec

import "errors"

// ErrNoEncoder says that this build cannot encode.
var ErrNoEncoder = errors.New("this build has no encoders (it was made without cgo): use media that are encoded already, .ogg, .h264 or .ivf")

// Format of all sound in this package.
const (
	// Rate is the sampling rate in Hz.
	Rate = 48000
	// FrameSamples is the number of samples in one packet of the encoder: 20 ms, mono.
	FrameSamples = Rate / 50
)
