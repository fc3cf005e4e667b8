package call

import (
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// ID identifies a call. It is the caller's UUIDv7, so the earlier of two calls has the
// smaller id.
type ID [16]byte

// Phase is the phase of a call:
//
//	out:  Initiating ---> Ringing ---+
//	          |              |       |  a device answers
//	          +--------------+-------+
//	                                 v
//	in:               Ringing --> Connecting --> Connected <--> Reconnecting
//	                     |  accept   |               |               |
//	                     v           v               v               v
//	                  Ended        Ended           Ended           Ended
//
// A call can end in every phase, and every phase except Connected has a time limit. Of an
// ended call only the reason is kept, for peers that still send signals of it.
type Phase uint8

// Phases of a call.
const (
	Initiating   Phase = 1 // out: no device of the peer has reported that it rings
	Ringing      Phase = 2
	Connecting   Phase = 3 // accepted; ICE is looking for a path
	Connected    Phase = 4
	Reconnecting Phase = 5 // the path was lost; ICE is looking for another one
)

// String returns the name used in events.
func (p Phase) String() string {
	switch p {
	case Initiating:
		return local.CallInitiating
	case Ringing:
		return local.CallRinging
	case Connecting:
		return local.CallConnecting
	case Connected:
		return local.CallConnected
	case Reconnecting:
		return local.CallReconnecting
	}
	return "unknown"
}

// Limits.
const (
	// maxRinging bounds the calls ringing here at once.
	maxRinging = 4
	// maxPast bounds the ended calls that are remembered.
	maxPast = 64
	// maxRemote bounds the peer's candidates in one generation.
	maxRemote = 48
	// maxRestarts bounds the ICE restarts of one call.
	maxRestarts = 1000
)

// Times.
const (
	// DefaultRing is how long a call rings by default.
	DefaultRing = time.Minute
	// ringGrace is how much longer the callee rings than the caller asked for, so that the
	// caller's end signal normally arrives first.
	ringGrace = 5 * time.Second
	// connectFor bounds the search for a path, at the start and after a loss. In that time
	// ICE tries every pair several times.
	connectFor = 30 * time.Second
	// repeatEvery is the interval at which an unanswered signal is repeated.
	repeatEvery = 2 * time.Second
	// ringEvery is the interval at which a device repeats that it rings. The answer tells
	// it when it missed the end signal.
	ringEvery = 5 * time.Second
	// gather is how long candidates are collected before they are sent together.
	gather = 20 * time.Millisecond
	// restartAgain is the number of repetitions after which another restart begins.
	restartAgain = 4
	// silent is the number of the caller's repetitions after which a device that has not
	// repeated that it rings gets the offer again: two of its signals were lost, or it was
	// restarted.
	silent = 6
	// closedFor is how long to wait for the peer's end signal after its connection was
	// closed. Then the call ends as if the signal had arrived.
	closedFor = 2 * time.Second
)

// Timer names a timer of a call.
type Timer uint8

// Timers. A call has at most one of each.
const (
	TimerRing    Timer = 1 // limits Initiating and Ringing
	TimerConnect Timer = 2 // limits Connecting and Reconnecting
	TimerRepeat  Timer = 3 // repeats a signal
	TimerGather  Timer = 4 // sends collected candidates
	TimerClosed  Timer = 5 // ends a call whose connection the peer has closed
	timers             = 6
)

// Description is one side's half of a connection.
type Description struct {
	SDP         string
	Fingerprint []byte
	Secret      [e2e.CallSecretSize]byte
}

// target is the state of a called device.
type target struct {
	device key.DeviceID
	state  targetState
	quiet  int // repetitions since it last reported that it rings
}

type targetState uint8

const (
	reached targetState = 1 // the offer was sent
	rings   targetState = 2
	busy    targetState = 3
	absent  targetState = 4 // offline, or does not accept calls
)

// Call is a call that has not ended.
type Call struct {
	ID    ID
	Peer  identity.Address
	Out   bool
	Phase Phase
	// Audio and Video are the media that the caller offers.
	Audio, Video bool
	// Device is the peer's device: the caller's, or the one that accepted the call.
	Device key.DeviceID
	// Offer and Answer are complete when their SDP is set.
	Offer, Answer Description
	// Accepted: the user of this side, or a policy, has agreed. True for a caller.
	Accepted bool
	// Confirmed: the caller has confirmed this device's answer. True for a caller.
	Confirmed bool
	// PeerEnded: the peer has ended the call.
	PeerEnded bool

	ring       time.Duration
	sent       bool                     // out: the offer was sent, and targets lists all devices it was sent to
	spare      [e2e.CallSecretSize]byte // secret of the answer if the peer's own call replaces this one
	targets    []target
	mine       []string // own candidates of this generation
	theirs     []string // the peer's candidates of this generation
	generation uint32
	restart    string // SDP of this side for the restart; empty: not created yet
	restarted  bool   // out: the restart of this generation was answered
	repeats    int    // number of repetitions since the phase or the restart began
	timers     [timers]uint64
}

// past is an ended call, kept to answer peers that still send its signals.
type past struct {
	id     ID
	peer   identity.Address
	device key.DeviceID // that accepted the call; zero: none
	reason e2e.CallReason
}

// State is the state of all calls of a device. The zero State has no calls.
type State struct {
	Calls  []Call
	past   []past
	serial uint64 // of the last timer
	closed bool   // after Shutdown: no new calls
}

func (s State) clone() State {
	s.Calls = slices.Clone(s.Calls)
	for i := range s.Calls {
		c := &s.Calls[i]
		c.targets, c.mine, c.theirs = slices.Clone(c.targets), slices.Clone(c.mine), slices.Clone(c.theirs)
	}
	s.past = slices.Clone(s.past)
	return s
}

// Active returns the call that is outgoing or accepted, or nil.
func (s *State) Active() *Call {
	for i := range s.Calls {
		if c := &s.Calls[i]; c.Accepted {
			return c
		}
	}
	return nil
}

// Find returns a call, or nil.
func (s *State) Find(id ID) *Call {
	for i := range s.Calls {
		if s.Calls[i].ID == id {
			return &s.Calls[i]
		}
	}
	return nil
}
