package media

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/packetio"
)

// Kind is what a stream carries.
type Kind uint8

// The two kinds of media.
const (
	// Audio is sound, always Opus at 48 kHz on the wire.
	Audio Kind = 1
	// Video is pictures, H.264 or VP8.
	Video Kind = 2
)

// String returns "audio" or "video".
func (k Kind) String() string {
	switch k {
	case Audio:
		return "audio"
	case Video:
		return "video"
	}
	return "unknown"
}

// Role is a device's part in a call; it decides who offers, and under which
// direction keys are derived.
type Role uint8

// The two parts.
const (
	// Caller makes the offer.
	Caller Role = 1
	// Callee answers it.
	Callee Role = 2
)

// Codec names an encoding on the wire.
type Codec string

// The codecs that are spoken (RFC 7587, RFC 6184, RFC 7741).
const (
	// Opus is sound at 48 kHz.
	Opus Codec = "opus"
	// H264 is constrained baseline video in packetization mode 1.
	H264 Codec = "h264"
	// VP8 is video.
	VP8 Codec = "vp8"
)

// ClockRate is the codec's RTP clock in Hz.
func (c Codec) ClockRate() uint32 {
	if c == Opus {
		return 48000
	}
	return 90000
}

// Kind is what the codec encodes.
func (c Codec) Kind() Kind {
	if c == Opus {
		return Audio
	}
	return Video
}

// ICEServer is a STUN or TURN server with its credentials.
type ICEServer struct {
	// URLs are "stun:host:port", "turn:host:port?transport=udp" and alike.
	URLs []string
	// Username and Password are empty for STUN.
	Username, Password string
}

// Options are what a session needs to know of its surroundings.
type Options struct {
	// Logger takes what goes wrong; nil discards it. No secret, address or SDP
	// is logged.
	Logger *slog.Logger
	// ICEServers are asked for addresses and relays.
	ICEServers []ICEServer
	// RelayOnly makes that no address of this host is gathered or told: media
	// flow through a TURN server or not at all.
	RelayOnly bool
	// Loopback adds candidates of the loopback interface, which is where a
	// server on a loopback address and its peers are.
	Loopback bool

	// net replaces the network in tests.
	net transport.Net
	// buffer makes what the packets of one SSRC wait in.
	buffer func(packetio.BufferPacketType, uint32) io.ReadWriteCloser
}

// Frame is one encoded picture, or the Opus packet of one span of sound.
type Frame struct {
	// Data is an access unit in Annex B form (H.264), a frame (VP8) or a packet
	// (Opus). A receiver must not keep it.
	Data []byte
	// PTS is when the frame is shown, since the start of the stream. Within one
	// session sound and pictures share that start.
	PTS time.Duration
	// Duration is how long the frame lasts; zero if unknown.
	Duration time.Duration
	// Key says that a decoder can begin here. Every Opus packet is one.
	Key bool
}

// Source makes frames. A session calls it from one goroutine, except Close,
// which ends a blocked Next.
type Source interface {
	// Codec is what Next returns.
	Codec() Codec
	// Next returns the following frame, io.EOF at the end. It may return early:
	// the session waits until the frame is due by its PTS.
	Next(ctx context.Context) (Frame, error)
	// Close releases what the source holds and ends a Next that waits.
	Close() error
}

// RateController is a source whose encoder follows the network.
type RateController interface {
	// SetBitRate sets the target in bit/s.
	SetBitRate(bitsPerSecond int)
}

// KeyFramer is a source that can begin a new group of pictures at once.
type KeyFramer interface {
	// ForceKeyFrame makes that the next picture decodes alone.
	ForceKeyFrame()
}

// Readier is a source that can tell before a call whether it has anything to send.
type Readier interface {
	// Ready waits until the first frame was read, and keeps it for Next. It fails
	// with [ErrFormat] if there is none, or something else.
	Ready(ctx context.Context) error
}

// Sink takes the frames that the peer sends. A session calls Write from one
// goroutine per kind and never after Close.
type Sink interface {
	// Codecs are what the sink can take of a kind, the preferred one first;
	// none means that it does not want that kind.
	Codecs(kind Kind) []Codec
	// Write takes a frame of the codec that was agreed on. Frames of a kind
	// come in order; their PTS never fall.
	Write(codec Codec, f Frame) error
	// Live says that somebody watches: then a session waits shorter for what
	// was lost than for a recording.
	Live() bool
	// Close writes what is pending and releases the sink.
	Close() error
}

// Sources are what a session sends; nil sends nothing of that kind.
type Sources struct {
	// Audio must speak Opus.
	Audio Source
	// Video must speak H.264 or VP8.
	Video Source
}

// Sinks are where a session puts what it receives; nil asks for nothing. Muxed
// gets both kinds beside (or instead of) the others.
type Sinks struct {
	// Audio gets Opus packets.
	Audio Sink
	// Video gets pictures.
	Video Sink
	// Muxed gets both, on one time line.
	Muxed Sink
}

// Keys are what both devices know when a call is taken; the payload keys of
// each direction and SSRC are derived from them (crypto/SPEC.md, "Calls").
type Keys struct {
	// CallID names the call.
	CallID [16]byte
	// Caller and Callee are the ids of the two devices.
	Caller, Callee [16]byte
	// Offer and Answer are the random secrets of the two signals. They came
	// through the ratchet and exist in memory only.
	Offer, Answer [32]byte
}
