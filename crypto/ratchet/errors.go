package ratchet

import "errors"

// Errors that this package wraps. After any error the session is unchanged and still usable.
var (
	// ErrFormat means that bytes are not an envelope, a prelude or a stored session of this version, or
	// exceed a limit.
	ErrFormat = errors.New("malformed")
	// ErrVersion means that an envelope has another protocol version. It is refused; there is no
	// fallback.
	ErrVersion = errors.New("unknown protocol version")
	// ErrNoSession means that no header key of the session opens the envelope: it belongs to another
	// session, or to one that was deleted.
	ErrNoSession = errors.New("no session opens this envelope")
	// ErrReplay means that the message key of an envelope was used before, or was dropped because of
	// its age.
	ErrReplay = errors.New("message key is used or gone")
	// ErrSkip means that an envelope would skip more than [MaxSkip] messages.
	ErrSkip = errors.New("too many skipped messages")
	// ErrOpen means that an envelope belongs to the session but does not authenticate: its bytes were
	// changed, or it was sealed with other associated data.
	ErrOpen = errors.New("envelope does not authenticate")
	// ErrPeer means that the authenticated peer violates the protocol.
	ErrPeer = errors.New("peer breaks the protocol")
	// ErrParty means that sender, recipient or class do not match the session; so a reflected envelope
	// is refused.
	ErrParty = errors.New("not a party of this session")
	// ErrBundle means that a prekey bundle or the keys for an initial message are incomplete, expired,
	// wrongly signed or for another device.
	ErrBundle = errors.New("bad prekey bundle")
	// ErrGeneration means that a first message claims a generation more than [MaxAhead] minutes ahead
	// of the receiver's clock.
	ErrGeneration = errors.New("the session's generation is too far ahead")
	// ErrExhausted means that a chain or a counter has reached its end.
	ErrExhausted = errors.New("session is exhausted")
)
