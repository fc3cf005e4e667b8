//go:build cgo

package codec

import (
	"fmt"
	"image"
	"time"

	"github.com/pion/mediadevices/pkg/codec"
	"github.com/pion/mediadevices/pkg/codec/openh264"
	"github.com/pion/mediadevices/pkg/codec/opus"
	"github.com/pion/mediadevices/pkg/prop"
	"github.com/pion/mediadevices/pkg/wave"
)

// CanEncode says whether this build has the encoders.
const CanEncode = true

// opusBitRate suits speech and simple music, in bit/s.
const opusBitRate = 48000

// OpusEncoder encodes mono PCM at [Rate] as packets of 20 ms.
type OpusEncoder struct {
	e    codec.ReadCloser
	next *wave.Int16Interleaved
}

// NewOpusEncoder returns an encoder.
func NewOpusEncoder() (*OpusEncoder, error) {
	p, err := opus.NewParams()
	if err != nil {
		return nil, fmt.Errorf("new Opus encoder: %w", err)
	}
	p.BitRate, p.Latency = opusBitRate, opus.Latency20ms
	e := &OpusEncoder{next: wave.NewInt16Interleaved(wave.ChunkInfo{Len: FrameSamples, Channels: 1, SamplingRate: Rate})}
	e.e, err = p.BuildAudioEncoder(e, prop.Media{Audio: prop.Audio{
		SampleRate: Rate, ChannelCount: 1, Latency: 20 * time.Millisecond, SampleSize: 2, IsInterleaved: true,
	}})
	if err != nil {
		return nil, fmt.Errorf("new Opus encoder: %w", err)
	}
	return e, nil
}

// Read passes the samples of the current Encode to the library.
func (e *OpusEncoder) Read() (wave.Audio, func(), error) { return e.next, func() {}, nil }

// Encode encodes exactly [FrameSamples] samples.
func (e *OpusEncoder) Encode(samples []int16) ([]byte, error) {
	copy(e.next.Data, samples)
	b, release, err := e.e.Read()
	if err != nil {
		return nil, fmt.Errorf("encode Opus: %w", err)
	}
	release()
	return b, nil
}

// Close frees the encoder.
func (e *OpusEncoder) Close() error { return e.e.Close() }

// H264Encoder encodes pictures as access units in constrained baseline.
type H264Encoder struct {
	e    codec.ReadCloser
	next *image.YCbCr
	rate int
}

// NewH264Encoder returns an encoder for pictures of a size, at a rate of perSecond, with a
// key frame at least every four seconds. It skips pictures if the bit rate is too low.
func NewH264Encoder(width, height, perSecond, bitRate int) (*H264Encoder, error) {
	p, err := openh264.NewParams()
	if err != nil {
		return nil, fmt.Errorf("new H.264 encoder: %w", err)
	}
	p.BitRate, p.IntraPeriod, p.EnableFrameSkip = bitRate, uint(4*perSecond), true
	p.SliceMode, p.SliceNum, p.MultipleThreadIdc = openh264.SMSingleSlice, 1, 1
	e := &H264Encoder{rate: bitRate}
	e.e, err = p.BuildVideoEncoder(e, prop.Media{Video: prop.Video{Width: width, Height: height, FrameRate: float32(perSecond)}})
	if err != nil {
		return nil, fmt.Errorf("new H.264 encoder of %dx%d: %w", width, height, err)
	}
	return e, nil
}

// Read passes the picture of the current Encode to the library.
func (e *H264Encoder) Read() (image.Image, func(), error) { return e.next, func() {}, nil }

// Encode returns the access unit in Annex B form, or nothing if the picture was skipped.
func (e *H264Encoder) Encode(picture *image.YCbCr) ([]byte, error) {
	e.next = picture
	b, release, err := e.e.Read()
	if err != nil {
		return nil, fmt.Errorf("encode H.264: %w", err)
	}
	release()
	return b, nil
}

// ForceKeyFrame forces a key frame.
func (e *H264Encoder) ForceKeyFrame() error {
	if k, ok := e.e.Controller().(codec.KeyFrameController); ok {
		return k.ForceKeyFrame()
	}
	return nil
}

// SetBitRate sets the target in bit/s. It ignores changes below a tenth, to spare the
// encoder.
func (e *H264Encoder) SetBitRate(rate int) error {
	if diff := rate - e.rate; max(diff, -diff) < e.rate/10 {
		return nil
	}
	e.rate = rate
	if r, ok := e.e.Controller().(codec.BitRateController); ok {
		return r.SetBitRate(rate)
	}
	return nil
}

// Close frees the encoder.
func (e *H264Encoder) Close() error { return e.e.Close() }
