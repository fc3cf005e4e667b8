package ratchet

import (
	"time"

	"secmsg/crypto/key"
	"secmsg/crypto/seal"
)

// Version is the protocol version, the first byte of every envelope. There is
// no negotiation: another version is refused.
const Version = 1

// Labels of key derivation and hashing (SPEC "Session: labels"). Each use of a
// secret has a label of its own, so that no output can stand in for another.
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
	chainMessage = 0x01 // gives the message key
	chainNext    = 0x02 // gives the next chain key
)

// Limits of the ratchet (SPEC "Session: limits").
const (
	// MaxSkip is how many message keys one message may skip, in the old chain
	// and the new one together. It is checked before anything is hashed.
	MaxSkip = 1000
	// MaxStoredKeys is how many skipped message keys the caller keeps for a
	// session; the oldest go first. See [Session.Expired].
	MaxStoredKeys = 2000
	// MaxOldHeaderKeys is how many header keys of earlier receiving chains are
	// tried, so that an envelope costs at most this and two more trials.
	MaxOldHeaderKeys = 5
	// SkippedLifetime is after how long a skipped message key is dropped.
	SkippedLifetime = 30 * 24 * time.Hour
	// SkippedSteps and SkippedMinimum together are the early end of a skipped
	// message key: dropped once its chain is this many ratchet steps old and
	// the key this old.
	SkippedSteps   = 5
	SkippedMinimum = 24 * time.Hour
)

// Limits of the post-quantum ratchet (SPEC "Session: post-quantum ratchet").
const (
	// OfferMessages and OfferInterval say when an encapsulation key is offered:
	// after so many messages sent, or so much time, since the last offer.
	OfferMessages = 50
	OfferInterval = 24 * time.Hour
	// MaxOffers is how many decapsulation keys wait for an answer.
	MaxOffers = 2
	// offerPatience is how many of the peer's chains may leave an offer
	// unanswered before it is repeated. The first may have been begun before
	// the offer came; the second shows that the offer was lost.
	offerPatience = 2
)

// Limits of a set of sessions (SPEC "Session: sessions with one device").
const (
	// MaxPrevious is how many sessions are kept for receiving beside the
	// active one.
	MaxPrevious = 3
	// PreviousLifetime is how long a session is kept after the first use of
	// the one that took its place.
	PreviousLifetime = 24 * time.Hour
	// MaxAhead is how far, in minutes, the generation of a session may be ahead of
	// its receiver's clock: an hour that an initiator may go ahead of its own
	// (ownAhead), and an hour for the difference of the clocks. Without the bound,
	// whoever can make one handshake could claim the largest generation, and its
	// session would stay active for ever.
	MaxAhead = 120
	// ownAhead is how far an initiator goes ahead of its own clock so that its new
	// session is preferred to those it knows: 60 sessions within a minute.
	ownAhead = 60
	// RebuildInterval is the least time between two sessions that a device
	// starts because a message did not open.
	RebuildInterval = time.Hour
)

// Limits of an envelope in bytes (SPEC "Session: envelope").
const (
	// MaxPlaintext is the longest content: a text of 64 KiB and its frame.
	MaxPlaintext = 72 << 10
	// MaxEnvelope is the longest envelope: what the relay carries.
	MaxEnvelope = 96 << 10
	// MaxPrelude is the longest clear part of an initial message, so that a
	// first request with 1 KiB of text stays below 12 KiB.
	MaxPrelude = 10 << 10
	// ChainLength is the number of certificates in a chain: leaf and issuer.
	ChainLength = 2
	// MaxExtensions is the room for extensions of an initial message: two
	// inclusion proofs of a log of 2^32 leaves, with signed checkpoint.
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
