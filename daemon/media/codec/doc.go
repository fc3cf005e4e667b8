// Package codec turns sound and pictures into what travels, and back: Opus
// (decoding in Go, encoding by the libopus that mediadevices bundles) and H.264
// (encoding by the bundled openh264).
//
// The encoders need cgo. A build without it has the decoders only, and says so
// with [ErrNoEncoder]. Encoders and decoders belong to one goroutine each and
// keep no goroutine of their own.
package codec

import "errors"

// ErrNoEncoder says that this build cannot encode.
var ErrNoEncoder = errors.New("this build has no encoders (it was made without cgo): use media that are encoded already, .ogg, .h264 or .ivf")

// Properties of sound everywhere in this package.
const (
	// Rate is in Hz.
	Rate = 48000
	// FrameSamples are in one packet of the encoder: 20 ms, mono.
	FrameSamples = Rate / 50
)
