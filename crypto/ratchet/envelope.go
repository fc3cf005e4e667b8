package ratchet

import (
	"encoding/binary"
	"fmt"

	"secmsg/crypto/seal"
)

// Kinds of envelopes, the second byte.
const (
	kindInitial uint8 = 1 // has a prelude; begins or repeats a handshake
	kindRegular uint8 = 2
)

// envelopeFixed is the length of version, kind and salt.
const envelopeFixed = 2 + seal.SaltSize

// envelope is the outer form of a message, in parts of the input:
//
//	version 1 | kind 1 | salt 16 | initial only: length 2, prelude
//	length 2, sealed header | sealed body (commitment 32, text, tag 16)
type envelope struct {
	kind    uint8
	salt    seal.Salt
	prelude []byte // nil in a regular message
	front   []byte // everything before the header's length: the header's AD
	header  []byte // sealed
	prefix  []byte // everything before the body: the end of the body's AD
	body    []byte // sealed
}

// IsInitial reports whether an envelope claims to be an initial message. It looks at one byte and says
// nothing about the rest.
func IsInitial(ciphertext []byte) bool {
	return len(ciphertext) > 1 && ciphertext[0] == Version && ciphertext[1] == kindInitial
}

// parseEnvelope splits an envelope. It allocates nothing.
func parseEnvelope(b []byte) (envelope, error) {
	var e envelope
	if len(b) > MaxEnvelope {
		return e, fmt.Errorf("envelope of %d bytes: %w", len(b), ErrFormat)
	}
	r := reader{rest: b}
	if v := r.u8("version"); r.err == nil && v != Version {
		return e, fmt.Errorf("envelope of version %d: %w", v, ErrVersion)
	}
	e.kind = r.u8("kind")
	copy(e.salt[:], r.take(seal.SaltSize, "salt"))
	switch e.kind {
	case kindInitial:
		e.prelude = r.sized(MaxPrelude, "prelude")
	case kindRegular:
	default:
		r.fail("kind")
	}
	e.front = b[:len(b)-len(r.rest)]
	e.header = r.sized(headerSizeTwo+seal.HeaderOverhead, "header")
	e.prefix = b[:len(b)-len(r.rest)]
	e.body = r.rest
	if len(e.body) < seal.BodyOverhead+seal.PadFloor {
		r.fail("body")
	}
	if r.err != nil {
		return envelope{}, fmt.Errorf("envelope: %w", r.err)
	}
	return e, nil
}

// sealEnvelope writes an envelope under a header key and a message key.
func sealEnvelope(m Meta, own ManifestRef, prelude []byte, headerKey, messageKey secret, h header, content []byte) ([]byte, error) {
	return sealSalted(m, own, prelude, headerKey, messageKey, h, content, seal.NewSalt())
}

// sealSalted is sealEnvelope with a given salt.
func sealSalted(m Meta, own ManifestRef, prelude []byte, headerKey, messageKey secret, h header, content []byte, salt seal.Salt) ([]byte, error) {
	plaintext := frame(own, content)
	defer clear(plaintext)
	return sealFramed(m, prelude, headerKey, messageKey, h, plaintext, salt)
}

// sealFramed seals a complete plaintext.
func sealFramed(m Meta, prelude []byte, headerKey, messageKey secret, h header, plaintext []byte, salt seal.Salt) ([]byte, error) {
	kind := kindRegular
	if prelude != nil {
		kind = kindInitial
	}
	out := make([]byte, 0, envelopeFixed+len(prelude)+headerSizeTwo+len(plaintext)+512)
	out = append(out, Version, kind)
	out = append(out, salt[:]...)
	if prelude != nil {
		out = appendSized(out, prelude)
	}
	sealedHeader, err := seal.SealHeader(headerKey[:], salt, out, h.marshal())
	if err != nil {
		return nil, err
	}
	out = binary.BigEndian.AppendUint16(out, uint16(len(sealedHeader)))
	out = append(out, sealedHeader...)
	padded := seal.Pad(plaintext)
	defer clear(padded)
	body, err := seal.SealBody(messageKey[:], salt, associatedData(m, kind, out), padded)
	if err != nil {
		return nil, err
	}
	return append(out, body...), nil
}

// openHeader tries one header key.
func (e envelope) openHeader(headerKey secret) ([]byte, bool) {
	b, err := seal.OpenHeader(headerKey[:], e.salt, e.front, e.header)
	return b, err == nil
}

// openBody opens the body, removes the padding and returns the content and the sender's manifest.
func (e envelope) openBody(m Meta, messageKey secret) ([]byte, ManifestRef, error) {
	padded, err := seal.OpenBody(messageKey[:], e.salt, associatedData(m, e.kind, e.prefix), e.body)
	if err != nil {
		return nil, ManifestRef{}, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	plaintext, err := seal.Unpad(padded)
	if err != nil {
		return nil, ManifestRef{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	ref, content, err := unframe(plaintext)
	if err != nil {
		return nil, ManifestRef{}, fmt.Errorf("body: %w: %w", ErrPeer, err)
	}
	return content, ref, nil
}
