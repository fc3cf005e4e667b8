package call

import (
	"time"

	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Event is what happens to the machine; the types of this file implement it.
type Event interface{ event() }

// Start is the user's wish to call a peer. Secret and Spare are fresh random
// bytes.
type Start struct {
	ID            ID
	Peer          string
	Audio, Video  bool
	Ring          time.Duration
	Secret, Spare [e2e.CallSecretSize]byte
}

// Accept is the user's, or a policy's, consent to take a call. Secret is fresh
// random bytes.
type Accept struct {
	ID     ID
	Secret [e2e.CallSecretSize]byte
}

// Hangup ends a call, or declines it if it rings here.
type Hangup struct{ ID ID }

// Signal came from a device of a peer, through the ratchet.
type Signal struct {
	Peer   string
	Device Device
	Call   *e2e.Call
	Late   bool // an offer that was held back: a missed call
}

// Sent says to which devices a signal for all of them went.
type Sent struct {
	ID      ID
	Devices []Device
}

// Undelivered says that a signal did not reach a device. Gone: the device is not
// connected, or there is none of that id. Denied: its user takes none from this
// account. Else it may reach it later.
type Undelivered struct {
	ID           ID
	Device       Device
	Gone, Denied bool
}

// Unsendable says that a signal could not be sent at all: because of the peer's
// identity, or because nobody can be reached.
type Unsendable struct {
	ID       ID
	Identity bool
	Err      *local.Error // nil: nothing more is known
}

func (e Unsendable) text() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Message
}

// Expired says that a timer has run out.
type Expired struct {
	ID     ID
	Timer  Timer
	Serial uint64
}

// KeyChanged says that a peer's key is not the pinned one any more.
type KeyChanged struct{ Peer string }

// Unwanted says that the user wants nothing more of a peer: it is blocked, or no
// contact any more.
type Unwanted struct{ Peer string }

// NetworkChanged says that this device has other addresses.
type NetworkChanged struct{}

// Shutdown ends everything.
type Shutdown struct{}

// Described is the answer of media to MakeOffer or MakeAnswer.
type Described struct {
	ID          ID
	SDP         string
	Fingerprint []byte
}

// Restarted is the answer of media to MakeRestart or AnswerRestart.
type Restarted struct {
	ID         ID
	Generation uint32
	SDP        string
}

// Candidate is an address of this device.
type Candidate struct {
	ID         ID
	Generation uint32
	Candidate  string
}

// MediaUp says that media can flow.
type MediaUp struct{ ID ID }

// MediaDown says that nothing is heard of the peer, or that there is no way.
type MediaDown struct {
	ID ID
	// Lost: media have given up this way; else it may come back by itself.
	Lost bool
	// Closed: the peer has ended the connection, which cannot come back. The
	// signal that says so may still come.
	Closed bool
	// Identity: the connection was another's. Text says more.
	Identity bool
	Text     string
	// Err is what the user of this side is told; nil: what the reason says.
	Err *local.Error
}

// refused reports whether the two sides have no medium in common.
func (e MediaDown) refused() bool { return e.Err != nil && e.Err.Code == local.CodeRefused }

func (Start) event()          {}
func (Accept) event()         {}
func (Hangup) event()         {}
func (Signal) event()         {}
func (Sent) event()           {}
func (Undelivered) event()    {}
func (Unsendable) event()     {}
func (Expired) event()        {}
func (KeyChanged) event()     {}
func (Unwanted) event()       {}
func (NetworkChanged) event() {}
func (Shutdown) event()       {}
func (Described) event()      {}
func (Restarted) event()      {}
func (Candidate) event()      {}
func (MediaUp) event()        {}
func (MediaDown) event()      {}

// Effect is what the machine asks for; the types below implement it. They are
// carried out in order.
type Effect interface{ effect() }

// Send sends a signal to devices of a peer; nil is all of them.
type Send struct {
	ID   ID
	Peer string
	To   []Device
	Call *e2e.Call
}

// MakeOffer opens the connection of a call that the user starts, and makes its
// offer.
type MakeOffer struct{ ID ID }

// MakeAnswer opens the connection of a call that the user took.
type MakeAnswer struct {
	ID    ID
	Offer Description
}

// TakeAnswer gives media the answer of the device that took the call.
type TakeAnswer struct {
	ID     ID
	Answer Description
}

// SetKeys lets media flow, sealed under the keys of both secrets.
type SetKeys struct {
	ID            ID
	Out           bool
	Device        Device // the peer's
	Offer, Answer [e2e.CallSecretSize]byte
}

// AddCandidates gives media addresses of the peer.
type AddCandidates struct {
	ID         ID
	Candidates []string
}

// MakeRestart looks for a new path; AnswerRestart answers the peer's wish for
// one, and TakeRestart gives media the peer's answer.
type MakeRestart struct {
	ID         ID
	Generation uint32
}

// AnswerRestart: see MakeRestart.
type AnswerRestart struct {
	ID         ID
	Generation uint32
	SDP        string
	// Fingerprint is the peer's, which stays.
	Fingerprint []byte
}

// TakeRestart: see MakeRestart.
type TakeRestart struct {
	ID          ID
	SDP         string
	Fingerprint []byte
}

// StartTimer starts a timer, in the place of one of the same name.
type StartTimer struct {
	ID     ID
	Timer  Timer
	Serial uint64
	After  time.Duration
}

// Tell says that a call is new or in another phase. With a Reason it has ended:
// its connection is closed and its timers are stopped.
type Tell struct {
	Call   Call
	Reason string // of local.Call
	Text   string
	// Err is what the end means to who waits, if Reason does not say it; or nil.
	Err *local.Error
}

// Adopt makes that who waits for one call waits for the other: both sides have
// called each other. The connection of the former is closed.
type Adopt struct{ From, To ID }

func (Send) effect()          {}
func (MakeOffer) effect()     {}
func (MakeAnswer) effect()    {}
func (TakeAnswer) effect()    {}
func (SetKeys) effect()       {}
func (AddCandidates) effect() {}
func (MakeRestart) effect()   {}
func (AnswerRestart) effect() {}
func (TakeRestart) effect()   {}
func (StartTimer) effect()    {}
func (Tell) effect()          {}
func (Adopt) effect()         {}
