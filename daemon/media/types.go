package media

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/packetio"
)

// Kind is the kind of a media stream.
type Kind uint8

// Kinds of media.
const (
	// Audio is sound: Opus at 48 kHz on the wire.
	Audio Kind = 1
	// Video is H.264 or VP8.
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

// Role is a device's role in a call. It determines which side makes the offer, and the
// direction of derived keys.
type Role uint8

// Roles.
const (
	// Caller makes the offer.
	Caller Role = 1
	// Callee answers it.
	Callee Role = 2
)

// Codec is an encoding on the wire.
type Codec string

// Supported codecs (RFC 7587, RFC 6184, RFC 7741).
const (
	// Opus is sound at 48 kHz.
	Opus Codec = "opus"
	// H264 is constrained baseline video in packetization mode 1.
	H264 Codec = "h264"
	// VP8 is video.
	VP8 Codec = "vp8"
)

// ClockRate returns the codec's RTP clock in Hz.
func (c Codec) ClockRate() uint32 {
	if c == Opus {
		return 48000
	}
	return 90000
}

// Kind returns the codec's kind of media.
func (c Codec) Kind() Kind {
	if c == Opus {
		return Audio
	}
	return Video
}

// ICEServer is a STUN or TURN server with its credentials.
type ICEServer struct {
	// URLs are like "stun:host:port" or "turn:host:port?transport=udp".
	URLs []string
	// Username and Password are empty for STUN.
	Username, Password string
}

// Options are the options of a session.
type Options struct {
	// Logger gets errors; nil discards them. No secrets, addresses or SDP are logged.
	Logger *slog.Logger
	// ICEServers are used to find addresses and relays.
	ICEServers []ICEServer
	// RelayOnly hides all addresses of this host: media flow through a TURN server or not
	// at all.
	RelayOnly bool
	// Loopback adds candidates of the loopback interface, for servers and peers on loopback
	// addresses.
	Loopback bool

	// net replaces the network in tests.
	net transport.Net
	// buffer creates the packet buffer of an SSRC.
	buffer func(packetio.BufferPacketType, uint32) io.ReadWriteCloser
}

// Frame is one encoded picture, or one Opus packet.
type Frame struct {
	// Data is an access unit in Annex B form (H.264), a frame (VP8) or a packet (Opus). A
	// receiver must not keep it.
	Data []byte
	// PTS is the presentation time since the start of the stream. Sound and video of a
	// session share that start.
	PTS time.Duration
	// Duration is the frame's duration; zero: unknown.
	Duration time.Duration
	// Key: decoding can start here. True for every Opus packet.
	Key bool
}

// Source produces frames. A session calls it from one goroutine, except Close, which ends a
// blocked Next.
type Source interface {
	// Codec returns the codec of the frames.
	Codec() Codec
	// Next returns the next frame, or io.EOF at the end. It may return early: the session
	// waits until the frame's PTS.
	Next(ctx context.Context) (Frame, error)
	// Close releases the source's resources and ends a blocked Next.
	Close() error
}

// RateController is a source whose encoder adapts to the network.
type RateController interface {
	// SetBitRate sets the target in bit/s.
	SetBitRate(bitsPerSecond int)
}

// KeyFramer is a source that can start a new group of pictures immediately.
type KeyFramer interface {
	// ForceKeyFrame forces a key frame.
	ForceKeyFrame()
}

// Readier is a source that can check before a call whether it has anything to send.
type Readier interface {
	// Ready waits until the first frame was read, and keeps it for Next. It fails with
	// [ErrFormat] if there is none, or with another error.
	Ready(ctx context.Context) error
}

// Sink receives the peer's frames. A session calls Write from one goroutine per kind, and
// never after Close.
type Sink interface {
	// Codecs returns the accepted codecs of a kind, the preferred one first. None means
	// that the sink does not accept this kind.
	Codecs(kind Kind) []Codec
	// Write writes a frame in the negotiated codec. Frames of a kind come in order; their
	// PTS never decrease.
	Write(codec Codec, f Frame) error
	// Live reports whether somebody is watching: then a session waits for lost packets for
	// a shorter time than in a recording.
	Live() bool
	// Close writes pending data and releases the sink.
	Close() error
}

// Sources are the sources of a session; nil sends nothing of that kind.
type Sources struct {
	// Audio must produce Opus.
	Audio Source
	// Video must produce H.264 or VP8.
	Video Source
}

// Sinks are the destinations of a session; nil requests nothing. Muxed gets both kinds, in
// addition to the others.
type Sinks struct {
	// Audio gets Opus packets.
	Audio Sink
	// Video gets video frames.
	Video Sink
	// Muxed gets both, on one timeline.
	Muxed Sink
}

// Keys are the secrets shared by both devices when a call is accepted. The payload keys of
// each direction and SSRC are derived from them (crypto/SPEC.md, "Calls").
type Keys struct {
	// CallID identifies the call.
	CallID [16]byte
	// Caller and Callee are the ids of the two devices.
	Caller, Callee [16]byte
	// Offer and Answer are the random secrets of the two signals. They came through the
	// ratchet and exist only in memory.
	Offer, Answer [32]byte
}
