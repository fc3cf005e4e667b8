// Package media handles the media of a call: a [Session] is one peer connection with the
// sources that feed it and the sinks that receive the peer's media.
//
// It knows WebRTC but no messages: offers, answers and candidates are strings that the
// caller sends to the peer through the ratchet, as are the secrets passed to
// [Session.SetKeys]. The peer's DTLS certificate must match the fingerprint that the caller
// passes, and every RTP payload is encrypted again with keys that only the two devices can
// derive (crypto/SPEC.md, "Calls"). So neither a relay nor a broken DTLS handshake can
// decrypt a call.
//
// A Session may be used by several goroutines. It owns all goroutines and sockets that it
// starts and the sources and sinks passed to it; [Session.Close] waits for all of them. Its
// callbacks only post to the channel of [Session.Events].
package media

import "errors"

// Errors that callers distinguish.
var (
	// ErrClosed: the session has ended.
	ErrClosed = errors.New("call session is closed")
	// ErrFingerprint: the peer's DTLS certificate is not the one announced through the
	// ratchet.
	ErrFingerprint = errors.New("certificate of the peer does not match its fingerprint")
	// ErrSignal: an SDP or a candidate is malformed or too large.
	ErrSignal = errors.New("malformed call signal")
	// ErrUnsupported: this build or machine lacks something that is needed; the text says
	// what.
	ErrUnsupported = errors.New("not supported here")
	// ErrFormat: a file, FIFO or stream does not have the format indicated by its name or
	// option.
	ErrFormat = errors.New("malformed media")
	// ErrRefused: the peer does not accept the media of a source, or sends none that a
	// sink accepts.
	ErrRefused = errors.New("refused by the peer")
	// ErrKeys: keys were set twice, or the state does not allow it.
	ErrKeys = errors.New("call keys cannot be set")
)

// errNoPath: no pair of candidates works (any longer).
var errNoPath = errors.New("no path to the peer")
