package call

import (
	"context"
	"io"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Signals sends the signals of calls to peers and records calls. Its methods may block.
type Signals interface {
	// Check resolves a peer's name and checks that the peer may be called.
	Check(ctx context.Context, name string) (peer identity.Address, err error)
	// Reachable waits briefly for a connection to the server. Without one it fails with the
	// code unreachable.
	Reachable(ctx context.Context) error
	// Send seals a signal for a device of a peer, or for all devices if to is nil, and
	// returns the devices it was sent to. The code untrusted means a problem with the
	// peer's identity. Delivery failures are reported to [Service.Undelivered].
	Send(ctx context.Context, peer identity.Address, to *key.DeviceID, c *e2e.Call) ([]key.DeviceID, error)
	// AutoAnswer reports whether the peer's calls are answered automatically.
	AutoAnswer(ctx context.Context, peer identity.Address) (bool, error)
	// Record saves a change of a call in journal and history.
	Record(ctx context.Context, r Record) error
	// Event returns the event that shows a call to its owner.
	Event(r Record) local.Event
}

// Record is a change of a call.
type Record struct {
	Peer   identity.Address
	Device key.DeviceID // zero: unknown
	Began  time.Time
	Call   local.Call
}

// Streams are the media streams of a caller, by the names of rpc/local. A nil Streams has
// none. Media may open each stream several times, one after the other.
type Streams interface {
	// Input opens a stream that the caller writes.
	Input(name string) (io.ReadCloser, error)
	// Output opens a stream that the caller reads.
	Output(name string) (io.WriteCloser, error)
}

// leaver is implemented by streams that know at once whether the caller has disconnected.
// Its context ends too, but a moment later, and in between a call could be answered for
// nobody.
type leaver interface {
	Left() bool
}

// hasLeft reports whether the caller of the streams has disconnected.
func hasLeft(s Streams) bool {
	l, ok := s.(leaver)
	return ok && l.Left()
}

// Media opens the media connections of calls.
type Media interface {
	// Open prepares a connection: it opens sources and destinations, but no socket, and
	// sends nothing.
	Open(ctx context.Context, caller bool, m local.CallMedia, s Streams) (Session, error)
}

// Keys is the input from which the keys of a call's media are derived.
type Keys struct {
	Call           ID
	Caller, Callee key.DeviceID
	Offer, Answer  [e2e.CallSecretSize]byte
}

// Session is the media connection of one call. One goroutine calls its methods, except
// Mute, Events and Close.
type Session interface {
	// Offers reports for which media there is a source or a destination.
	Offers() (audio, video bool)
	Offer(ctx context.Context) (sdp string, fingerprint []byte, err error)
	// Accept answers the peer's offer, including one of a restart.
	Accept(ctx context.Context, sdp string, fingerprint []byte) (answer string, own []byte, err error)
	// Answer applies the peer's answer, including one of a restart.
	Answer(sdp string, fingerprint []byte) error
	SetKeys(k Keys) error
	AddCandidate(c string) error
	Restart(ctx context.Context) (sdp string, err error)
	// Mute pauses or resumes sending of sound or video.
	Mute(video, on bool)
	// Events must be read until Close closes the channel.
	Events() <-chan MediaEvent
	// Close ends the connection and returns its statistics.
	Close() (*local.CallStats, error)
}

// MediaEvent is an event of a session. Exactly one field is set, except that Fault comes
// with a Notice and Identity with Failed.
type MediaEvent struct {
	Candidate string
	Connected bool
	// Closed: the peer has closed the connection.
	Closed bool
	// Lost: the connection is interrupted. Failed: it is lost for good.
	Lost   bool
	Failed error
	// Identity: the connection is not with the peer's device.
	Identity bool
	// Ended: all sources have ended and all their data is sent.
	Ended bool
	// Notice is a text for the user. The last ones may come during Close.
	Notice string
	// Fault is a fault that does not end the call. It is the outcome of a call that has no
	// other error.
	Fault *local.Error
	Stats *local.CallStats
}
