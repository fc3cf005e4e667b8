//go:build !cgo

package codec

import "image"

// CanEncode says whether this build has the encoders.
const CanEncode = false

// OpusEncoder does not exist in this build.
type OpusEncoder struct{}

// NewOpusEncoder fails with [ErrNoEncoder].
func NewOpusEncoder() (*OpusEncoder, error) { return nil, ErrNoEncoder }

// Encode fails with [ErrNoEncoder].
func (*OpusEncoder) Encode([]int16) ([]byte, error) { return nil, ErrNoEncoder }

// Close does nothing.
func (*OpusEncoder) Close() error { return nil }

// H264Encoder does not exist in this build.
type H264Encoder struct{}

// NewH264Encoder fails with [ErrNoEncoder].
func NewH264Encoder(_, _, _, _ int) (*H264Encoder, error) { return nil, ErrNoEncoder }

// Encode fails with [ErrNoEncoder].
func (*H264Encoder) Encode(*image.YCbCr) ([]byte, error) { return nil, ErrNoEncoder }

// ForceKeyFrame fails with [ErrNoEncoder].
func (*H264Encoder) ForceKeyFrame() error { return ErrNoEncoder }

// SetBitRate fails with [ErrNoEncoder].
func (*H264Encoder) SetBitRate(int) error { return ErrNoEncoder }

// Close does nothing.
func (*H264Encoder) Close() error { return nil }
