package ratchet

import (
	"time"

	"secmsg/crypto/key"
	"secmsg/crypto/seal"
)

// Version is the protocol version, the first byte of every envelope. There is no negotiation: other
// versions are refused.
const Version = 1

// Labels of key derivation and hashing (SPEC "Derivations"). Each use of a secret has its own
// label, so that no output can be taken for another.
const (
	labelTranscript = "secmsg v1 transcript"
	labelHandshake  = "secmsg v1 handshake hash"
	labelKeys       = "secmsg v1 handshake keys"
	labelRoot       = "secmsg v1 root"
	labelRootKEM    = "secmsg v1 root kem"
	labelMessage    = "secmsg v1 message"
)

// Chain key derivation: one byte through HMAC-SHA512 (double ratchet
// specification, section 5.2).
const (
	chainMessage = 0x01 // derives the message key
	chainNext    = 0x02 // derives the next chain key
)

// Limits of the ratchet (SPEC "Limits").
const (
	// MaxSkip is how many message keys one message may skip, in the old chain and the new one together.
	// It is checked before anything is hashed.
	MaxSkip = 1000
	// MaxStoredKeys is how many skipped message keys the caller stores for a session; the oldest are
	// dropped first. See [Session.Expired].
	MaxStoredKeys = 2000
	// MaxOldHeaderKeys is how many header keys of earlier receiving chains are tried. So an envelope
	// costs at most this many and two more trials.
	MaxOldHeaderKeys = 5
	// SkippedLifetime is the age at which a skipped message key is dropped.
	SkippedLifetime = 30 * 24 * time.Hour
	// SkippedSteps and SkippedMinimum together allow dropping a skipped message key earlier: once its
	// chain is this many ratchet steps old and the key this old.
	SkippedSteps   = 5
	SkippedMinimum = 24 * time.Hour
)

// Limits of the post-quantum ratchet (SPEC "Post-quantum ratchet").
const (
	// OfferMessages and OfferInterval determine when an encapsulation key is offered: after this many
	// messages sent, or this much time, since the last offer.
	OfferMessages = 50
	OfferInterval = 24 * time.Hour
	// MaxOffers is how many decapsulation keys may wait for an answer.
	MaxOffers = 2
	// offerPatience is how many of the peer's chains may leave an offer unanswered before it is
	// repeated. The first may have been begun before the offer arrived; the second shows that the offer
	// was lost.
	offerPatience = 2
)

// Limits of a set of sessions (SPEC "Simultaneous initiation").
const (
	// MaxPrevious is how many sessions besides the active one are kept for receiving.
	MaxPrevious = 3
	// PreviousLifetime is how long a session is kept after the first use of the session that replaced
	// it.
	PreviousLifetime = 24 * time.Hour
	// MaxAhead is how far, in minutes, the generation of a session may be ahead of its receiver's
	// clock: an hour that an initiator may go ahead of its own clock (ownAhead), and an hour for the
	// difference of the clocks. Without the bound, whoever can complete one handshake could claim the
	// largest generation, and that session would stay active for ever.
	MaxAhead = 120
	// ownAhead is how far an initiator goes ahead of its own clock so that its new session is preferred
	// to those it knows: 60 sessions within a minute.
	ownAhead = 60
	// RebuildInterval is the least time between two sessions that a device starts because a message did
	// not open.
	RebuildInterval = time.Hour
)

// Limits of an envelope in bytes (SPEC "Envelope").
const (
	// MaxPlaintext is the longest content: a text of 64 KiB and its frame.
	MaxPlaintext = 72 << 10
	// MaxEnvelope is the longest envelope: the limit of the relay.
	MaxEnvelope = 96 << 10
	// MaxPrelude is the longest clear part of an initial message, so that a first request with 1 KiB of
	// text stays below 12 KiB.
	MaxPrelude = 10 << 10
	// ChainLength is the number of certificates in a chain: leaf and issuer.
	ChainLength = 2
	// MaxExtensions is the space for extensions of an initial message: two inclusion proofs of a log of
	// 2^32 leaves, with a signed checkpoint.
	MaxExtensions = 3 << 10
)

// Sizes in bytes.
const (
	secretSize    = seal.SecretSize
	hashSize      = 32
	exchangeSize  = key.ExchangePublicSize
	kemPublicSize = key.KEMPublicSize
	kemSeedSize   = key.KEMSeedSize
	kemTextSize   = key.KEMCiphertextSize
)
