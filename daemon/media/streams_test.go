package media

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// TestStreamsWithoutEnd: a peer that uses one SSRC after the other ends the call;
// a few more than were agreed on are passed over.
func TestStreamsWithoutEnd(t *testing.T) {
	t.Parallel()
	a, b := opusOnly(t)
	p := join(t, a, b)
	p.start(t)
	received(t, p.from[1], 10, 0, 15*time.Second)
	send := func(from, to int) {
		for i := from; i < to; i++ {
			// An error is the end of the connection, which is what is waited for.
			_ = p.caller.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: uint32(i)}})
		}
	}
	send(1, 20)
	received(t, p.from[1], p.callee.Summary().AudioIn.Frames+20, 0, 10*time.Second)
	send(20, 4*maxStreams)
	until(t, p.from[1], 10*time.Second, func(f Failed) bool { return errors.Is(f.Err, errStreams) })
}
