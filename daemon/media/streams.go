package media

import (
	"errors"
	"io"

	"github.com/pion/transport/v5/packetio"
)

const (
	// maxStreams bounds the SSRCs of RTP and RTCP together that a peer may use in
	// a call; ours take eight. Below DTLS each costs some KiB until the call ends.
	maxStreams = 64
	// streamBuffer is how many bytes of one stream wait to be read.
	streamBuffer = 1 << 20
)

// errStreams says that a peer used more SSRCs than [maxStreams].
var errStreams = errors.New("the peer sends too many streams")

// newBuffer is asked for at the first packet of an SSRC that SRTP has
// authenticated. The library keeps what belongs to it until the end, so a peer
// that sends more and more of them ends the call.
func (s *Session) newBuffer(packetio.BufferPacketType, uint32) io.ReadWriteCloser {
	b := &streamPackets{packetio.NewBuffer()}
	b.SetLimitSize(streamBuffer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams++; s.streams <= maxStreams {
		return b
	}
	_ = b.Close() // takes nothing
	if s.streams == maxStreams+1 && !s.closed {
		s.wg.Go(func() { s.fail(errStreams) }) // it waits for the goroutine that is here
	}
	return b
}

// streamPackets are the packets of a stream, in the form that SRTP asks for.
type streamPackets struct{ *packetio.Buffer }

// Read implements [io.Reader], a packet a time.
func (b *streamPackets) Read(p []byte) (int, error) {
	n, _, err := b.Buffer.Read(p, nil)
	return n, err
}

// Write implements [io.Writer], a packet a time.
func (b *streamPackets) Write(p []byte) (int, error) { return b.Buffer.Write(p, nil) }

// ReadWithAttributes reads a packet with what the network said of it.
func (b *streamPackets) ReadWithAttributes(p []byte, a packetio.Attributes) (int, packetio.Attributes, error) {
	return b.Buffer.Read(p, a)
}

// WriteWithAttributes keeps a packet with what the network says of it.
func (b *streamPackets) WriteWithAttributes(p []byte, a packetio.Attributes) (int, error) {
	return b.Buffer.Write(p, a)
}
