package ratchet

import (
	"bytes"
	"encoding/binary"

	"secmsg/crypto/key"
)

// Flags of a header.
const (
	flagOffer  = 1 << 0 // an encapsulation key follows
	flagAnswer = 1 << 1 // a KEM ciphertext follows
)

// A header has one of three lengths, by the number of its KEM items, so that the length does not reveal
// which item it has: an answer is padded to the length of an offer.
const (
	headerSizeNone = exchangeSize + 4 + 4 + 1
	headerSizeOne  = headerSizeNone + 4 + kemPublicSize
	headerSizeTwo  = headerSizeOne + 4 + kemTextSize
)

// header is the encrypted part of an envelope that controls the ratchet:
//
//	ratchet key 32 | previous 4 | number 4 | flags 1
//	offer: id 4, encapsulation key 1184 | answer: id 4, ciphertext 1088 | zeros
type header struct {
	ratchet  [exchangeSize]byte // the sender's ratchet key
	previous uint32             // messages in the sender's previous chain
	number   uint32             // number of this message in its chain, from 0
	offer    *offer             // nil in most messages
	answer   *answer            // set in every message of a chain, or in none
}

// offer is an encapsulation key that its owner asks the peer to use.
type offer struct {
	id uint32 // from 1, one higher for each new key
	ek []byte
}

// answer is the ciphertext of the secret that was mixed into the root of a sending chain.
type answer struct {
	id uint32 // of the offer that it answers
	ct []byte
}

func (h header) marshal() []byte {
	size, flags := headerSizeNone, uint8(0)
	switch {
	case h.offer != nil && h.answer != nil:
		size, flags = headerSizeTwo, flagOffer|flagAnswer
	case h.offer != nil:
		size, flags = headerSizeOne, flagOffer
	case h.answer != nil:
		size, flags = headerSizeOne, flagAnswer
	}
	b := make([]byte, 0, size)
	b = append(b, h.ratchet[:]...)
	b = binary.BigEndian.AppendUint32(b, h.previous)
	b = binary.BigEndian.AppendUint32(b, h.number)
	b = append(b, flags)
	if h.offer != nil {
		b = binary.BigEndian.AppendUint32(b, h.offer.id)
		b = append(b, h.offer.ek...)
	}
	if h.answer != nil {
		b = binary.BigEndian.AppendUint32(b, h.answer.id)
		b = append(b, h.answer.ct...)
	}
	return b[:size] // the rest of the capacity is zero
}

// parseHeader is strict: each header has exactly one encoding.
func parseHeader(b []byte) (header, error) {
	var h header
	r := reader{rest: b}
	copy(h.ratchet[:], r.take(exchangeSize, "ratchet key"))
	h.previous = r.u32("previous")
	h.number = r.u32("number")
	flags := r.u8("flags")
	if flags&flagOffer != 0 {
		h.offer = &offer{id: r.u32("offer"), ek: bytes.Clone(r.take(kemPublicSize, "offer"))}
	}
	if flags&flagAnswer != 0 {
		h.answer = &answer{id: r.u32("answer"), ct: bytes.Clone(r.take(kemTextSize, "answer"))}
	}
	size := headerSizeNone
	switch {
	case flags == flagOffer|flagAnswer:
		size = headerSizeTwo
	case flags == flagOffer, flags == flagAnswer:
		size = headerSizeOne
	case flags != 0:
		r.fail("flags")
	}
	if len(b) != size || len(bytes.Trim(r.rest, "\x00")) != 0 {
		r.fail("header")
	}
	if r.err != nil {
		return header{}, r.err
	}
	if _, err := key.ParseExchangePublic(h.ratchet[:]); err != nil {
		return header{}, err
	}
	return h, nil
}
