package media

import (
	"bytes"
	"context"
	_ "embed" // for the tone in builds without encoders
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"sync"
	"time"

	"secmsg/daemon/media/codec"
	"secmsg/daemon/media/container"
)

// Parameters of the synthetic tone.
const (
	// ToneFrequency is the frequency in Hz.
	ToneFrequency = 1000
	// toneAmplitude is a quarter of full scale.
	toneAmplitude = 8192
	// ToneGap is the silence at the start of each second. The marker of the synthetic
	// picture is lit meanwhile, which shows whether sound and video are synchronized.
	ToneGap = 100 * time.Millisecond
)

// toneSamples computes samples of the tone, starting with sample number at.
func toneSamples(at int, out []int16) {
	const gap = int(ToneGap * codec.Rate / time.Second)
	for i := range out {
		n := (at + i) % codec.Rate
		out[i] = 0
		if n >= gap {
			out[i] = int16(toneAmplitude * math.Sin(2*math.Pi*ToneFrequency*float64(n)/codec.Rate))
		}
	}
}

// tone is a source of the synthetic tone.
type tone struct {
	mu      sync.Mutex
	encoder *codec.OpusEncoder // guarded by mu; nil without encoders, and when closed
	packets [][]byte           // one second, used without an encoder
	frames  int
	closed  bool // guarded by mu
}

//go:embed tone.ogg
var toneClip []byte

func newTone() (Source, error) {
	t := &tone{}
	e, err := codec.NewOpusEncoder()
	if err == nil {
		t.encoder = e
		return t, nil
	}
	if !errors.Is(err, codec.ErrNoEncoder) {
		return nil, err
	}
	r, err := container.NewOggReader(bytes.NewReader(toneClip))
	if err != nil {
		return nil, err
	}
	for {
		p, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		t.packets = append(t.packets, p)
	}
}

// Codec implements [Source].
func (t *tone) Codec() Codec { return Opus }

// Next implements [Source].
func (t *tone) Next(ctx context.Context) (Frame, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return Frame{}, io.EOF
	}
	f := Frame{PTS: time.Duration(t.frames) * opusFrame, Duration: opusFrame, Key: true}
	t.frames++
	if t.encoder == nil {
		f.Data = t.packets[(t.frames-1)%len(t.packets)]
		return f, ctx.Err()
	}
	samples := make([]int16, codec.FrameSamples)
	toneSamples((t.frames-1)*codec.FrameSamples, samples)
	data, err := t.encoder.Encode(samples)
	if err != nil {
		return Frame{}, err
	}
	f.Data = data
	return f, ctx.Err()
}

// Close implements [Source].
func (t *tone) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	if t.encoder == nil {
		return nil
	}
	return t.encoder.Close()
}

// testPicture is a source of the synthetic picture.
type testPicture struct {
	pictureEncoder
	rate    int
	frames  int
	picture *image.YCbCr
}

func newTestPicture(o SourceOptions) (Source, error) {
	p := &testPicture{rate: o.FrameRate, picture: image.NewYCbCr(image.Rect(0, 0, o.Width, o.Height), image.YCbCrSubsampleRatio420)}
	return p, p.begin(o)
}

// Next implements [Source].
func (p *testPicture) Next(ctx context.Context) (Frame, error) {
	for {
		n := p.frames
		p.frames++
		drawClock(p.picture, n, p.rate)
		data, err := p.encode(p.picture)
		if err != nil {
			return Frame{}, err
		}
		if len(data) == 0 {
			continue
		}
		pts := time.Duration(n) * time.Second / time.Duration(p.rate)
		return Frame{Data: data, PTS: pts, Duration: time.Second / time.Duration(p.rate), Key: isKey(H264, data)}, ctx.Err()
	}
}

// pictureEncoder is shared by camera and synthetic picture: an encoder that follows the
// requests of network and peer. Its methods may be called concurrently.
type pictureEncoder struct {
	mu      sync.Mutex
	encoder *codec.H264Encoder // guarded by mu; nil when closed
}

func (p *pictureEncoder) begin(o SourceOptions) error {
	e, err := codec.NewH264Encoder(o.Width, o.Height, o.FrameRate, startBitRate)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	p.encoder = e
	return nil
}

func (p *pictureEncoder) encode(picture *image.YCbCr) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.encoder == nil {
		return nil, io.EOF
	}
	return p.encoder.Encode(picture)
}

// Codec implements [Source].
func (p *pictureEncoder) Codec() Codec { return H264 }

// SetBitRate implements [RateController].
func (p *pictureEncoder) SetBitRate(rate int) {
	p.with(func(e *codec.H264Encoder) error { return e.SetBitRate(rate) })
}

// ForceKeyFrame implements [KeyFramer].
func (p *pictureEncoder) ForceKeyFrame() { p.with((*codec.H264Encoder).ForceKeyFrame) }

// with calls f with the encoder. It ignores errors: they only affect the picture's quality.
func (p *pictureEncoder) with(f func(*codec.H264Encoder) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.encoder != nil {
		_ = f(p.encoder)
	}
}

// Close implements [Source].
func (p *pictureEncoder) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.encoder == nil {
		return nil
	}
	err := p.encoder.Close()
	p.encoder = nil
	return err
}
