package media

import "time"

// Event is what happens in a session; the types of this file implement it.
type Event interface{ event() }

// PairType says how media flow.
type PairType string

// The two ways.
const (
	// Direct is from host to host, also through a NAT.
	Direct PairType = "direct"
	// Relayed is through a TURN server on at least one side.
	Relayed PairType = "relayed"
)

// Candidate is an address of this device that the peer must learn; pass it on
// and give it to the peer's [Session.AddCandidate].
type Candidate struct {
	// SDP is the candidate attribute's value (RFC 8839, section 5.1).
	SDP string
}

// CandidatesDone says that there will be no further candidate until a restart.
type CandidatesDone struct{}

// Connected says that the connection stands and the peer's certificate is the
// announced one; it comes again after a reconnection.
type Connected struct {
	// Pair is how media flow now.
	Pair PairType
}

// Disconnected says that nothing was heard from the peer for some seconds. The
// connection may come back by itself, or by [Session.Restart].
type Disconnected struct{}

// Closed says that the peer has ended the connection, under its certificate. It
// cannot come back.
type Closed struct{}

// Failed says that the connection is lost, and why. After [ErrFingerprint] the
// session sends and takes nothing more; else a restart may help.
type Failed struct {
	// Err is the reason.
	Err error
}

// Notice is something the user should know and that does not end the call, as
// a codec that the peer does not take.
type Notice struct {
	// Text is one sentence.
	Text string
}

// SourceEnded says that a source has no more frames and all of them were sent.
type SourceEnded struct {
	// Kind is which.
	Kind Kind
	// Err is nil at an ordinary end.
	Err error
}

// SinkFailed says that a sink takes nothing more: a full disk, a closed pipe, a
// player that was quit. The call goes on without it. At the end of a call it says
// that a sink could not be completed.
type SinkFailed struct {
	// Kind is what it was given; zero at the end of one that takes both.
	Kind Kind
	// Err is why.
	Err error
}

// Stream is one direction of one kind, in [Stats].
type Stream struct {
	// Frames, Packets and Bytes are totals; bytes count payloads before sealing.
	Frames, Packets, Bytes uint64
	// BitRate is of the last second (in a summary: of the call), in bit/s.
	BitRate int
	// Lost counts packets that never came (receiving), or that the peer says it
	// never got (sending).
	Lost uint64
	// Loss is the lost share of the last second (in a summary: of the call), 0 to 1.
	Loss float64
	// Jitter is the variation of arrival (RFC 3550, section 6.4.1).
	Jitter time.Duration
	// Refused counts packets that did not open: replayed, forged or under
	// another key. Receiving only.
	Refused uint64
	// Dropped counts frames that were incomplete or waited for a key frame.
	// Receiving only.
	Dropped uint64
	// Codec is empty while nothing flows.
	Codec Codec
	// Muted says that silence, or no picture, is sent.
	Muted bool
}

// Stats is the state of a call, each second while it is connected.
type Stats struct {
	// Pair is how media flow.
	Pair PairType
	// RoundTrip is the time to the peer and back; zero until known.
	RoundTrip time.Duration
	// Target is the bit rate that congestion control allows, in bit/s; zero
	// when nothing is sent.
	Target int
	// Sent and received streams of each kind.
	AudioOut, VideoOut, AudioIn, VideoIn Stream
}

// Summary is what a call was, for after its end.
type Summary struct {
	// Stats holds totals; rates and shares are of the whole call.
	Stats
	// Duration is how long the connection stood.
	Duration time.Duration
}

func (Candidate) event()      {}
func (CandidatesDone) event() {}
func (Connected) event()      {}
func (Disconnected) event()   {}
func (Closed) event()         {}
func (Failed) event()         {}
func (Notice) event()         {}
func (SourceEnded) event()    {}
func (SinkFailed) event()     {}
func (Stats) event()          {}
