package call

import (
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Event is an input of the machine. The types in this file implement it.
type Event interface{ event() }

// Start: the user calls a peer. Secret and Spare are fresh random bytes.
type Start struct {
	ID            ID
	Peer          identity.Address
	Audio, Video  bool
	Ring          time.Duration
	Secret, Spare [e2e.CallSecretSize]byte
}

// Accept: the user, or a policy, accepts a call. Secret is fresh random bytes.
type Accept struct {
	ID     ID
	Secret [e2e.CallSecretSize]byte
}

// Hangup: the user ends a call, or declines it while it rings here.
type Hangup struct{ ID ID }

// Signal is a signal from a peer's device, received through the ratchet.
type Signal struct {
	Peer   identity.Address
	Device key.DeviceID
	Call   *e2e.Call
	Late   bool // an offer that was delayed: a missed call
}

// Sent lists the devices to which a broadcast signal was sent.
type Sent struct {
	ID      ID
	Devices []key.DeviceID
}

// Undelivered: a signal did not reach a device. Gone: the device is not connected or does
// not exist. Denied: its user does not accept signals from this account. Otherwise a
// repetition may still reach it.
type Undelivered struct {
	ID           ID
	Device       key.DeviceID
	Gone, Denied bool
}

// Unsendable: a signal could not be sent at all, because of the peer's identity or because
// no device can be reached.
type Unsendable struct {
	ID       ID
	Identity bool
	Err      *local.Error // details, or nil
}

func (e Unsendable) text() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Message
}

// Expired: a timer has expired.
type Expired struct {
	ID     ID
	Timer  Timer
	Serial uint64
}

// KeyChanged: a peer's key no longer matches the pinned one.
type KeyChanged struct{ Peer identity.Address }

// Unwanted: the user has blocked a peer or removed the contact.
type Unwanted struct{ Peer identity.Address }

// NetworkChanged: this device has new addresses.
type NetworkChanged struct{}

// Suspend ends all calls, because the device may not connect for now. New calls may follow.
type Suspend struct{}

// Shutdown ends all calls, for good.
type Shutdown struct{}

// Described is the result of MakeOffer or MakeAnswer.
type Described struct {
	ID          ID
	SDP         string
	Fingerprint []byte
}

// Restarted is the result of MakeRestart or AnswerRestart.
type Restarted struct {
	ID         ID
	Generation uint32
	SDP        string
}

// Candidate is an ICE candidate of this device.
type Candidate struct {
	ID         ID
	Generation uint32
	Candidate  string
}

// MediaUp: the media connection is established.
type MediaUp struct{ ID ID }

// MediaDown: the media connection is interrupted or could not be established.
type MediaDown struct {
	ID ID
	// Lost: ICE has failed. Otherwise the connection may recover by itself.
	Lost bool
	// Closed: the peer has closed the connection, so it cannot recover. The peer's end
	// signal may still arrive.
	Closed bool
	// Identity: the connection is not with the expected device. Text has details.
	Identity bool
	Text     string
	// Err is the error for the user of this side; nil: derived from the reason.
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
func (Suspend) event()        {}
func (Shutdown) event()       {}
func (Described) event()      {}
func (Restarted) event()      {}
func (Candidate) event()      {}
func (MediaUp) event()        {}
func (MediaDown) event()      {}

// Effect is an output of the machine. The types below implement it. Effects are carried out
// in order.
type Effect interface{ effect() }

// Send sends a signal to devices of a peer; nil: to all of them.
type Send struct {
	ID   ID
	Peer identity.Address
	To   []key.DeviceID
	Call *e2e.Call
}

// MakeOffer opens the connection of an outgoing call and creates its offer.
type MakeOffer struct{ ID ID }

// MakeAnswer opens the connection of an accepted call and creates its answer.
type MakeAnswer struct {
	ID    ID
	Offer Description
}

// TakeAnswer applies the answer of the device that accepted the call.
type TakeAnswer struct {
	ID     ID
	Answer Description
}

// SetKeys starts the flow of media, encrypted with keys derived from both secrets.
type SetKeys struct {
	ID            ID
	Out           bool
	Device        key.DeviceID // the peer's device
	Offer, Answer [e2e.CallSecretSize]byte
}

// AddCandidates adds ICE candidates of the peer.
type AddCandidates struct {
	ID         ID
	Candidates []string
}

// MakeRestart starts an ICE restart. AnswerRestart answers the peer's restart, and
// TakeRestart applies the peer's answer.
type MakeRestart struct {
	ID         ID
	Generation uint32
}

// AnswerRestart: see MakeRestart.
type AnswerRestart struct {
	ID         ID
	Generation uint32
	SDP        string
	// Fingerprint is the peer's certificate fingerprint, which a restart does not change.
	Fingerprint []byte
}

// TakeRestart: see MakeRestart.
type TakeRestart struct {
	ID          ID
	SDP         string
	Fingerprint []byte
}

// StartTimer starts a timer and replaces a running one with the same name.
type StartTimer struct {
	ID     ID
	Timer  Timer
	Serial uint64
	After  time.Duration
}

// Tell reports that a call is new or has changed its phase. With a Reason the call has
// ended: its connection is closed and its timers are stopped.
type Tell struct {
	Call   Call
	Reason string // one of the reasons in local.Call
	Text   string
	// Err is the error for the caller that waits for the call, if Reason is not enough; or
	// nil.
	Err *local.Error
}

// Adopt moves the waiting caller from one call to another, because both sides have called
// each other. The connection of From is closed.
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
