package call

import (
	"context"
	"io"
	"time"

	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Signals carry what a call says to the peer, and keep what is to be known of it
// later. They may block.
type Signals interface {
	// Check resolves a peer's name and reports whether it may be called.
	Check(ctx context.Context, name string) (peer string, err error)
	// Reachable waits a moment for the server, through which signals go. It fails
	// with unreachable if there is no connection then.
	Reachable(ctx context.Context) error
	// Send seals a signal for a device of a peer, or for all if it is nil, and
	// returns those that it went to. An error of code untrusted is about the
	// peer's identity. What is not delivered is told to [Service.Undelivered].
	Send(ctx context.Context, peer string, to *Device, c *e2e.Call) ([]Device, error)
	// AutoAnswer reports whether the peer's calls are taken unasked.
	AutoAnswer(ctx context.Context, peer string) (bool, error)
	// Record keeps a change of a call in journal and history.
	Record(ctx context.Context, r Record) error
	// Event makes the event that shows a call, for who carries it.
	Event(r Record) local.Event
}

// Record is a change of a call that others are to know of.
type Record struct {
	Peer   string
	Device Device // zero while it is not known
	Began  time.Time
	Call   local.Call
}

// Streams are the ends of a caller's own media, by the names of rpc/local; nil
// if it has none. Media may open each several times, one after the other.
type Streams interface {
	// Input opens a stream that the caller sends.
	Input(name string) (io.ReadCloser, error)
	// Output opens a stream that the caller takes.
	Output(name string) (io.WriteCloser, error)
}

// leaver is a caller's streams that can tell at once whether the caller is still
// there. That the caller has left ends its context, too, but a moment later; a call
// that is taken in that moment would be taken for nobody.
type leaver interface {
	Left() bool
}

// hasLeft reports whether the caller whose streams these are has left.
func hasLeft(s Streams) bool {
	l, ok := s.(leaver)
	return ok && l.Left()
}

// Media make the connections of calls.
type Media interface {
	// Open prepares a connection: sources and destinations are opened, nothing is
	// sent, and no socket is opened.
	Open(ctx context.Context, caller bool, m local.CallMedia, s Streams) (Session, error)
}

// Keys are what the keys of a call's media come from.
type Keys struct {
	Call           ID
	Caller, Callee Device
	Offer, Answer  [e2e.CallSecretSize]byte
}

// Session is the connection of one call. Its methods but Mute, Events and Close
// are called by one goroutine.
type Session interface {
	// Offers says which kinds of media it has a source or a destination for.
	Offers() (audio, video bool)
	Offer(ctx context.Context) (sdp string, fingerprint []byte, err error)
	// Accept answers the peer's offer, also that of a restart.
	Accept(ctx context.Context, sdp string, fingerprint []byte) (answer string, own []byte, err error)
	// Answer takes the peer's answer, also that of a restart.
	Answer(sdp string, fingerprint []byte) error
	SetKeys(k Keys) error
	AddCandidate(c string) error
	Restart(ctx context.Context) (sdp string, err error)
	// Mute stops or continues what is sent of sound or pictures.
	Mute(video, on bool)
	// Events are read until they end, which Close makes.
	Events() <-chan MediaEvent
	// Close ends the connection and returns what it was.
	Close() (*local.CallStats, error)
}

// MediaEvent is what happens in a session: exactly one field is set, but for
// Fault, which goes with a Notice.
type MediaEvent struct {
	Candidate string
	Connected bool
	// Closed says that the peer has ended the connection.
	Closed bool
	// Lost and Failed say that the way is lost: for the moment, or for good.
	Lost   bool
	Failed error
	// Identity, with Failed: the connection is not that of the peer's device.
	Identity bool
	// Ended says that all sources have ended and what they gave is sent.
	Ended bool
	// Notice is a sentence for the user. The last ones may come during Close.
	Notice string
	// Fault is a failure that the call survives, and that is the outcome of a call
	// which ends well otherwise.
	Fault *local.Error
	Stats *local.CallStats
}
