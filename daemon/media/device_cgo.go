//go:build cgo && linux

package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/gen2brain/malgo"

	"secmsg/daemon/media/codec"
)

// deviceBuffer is the number of sound periods buffered between the sound card's thread and
// ours. A larger buffer would cause audible delay.
const deviceBuffer = 16

// soundDevice is the default microphone or loudspeaker. It uses malgo directly, since the
// driver package of mediadevices opens every sound device when a program starts, even for a
// command that makes no call.
type soundDevice struct {
	context *malgo.AllocatedContext
	device  *malgo.Device
	once    sync.Once
}

// soundBackends are the backends with real devices. The library's own list ends with a
// dummy backend, which would turn a machine without sound into silence. It also contains
// JACK, whose client library crashes on Go's threads.
func soundBackends() []malgo.Backend {
	backends := []malgo.Backend{malgo.BackendPulseaudio}
	if _, err := os.Stat("/dev/snd"); err == nil { // otherwise ALSA prints errors to standard error
		backends = append(backends, malgo.BackendAlsa)
	}
	return backends
}

func openSound(backends []malgo.Backend, kind malgo.DeviceType, data func(out, in []byte)) (*soundDevice, error) {
	c, err := malgo.InitContext(backends, malgo.ContextConfig{}, nil)
	if err != nil {
		return nil, fmt.Errorf("no microphone or loudspeaker found; use files instead (%v): %w", err, ErrUnsupported)
	}
	d := &soundDevice{context: c}
	config := malgo.DefaultDeviceConfig(kind)
	config.SampleRate, config.PeriodSizeInFrames = codec.Rate, codec.FrameSamples
	config.Capture.Format, config.Capture.Channels = malgo.FormatS16, 1
	config.Playback.Format, config.Playback.Channels = malgo.FormatS16, 1
	d.device, err = malgo.InitDevice(c.Context, config, malgo.DeviceCallbacks{
		Data: func(out, in []byte, _ uint32) { data(out, in) },
	})
	if err == nil {
		err = d.device.Start()
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("cannot open the microphone or loudspeaker (%v): %w", err, ErrUnsupported)
	}
	return d, nil
}

func (d *soundDevice) close() {
	d.once.Do(func() {
		if d.device != nil {
			d.device.Uninit()
		}
		_ = d.context.Uninit() // there is no way to handle this error
		d.context.Free()
	})
}

// microphone is a source that captures sound from its first Next on.
type microphone struct {
	device  *soundDevice
	queue   chan []byte
	done    chan struct{}
	begun   time.Time
	pending []byte
	pts     time.Duration

	mu      sync.Mutex
	encoder *codec.OpusEncoder // guarded by mu; nil when closed
}

func openMicrophone() (Source, error) { return openMicrophoneOn(soundBackends()) }

func openMicrophoneOn(backends []malgo.Backend) (Source, error) {
	e, err := codec.NewOpusEncoder()
	if err != nil {
		return nil, err
	}
	m := &microphone{queue: make(chan []byte, deviceBuffer), done: make(chan struct{}), encoder: e}
	m.device, err = openSound(backends, malgo.Capture, func(_, in []byte) {
		select {
		case m.queue <- bytes.Clone(in):
		default: // not read yet, or too slowly
		}
	})
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return m, nil
}

// Codec implements [Source].
func (m *microphone) Codec() Codec { return Opus }

// Next implements [Source].
func (m *microphone) Next(ctx context.Context) (Frame, error) {
	if m.begun.IsZero() {
		for len(m.queue) > 0 { // drop sound from before the call
			<-m.queue
		}
		m.begun = time.Now()
	}
	for len(m.pending) < 2*codec.FrameSamples {
		select {
		case b := <-m.queue:
			m.pending = append(m.pending, b...)
		case <-m.done:
			return Frame{}, io.EOF
		case <-ctx.Done():
			return Frame{}, ctx.Err()
		}
	}
	samples := make([]int16, codec.FrameSamples)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(m.pending[2*i:]))
	}
	m.pending = m.pending[2*codec.FrameSamples:]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.encoder == nil {
		return Frame{}, io.EOF
	}
	data, err := m.encoder.Encode(samples)
	if err != nil {
		return Frame{}, err
	}
	m.pts += opusFrame
	if late := time.Since(m.begun) - m.pts; late > liveGap {
		m.pts += late
	}
	return Frame{Data: data, PTS: m.pts - opusFrame, Duration: opusFrame, Key: true}, nil
}

// Close implements [Source].
func (m *microphone) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.encoder == nil {
		return nil
	}
	close(m.done)
	m.device.close()
	err := m.encoder.Close()
	m.encoder = nil
	return err
}

// speaker is a sink that plays sound.
type speaker struct {
	device  *soundDevice
	decoder *codec.OpusDecoder
	mu      sync.Mutex
	pending []byte // guarded by mu
}

// speakerMost bounds the bytes that wait for the device. Older sound beyond it is dropped,
// so that the delay does not grow.
const speakerMost = int(300*time.Millisecond*codec.Rate/time.Second) * 2

func openSpeaker() (Sink, error) { return openSpeakerOn(soundBackends()) }

func openSpeakerOn(backends []malgo.Backend) (Sink, error) {
	decoder, err := codec.NewOpusDecoder()
	if err != nil {
		return nil, err
	}
	s := &speaker{decoder: decoder}
	s.device, err = openSound(backends, malgo.Playback, func(out, _ []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		n := copy(out, s.pending)
		clear(out[n:])
		s.pending = s.pending[n:]
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Codecs implements [Sink].
func (s *speaker) Codecs(k Kind) []Codec {
	if k == Audio {
		return []Codec{Opus}
	}
	return nil
}

// Write implements [Sink].
func (s *speaker) Write(_ Codec, f Frame) error {
	samples := s.decoder.Decode(f.Data)
	s.mu.Lock()
	defer s.mu.Unlock()
	return rawSamples(writerFunc(func(b []byte) {
		if s.pending = append(s.pending, b...); len(s.pending) > speakerMost {
			s.pending = s.pending[len(s.pending)-speakerMost:]
		}
	}))(samples)
}

type writerFunc func([]byte)

// Write implements [io.Writer].
func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// Live implements [Sink].
func (s *speaker) Live() bool { return true }

// Close implements [Sink].
func (s *speaker) Close() error {
	s.device.close()
	return nil
}
