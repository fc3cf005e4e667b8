package ratchet

import "errors"

// Errors that this package wraps. Whatever the error, the session that was
// asked is unchanged and still good.
var (
	// ErrFormat says that bytes are not an envelope, a prelude or a stored
	// session of this version, or exceed a limit.
	ErrFormat = errors.New("malformed")
	// ErrVersion says that an envelope is of another protocol version. It is
	// refused; there is nothing to fall back to.
	ErrVersion = errors.New("unknown protocol version")
	// ErrNoSession says that no header key of the session opens the envelope:
	// it belongs to another session, or to one that is gone.
	ErrNoSession = errors.New("no session opens this envelope")
	// ErrReplay says that the message key of an envelope was used before, or
	// was dropped with age.
	ErrReplay = errors.New("message key is used or gone")
	// ErrSkip says that an envelope would skip more than [MaxSkip] messages.
	ErrSkip = errors.New("too many skipped messages")
	// ErrOpen says that an envelope belongs to the session but does not
	// authenticate: changed bytes, or other associated data than it was sealed
	// with.
	ErrOpen = errors.New("envelope does not authenticate")
	// ErrPeer says that the peer, who is authenticated, broke the protocol.
	ErrPeer = errors.New("peer breaks the protocol")
	// ErrParty says that sender, recipient or class are not those of the
	// session; so a reflected envelope is refused.
	ErrParty = errors.New("not a party of this session")
	// ErrBundle says that a prekey bundle or the keys for an initial message
	// are incomplete, expired, wrongly signed or for another device.
	ErrBundle = errors.New("bad prekey bundle")
	// ErrGeneration says that a first message claims a generation more than
	// [MaxAhead] minutes ahead of the receiver's clock.
	ErrGeneration = errors.New("the session's generation is too far ahead")
	// ErrExhausted says that a chain or a counter is at its end.
	ErrExhausted = errors.New("session is exhausted")
)
