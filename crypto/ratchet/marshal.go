package ratchet

import (
	"encoding/binary"
	"fmt"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// stateVersion is the version of the stored form. Every change of layout increments it; other versions
// are refused.
const stateVersion = 1

// Marshal returns the session in its stored form, which contains every secret of the session: the
// caller seals it at once and clears it.
func (s *Session) Marshal() []byte { return s.st.marshal() }

// ParseSession parses the output of Marshal and nothing else: every state has exactly one stored form.
// It returns [ErrFormat].
func ParseSession(b []byte) (*Session, error) {
	st, err := parseState(b)
	if err != nil {
		return nil, fmt.Errorf("parse session: %w", err)
	}
	return &Session{st: st}, nil
}

func (s *state) marshal() []byte {
	b := make([]byte, 0, 1024+len(s.prelude)+len(s.offers)*kemSeedSize+kemPublicSize+kemTextSize)
	b = append(b, stateVersion, s.role)
	for _, v := range []bool{s.turn, s.sending, s.confirmed} {
		b = appendBool(b, v)
	}
	b = appendParty(b, s.self)
	b = appendParty(b, s.peer)
	b = append(b, s.transcript[:]...)
	b = append(b, s.handshake[:]...)
	b = binary.BigEndian.AppendUint32(b, s.generation)
	for _, k := range s.fixed() {
		b = append(b, k[:]...)
	}
	for _, n := range s.counters() {
		b = binary.BigEndian.AppendUint32(b, *n)
	}
	b = append(b, uint8(len(s.old)))
	for _, o := range s.old {
		b = binary.BigEndian.AppendUint32(b, o.epoch)
		b = append(b, o.header[:]...)
		b = binary.BigEndian.AppendUint32(b, o.missing)
		b = binary.BigEndian.AppendUint64(b, uint64(o.closed))
	}
	b = appendSized(b, s.prelude)
	b = binary.BigEndian.AppendUint64(b, uint64(s.offerTime))
	b = append(b, s.unanswered, uint8(len(s.offers)))
	for _, o := range s.offers {
		b = binary.BigEndian.AppendUint32(b, o.id)
		b = append(b, o.seed[:]...)
	}
	b = appendBool(b, s.peerOffer != nil)
	if s.peerOffer != nil {
		b = binary.BigEndian.AppendUint32(b, s.peerOffer.id)
		b = append(b, s.peerOffer.ek...)
	}
	b = appendBool(b, s.answer != nil)
	if s.answer != nil {
		b = binary.BigEndian.AppendUint32(b, s.answer.id)
		b = append(b, s.answer.ct...)
	}
	return b
}

// fixed lists the 32-byte fields in the order of the stored form.
func (s *state) fixed() []*[32]byte {
	return []*[32]byte{
		(*[32]byte)(&s.root),
		(*[32]byte)(&s.sendKey), (*[32]byte)(&s.sendHeader), (*[32]byte)(&s.sendHeaderNext),
		(*[32]byte)(&s.recvKey), (*[32]byte)(&s.recvHeader), (*[32]byte)(&s.recvHeaderNext),
		&s.ratchetPrivate, &s.ratchetPublic, &s.remote,
	}
}

// counters lists the 4-byte fields in the order of the stored form.
func (s *state) counters() []*uint32 {
	return []*uint32{
		&s.sendNumber, &s.sendPrevious, &s.recvNumber, &s.recvMissing, &s.epoch,
		&s.offerSent, &s.offerNext, &s.peerSeen,
	}
}

func parseState(b []byte) (*state, error) {
	s := &state{}
	r := reader{rest: b}
	if v := r.u8("version"); r.err == nil && v != stateVersion {
		return nil, fmt.Errorf("stored session of version %d: %w", v, ErrFormat)
	}
	s.role = r.u8("role")
	for _, v := range []*bool{&s.turn, &s.sending, &s.confirmed} {
		*v = r.bool("flag")
	}
	s.self = readParty(&r)
	s.peer = readParty(&r)
	r.copy32(&s.transcript, "transcript")
	r.copy32(&s.handshake, "handshake")
	s.generation = r.u32("generation")
	for _, k := range s.fixed() {
		r.copy32(k, "key")
	}
	for _, n := range s.counters() {
		*n = r.u32("counter")
	}
	s.old = readOld(&r)
	if p := r.sized(MaxPrelude, "prelude"); len(p) > 0 {
		s.prelude = append([]byte(nil), p...)
	}
	s.offerTime = readTime(&r)
	s.unanswered = r.u8("unanswered")
	s.offers = readOffers(&r)
	if r.bool("peer's offer") {
		s.peerOffer = &offer{id: r.u32("peer's offer"), ek: append([]byte(nil), r.take(kemPublicSize, "peer's offer")...)}
	}
	if r.bool("answer") {
		s.answer = &answer{id: r.u32("answer"), ct: append([]byte(nil), r.take(kemTextSize, "answer")...)}
	}
	if err := r.end("session"); err != nil {
		return nil, err
	}
	return s, s.check()
}

func readParty(r *reader) Party {
	var p Party
	addr, err := identity.ParseAddress(string(r.sized(identity.MaxAddress, "address")))
	if err != nil {
		r.fail("address")
	}
	p.Address = addr
	copy(p.Device[:], r.take(key.DeviceIDSize, "device"))
	return p
}

// readTime reads Unix seconds, which are never negative.
func readTime(r *reader) int64 {
	v := r.u64("time")
	if v > 1<<62 {
		r.fail("time")
		return 0
	}
	return int64(v)
}

func readOld(r *reader) []oldChain {
	n := int(r.u8("old chains"))
	if n > MaxOldHeaderKeys {
		r.fail("old chains")
	}
	var list []oldChain
	for range n {
		if r.err != nil {
			return nil
		}
		var o oldChain
		o.epoch = r.u32("old chain")
		r.copy32((*[32]byte)(&o.header), "old chain")
		o.missing = r.u32("old chain")
		o.closed = readTime(r)
		list = append(list, o)
	}
	return list
}

func readOffers(r *reader) []ownOffer {
	n := int(r.u8("offers"))
	if n > MaxOffers {
		r.fail("offers")
	}
	var list []ownOffer
	for range n {
		if r.err != nil {
			return nil
		}
		o := ownOffer{id: r.u32("offer")}
		copy(o.seed[:], r.take(kemSeedSize, "offer"))
		list = append(list, o)
	}
	return list
}

// check refuses states that no sequence of operations can produce, as far as the operations rely on it.
func (s *state) check() error {
	bad := func(what string) error { return fmt.Errorf("stored session: %s: %w", what, ErrFormat) }
	if s.role != roleInitiator && s.role != roleResponder {
		return bad("role")
	}
	if s.self == s.peer {
		return bad("parties")
	}
	if s.unanswered > offerPatience {
		return bad("unanswered")
	}
	if s.prelude != nil {
		if s.role != roleInitiator || s.confirmed {
			return bad("prelude")
		}
		if _, err := parsePrelude(s.prelude); err != nil {
			return bad("prelude")
		}
	} else if s.role == roleInitiator && !s.confirmed {
		return bad("no prelude")
	}
	last := uint32(0)
	for _, o := range s.offers {
		if o.id <= last || o.id >= s.offerNext {
			return bad("offers")
		}
		last = o.id
	}
	last = 0
	for _, o := range s.old {
		if o.epoch <= last || o.epoch >= s.epoch {
			return bad("old chains")
		}
		last = o.epoch
	}
	if s.peerOffer != nil {
		if s.peerOffer.id == 0 || s.peerOffer.id != s.peerSeen {
			return bad("peer's offer")
		}
		if _, err := key.ParseKEMPublic(s.peerOffer.ek); err != nil {
			return bad("peer's offer")
		}
	}
	if s.turn || s.sending {
		if _, err := key.ParseExchangePublic(s.remote[:]); err != nil {
			return bad("remote key")
		}
	}
	return nil
}
