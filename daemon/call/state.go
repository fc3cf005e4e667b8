package call

import (
	"slices"
	"time"

	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// ID names a call: the caller's UUIDv7, so that of two the earlier is smaller.
type ID [16]byte

// Device is a device's id.
type Device [16]byte

// Phase is where a call is:
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
// A call can end in every phase, and each phase but Connected ends by its timer.
// Ended calls are forgotten but for what their peers are told if they go on.
type Phase uint8

// The phases.
const (
	Initiating   Phase = 1 // out: no device of the peer has said that it rings
	Ringing      Phase = 2
	Connecting   Phase = 3 // somebody took it; media look for a way
	Connected    Phase = 4
	Reconnecting Phase = 5 // the way was lost, and another is looked for
)

// String returns the name that events have.
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

// Bounds of the machine.
const (
	// maxRinging bounds the calls that ring here at once.
	maxRinging = 4
	// maxPast bounds the ended calls that are remembered.
	maxPast = 64
	// maxRemote bounds the candidates of a peer in one generation.
	maxRemote = 48
	// maxRestarts bounds the restarts of one call.
	maxRestarts = 1000
)

// Times of the machine.
const (
	// DefaultRing is how long a call rings unless its caller says otherwise.
	DefaultRing = time.Minute
	// ringGrace is how much longer the callee waits than the caller said: the
	// caller's end is to come first.
	ringGrace = 5 * time.Second
	// connectFor bounds the search for a way, at the start and after a loss: ICE
	// has then tried every pair several times.
	connectFor = 30 * time.Second
	// repeatEvery is how often a signal is said again that nothing has answered.
	repeatEvery = 2 * time.Second
	// ringEvery is how often a device says again that it rings, so that it learns
	// soon of an end that was lost.
	ringEvery = 5 * time.Second
	// gather is how long candidates are collected before they are sent.
	gather = 20 * time.Millisecond
	// restartAgain is after how many repetitions another restart begins.
	restartAgain = 4
	// silent is after how many repetitions a device that rang, and has not said so
	// again, is called anew: two of its signals were lost, or it was restarted.
	silent = 6
	// closedFor is how long the peer's hangup may take after its connection has
	// ended; without it the end of the connection is as good.
	closedFor = 2 * time.Second
)

// Timer names a timer of a call.
type Timer uint8

// The timers; each call has one of each at most.
const (
	TimerRing    Timer = 1 // bounds Initiating and Ringing
	TimerConnect Timer = 2 // bounds Connecting and Reconnecting
	TimerRepeat  Timer = 3 // says a signal again
	TimerGather  Timer = 4 // sends candidates
	TimerClosed  Timer = 5 // ends a call whose connection the peer has ended
	timers             = 6
)

// Description is one side's half of a connection.
type Description struct {
	SDP         string
	Fingerprint []byte
	Secret      [e2e.CallSecretSize]byte
}

// target is what is known of a device that was called.
type target struct {
	device Device
	state  targetState
	quiet  int // repetitions since it said that it rings
}

type targetState uint8

const (
	reached targetState = 1 // the offer is on its way
	rings   targetState = 2
	busy    targetState = 3
	absent  targetState = 4 // offline, or it takes none
)

// Call is a call that has not ended.
type Call struct {
	ID    ID
	Peer  string // user@domain
	Out   bool
	Phase Phase
	// Audio and Video are what the caller offers.
	Audio, Video bool
	// Device is the peer's: the caller's, or the one that took the call.
	Device Device
	// Offer and Answer are complete once their SDP is set.
	Offer, Answer Description
	// Accepted: the user of this side, or a policy, has said yes. A caller has.
	Accepted bool
	// Confirmed: the caller has said that this device is the one, or is it itself.
	Confirmed bool
	// PeerEnded: the peer has ended it.
	PeerEnded bool

	ring       time.Duration
	sent       bool                     // out: the offer has left, and targets are all devices it went to
	spare      [e2e.CallSecretSize]byte // the answer's secret if this call gives way to the peer's own
	targets    []target
	mine       []string // own candidates of this generation
	theirs     []string // the peer's
	generation uint32
	restart    string // the restart's SDP of this side, once it is made
	restarted  bool   // out: the restart of this generation is answered
	repeats    int    // since the phase, or the restart, began
	timers     [timers]uint64
}

// past is an ended call: what its peer is told if it still speaks of it.
type past struct {
	id     ID
	peer   string
	device Device // that took it; the others are told so
	reason e2e.CallReason
}

// State is all calls of a device. The zero State has none.
type State struct {
	Calls  []Call
	past   []past
	serial uint64 // of the last timer
	closed bool   // after Shutdown nothing begins
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

// Active returns the call that is not just ringing here; nil if there is none.
func (s *State) Active() *Call {
	for i := range s.Calls {
		if c := &s.Calls[i]; c.Accepted {
			return c
		}
	}
	return nil
}

// Find returns a call; nil if it is not known.
func (s *State) Find(id ID) *Call {
	for i := range s.Calls {
		if s.Calls[i].ID == id {
			return &s.Calls[i]
		}
	}
	return nil
}
