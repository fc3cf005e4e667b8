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

// CanEncode says that this build has the encoders.
const CanEncode = true

// opusBitRate is for speech and a tone of music, in bit/s.
const opusBitRate = 48000

// OpusEncoder turns mono PCM at [Rate] into packets of 20 ms.
type OpusEncoder struct {
	e    codec.ReadCloser
	next *wave.Int16Interleaved
}

// NewOpusEncoder makes an encoder.
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

// Read hands the samples of the present call to the library.
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

// H264Encoder turns pictures into access units of constrained baseline.
type H264Encoder struct {
	e    codec.ReadCloser
	next *image.YCbCr
	rate int
}

// NewH264Encoder makes an encoder for pictures of a size, with so many a second,
// and a key frame at least every fourth second. It leaves pictures out
// when the rate does not suffice.
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

// Read hands the picture of the present call to the library.
func (e *H264Encoder) Read() (image.Image, func(), error) { return e.next, func() {}, nil }

// Encode returns the access unit in Annex B form; empty if the picture was left
// out.
func (e *H264Encoder) Encode(picture *image.YCbCr) ([]byte, error) {
	e.next = picture
	b, release, err := e.e.Read()
	if err != nil {
		return nil, fmt.Errorf("encode H.264: %w", err)
	}
	release()
	return b, nil
}

// ForceKeyFrame makes that the next picture decodes alone.
func (e *H264Encoder) ForceKeyFrame() error {
	if k, ok := e.e.Controller().(codec.KeyFrameController); ok {
		return k.ForceKeyFrame()
	}
	return nil
}

// SetBitRate sets the target in bit/s; changes below a tenth are not worth the
// encoder's trouble.
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
