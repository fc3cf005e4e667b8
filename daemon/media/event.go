package media

import "time"

// Event is an event of a session. The types in this file implement it.
type Event interface{ event() }

// PairType is the type of path that media take.
type PairType string

// Types of paths.
const (
	// Direct: from host to host, possibly through NAT.
	Direct PairType = "direct"
	// Relayed: through a TURN server on at least one side.
	Relayed PairType = "relayed"
)

// Candidate is an ICE candidate of this device. Send it to the peer, and pass it to the
// peer's [Session.AddCandidate].
type Candidate struct {
	// SDP is the value of the candidate attribute (RFC 8839, section 5.1).
	SDP string
}

// CandidatesDone: there are no further candidates until a restart.
type CandidatesDone struct{}

// Connected: the connection is established, and the peer's certificate is the announced
// one. It is posted again after a reconnection.
type Connected struct {
	// Pair is the present type of path.
	Pair PairType
}

// Disconnected: nothing was received from the peer for several seconds. The connection may
// recover by itself, or by [Session.Restart].
type Disconnected struct{}

// Closed: the peer has ended the connection, authenticated by its certificate. It cannot
// recover.
type Closed struct{}

// Failed: the connection is lost. After [ErrFingerprint] the session no longer sends or
// accepts anything; otherwise a restart may help.
type Failed struct {
	// Err is the reason.
	Err error
}

// Notice is information for the user that does not end the call, such as a codec that the
// peer does not accept.
type Notice struct {
	// Text is one sentence.
	Text string
}

// SourceEnded: a source has ended and all its frames were sent.
type SourceEnded struct {
	// Kind is the source's kind.
	Kind Kind
	// Err is nil after a normal end.
	Err error
}

// SinkFailed: a sink has stopped accepting frames, because of a full disk, a closed pipe, or a
// player that was quit. The call continues without it. At the end of a call it means that a
// sink could not be completed.
type SinkFailed struct {
	// Kind is the kind of the sink; zero at the end of a sink for both.
	Kind Kind
	// Err is the reason.
	Err error
}

// Stream has the statistics of one direction and kind, in [Stats].
type Stream struct {
	// Frames, Packets and Bytes are totals. Bytes counts unencrypted payloads.
	Frames, Packets, Bytes uint64
	// BitRate is that of the last second (in a summary: of the call), in bit/s.
	BitRate int
	// Lost is the number of packets that never arrived (receiving), or that the peer
	// reports as missing (sending).
	Lost uint64
	// Loss is the lost share in the last second (in a summary: of the call), 0 to 1.
	Loss float64
	// Jitter is the variation of arrival times (RFC 3550, section 6.4.1).
	Jitter time.Duration
	// Refused is the number of packets that failed authentication: replayed, forged or with
	// another key. Receiving only.
	Refused uint64
	// Dropped is the number of frames that were incomplete or needed a missing key frame.
	// Receiving only.
	Dropped uint64
	// Codec is empty if nothing is transferred.
	Codec Codec
	// Muted: silence, or no video, is sent.
	Muted bool
}

// Stats is the state of a call, posted each second while it is connected.
type Stats struct {
	// Pair is the type of path.
	Pair PairType
	// RoundTrip is the round-trip time to the peer; zero: unknown.
	RoundTrip time.Duration
	// Target is the bit rate allowed by congestion control, in bit/s; zero if nothing is
	// sent.
	Target int
	// Sent and received streams of each kind.
	AudioOut, VideoOut, AudioIn, VideoIn Stream
}

// Summary has the statistics of a whole call.
type Summary struct {
	// Stats has totals; rates and shares are averages of the whole call.
	Stats
	// Duration is the total time that the connection was established.
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
