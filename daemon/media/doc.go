// Package media is the engine of a call: one [Session] is one peer connection
// with the sources that feed it and the sinks that its peer fills.
//
// It knows WebRTC and nothing of messages: offers, answers and candidates are
// strings that the caller carries to the peer inside the ratchet, and the
// secrets that [Session.SetKeys] takes came the same way. The DTLS certificate
// of the peer is compared with the fingerprint that the caller vouches for, and
// every RTP payload is sealed once more under keys that only the two devices
// can derive (crypto/SPEC.md, "Calls"), so that neither a relay nor a broken
// DTLS handshake opens a call.
//
// A Session may be used by several goroutines. It owns every goroutine and every
// socket that it starts, takes over the sources and sinks that it is given, and
// [Session.Close] waits for all of them. Its callbacks only post to the channel
// of [Session.Events].
package media

import "errors"

// Errors that callers branch on.
var (
	// ErrClosed says that a session has ended.
	ErrClosed = errors.New("call session is closed")
	// ErrFingerprint says that the peer's DTLS certificate is not the one that
	// was announced inside the ratchet.
	ErrFingerprint = errors.New("certificate of the peer does not match its fingerprint")
	// ErrSignal says that an SDP or a candidate is malformed or too large.
	ErrSignal = errors.New("malformed call signal")
	// ErrUnsupported says that this build, or this machine, cannot do what was
	// asked for; the text names what is missing.
	ErrUnsupported = errors.New("not possible here")
	// ErrFormat says that a file, pipe or stream does not hold what its name or
	// its format promises.
	ErrFormat = errors.New("malformed media")
	// ErrRefused says that the peer does not take what a source sends, or sends
	// nothing that a sink takes.
	ErrRefused = errors.New("not taken by the peer")
	// ErrKeys says that keys were set twice or a state does not allow them.
	ErrKeys = errors.New("call keys cannot be set")
)

// errNoPath says that no pair of candidates works (any more).
var errNoPath = errors.New("no path to the peer")
