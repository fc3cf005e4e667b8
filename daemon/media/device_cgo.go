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

// deviceBuffer is how many periods of sound wait between the sound card's
// thread and ours: more is delay that is heard.
const deviceBuffer = 16

// soundDevice is the default microphone or loudspeaker. malgo is used as it is:
// the driver package of mediadevices opens every sound device when a program
// starts, even for a command that makes no call.
type soundDevice struct {
	context *malgo.AllocatedContext
	device  *malgo.Device
	once    sync.Once
}

// soundBackends are the ways to real devices. The library's own list ends with
// one that has none, and would turn a machine without sound into silence; and
// it has JACK's, whose client library crashes on the threads of Go.
func soundBackends() []malgo.Backend {
	backends := []malgo.Backend{malgo.BackendPulseaudio}
	if _, err := os.Stat("/dev/snd"); err == nil { // else ALSA complains on standard error
		backends = append(backends, malgo.BackendAlsa)
	}
	return backends
}

func openSound(backends []malgo.Backend, kind malgo.DeviceType, data func(out, in []byte)) (*soundDevice, error) {
	c, err := malgo.InitContext(backends, malgo.ContextConfig{}, nil)
	if err != nil {
		return nil, fmt.Errorf("no sound on this machine (%v): %w", err, ErrUnsupported)
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
		return nil, fmt.Errorf("no sound device (%v): %w", err, ErrUnsupported)
	}
	return d, nil
}

func (d *soundDevice) close() {
	d.once.Do(func() {
		if d.device != nil {
			d.device.Uninit()
		}
		_ = d.context.Uninit() // nothing is left to do about it
		d.context.Free()
	})
}

// microphone is a source of what is heard, from the moment of its first Next.
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
		default: // nobody reads yet, or too slowly
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
		for len(m.queue) > 0 { // what was said before the call
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

// speaker is a sink that is heard.
type speaker struct {
	device  *soundDevice
	decoder *codec.OpusDecoder
	mu      sync.Mutex
	pending []byte // guarded by mu
}

// speakerMost is how much sound waits for the device at most; what is over it
// is dropped, so that delay does not grow.
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
