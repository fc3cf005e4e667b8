package ratchet

import (
	"time"

	"secmsg/crypto/key"
)

// Roles of a session. They are stored, so the numbers never change.
const (
	roleInitiator uint8 = 1
	roleResponder uint8 = 2
)

// state is the state of a session. It is never changed once a Session holds it: every operation works
// on a clone, whose slices are replaced, not written.
//
//	            Seal                     Open (peer's new chain)
//	initiator: turn --> sending chain ------------> turn --> ...
//	responder:          (no sending chain) -------> turn --> ...
//
// turn: the next Seal begins a sending chain with a new ratchet key. That step happens when the first
// message is sealed, and not, as in the double ratchet specification, when the peer's key arrives: so
// the key is as young as possible, and Open needs no randomness. While it is the session's turn, the
// peer cannot have begun another chain, so its next header key is not tried.
type state struct {
	// Constant.
	role       uint8
	self, peer Party
	transcript [hashSize]byte // first half of the transcript hash: the id
	handshake  [hashSize]byte
	generation uint32

	// Double ratchet (the specification's names in brackets).
	root           secret             // [RK]
	sendKey        secret             // [CKs]
	sendHeader     secret             // [HKs]
	sendHeaderNext secret             // [NHKs]
	sendNumber     uint32             // [Ns]
	sendPrevious   uint32             // [PN]
	recvKey        secret             // [CKr]
	recvHeader     secret             // [HKr]
	recvHeaderNext secret             // [NHKr]
	recvNumber     uint32             // [Nr]
	recvMissing    uint32             // skipped in the receiving chain and not received since
	ratchetPrivate [exchangeSize]byte // [DHs]
	ratchetPublic  [exchangeSize]byte
	remote         [exchangeSize]byte // [DHr]; zero for a responder that has opened nothing
	epoch          uint32             // number of the receiving chain, from 1; 0: none yet
	turn           bool
	sending        bool // a sending chain exists
	confirmed      bool
	old            []oldChain // newest last

	prelude []byte // of an unconfirmed initiator

	// Post-quantum ratchet, our offers.
	offerTime  int64  // Unix seconds of the last offer, at first of the handshake
	offerSent  uint32 // messages since then
	offerNext  uint32 // id of the next new key
	unanswered uint8  // the peer's chains without an answer since the last offer
	offers     []ownOffer
	// Post-quantum ratchet, the peer's offers.
	peerSeen  uint32  // largest id seen
	peerOffer *offer  // our next chain answers it
	answer    *answer // in every header of our sending chain
}

// oldChain is a receiving chain that the peer has left.
type oldChain struct {
	epoch   uint32
	header  secret
	missing uint32 // skipped and not received since
	closed  int64  // Unix seconds
}

// ownOffer is a decapsulation key that waits for an answer.
type ownOffer struct {
	id   uint32
	seed [kemSeedSize]byte
}

func (s *state) clone() *state {
	next := *s
	return &next
}

// Session is one end of a session. It is immutable and prints as "(redacted)". The zero value is not a
// session: every method except [Session.IsZero] needs one that comes from Initiate, Accept or
// ParseSession.
type Session struct {
	key.Redacted
	st *state
}

// IsZero reports whether s is nil or holds no state.
func (s *Session) IsZero() bool { return s == nil || s.st == nil }

// Self returns this end of the session.
func (s *Session) Self() Party { return s.st.self }

// Peer returns the other end of the session.
func (s *Session) Peer() Party { return s.st.peer }

// TranscriptHash returns the first 32 bytes of the hash of the handshake's transcript. Both ends have
// the same; it is not secret, and it is the session's id for its whole life.
func (s *Session) TranscriptHash() [32]byte { return s.st.transcript }

// HandshakeHash returns the [HandshakeHash] of the initial messages of this session.
func (s *Session) HandshakeHash() [32]byte { return s.st.handshake }

// Generation returns the generation chosen by the initiator. Of two sessions the one with the larger generation sends.
func (s *Session) Generation() uint32 { return s.st.generation }

// Confirmed reports whether a message of this end has reached the peer: a message came back that the
// peer could not have sealed otherwise. Until then an initiator sends initial messages.
func (s *Session) Confirmed() bool { return s.st.confirmed }

// prefers reports whether a should send rather than b, another session between the same devices: the
// one with the larger generation does or, if the generations are equal, the one with the smaller
// transcript hash. Both ends know both values, so they agree without a negotiation, in whatever order
// messages arrive (SPEC "Simultaneous initiation"). A generation that no receiver would accept
// now, more than [MaxAhead] minutes ahead, counts as 0: it was created under a wrong clock and must not
// keep its session active.
func prefers(a, b *state, now int64) bool {
	ga, gb := a.effective(now), b.effective(now)
	if ga != gb {
		return ga > gb
	}
	return string(a.transcript[:]) < string(b.transcript[:])
}

// effective is the generation that counts at a time.
func (s *state) effective(now int64) uint32 {
	if s.generation > latestGeneration(now) {
		return 0
	}
	return s.generation
}

// unix returns t in seconds, and 0 for times before 1970.
func unix(t time.Time) int64 { return max(t.Unix(), 0) }
