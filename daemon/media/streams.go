package media

import (
	"errors"
	"io"

	"github.com/pion/transport/v5/packetio"
)

const (
	// maxStreams bounds the SSRCs of RTP and RTCP together that a peer may use in a call;
	// ours use eight. Each takes some KiB below DTLS until the call ends.
	maxStreams = 64
	// streamBuffer bounds the unread bytes of one stream.
	streamBuffer = 1 << 20
)

// errStreams says that a peer used more SSRCs than [maxStreams].
var errStreams = errors.New("the peer sends too many streams")

// newBuffer is called for the first packet of each SSRC, after SRTP has authenticated it.
// pion keeps the buffers until the end, so the call is ended if a peer uses too many.
func (s *Session) newBuffer(packetio.BufferPacketType, uint32) io.ReadWriteCloser {
	b := &streamPackets{packetio.NewBuffer()}
	b.SetLimitSize(streamBuffer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams++; s.streams <= maxStreams {
		return b
	}
	_ = b.Close() // so it accepts nothing
	if s.streams == maxStreams+1 && !s.closed {
		s.wg.Go(func() { s.fail(errStreams) }) // fail waits for the calling goroutine
	}
	return b
}

// streamPackets buffers the packets of a stream, with the interface required by SRTP.
type streamPackets struct{ *packetio.Buffer }

// Read implements [io.Reader], one packet at a time.
func (b *streamPackets) Read(p []byte) (int, error) {
	n, _, err := b.Buffer.Read(p, nil)
	return n, err
}

// Write implements [io.Writer], one packet at a time.
func (b *streamPackets) Write(p []byte) (int, error) { return b.Buffer.Write(p, nil) }

// ReadWithAttributes reads a packet with the attributes set by the network layer.
func (b *streamPackets) ReadWithAttributes(p []byte, a packetio.Attributes) (int, packetio.Attributes, error) {
	return b.Buffer.Read(p, a)
}

// WriteWithAttributes buffers a packet. It ignores the attributes.
func (b *streamPackets) WriteWithAttributes(p []byte, a packetio.Attributes) (int, error) {
	return b.Buffer.Write(p, a)
}
