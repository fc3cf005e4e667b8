package ratchet

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// ExtensionType numbers the extensions of an initial message.
type ExtensionType uint8

// Extension types. A receiver ignores unknown types below extensionCritical and refuses the message for
// unknown types from there on.
const (
	// ExtensionChainProof and ExtensionManifestProof are reserved for the inclusion proofs of
	// certificate chain and manifest.
	ExtensionChainProof    ExtensionType = 1
	ExtensionManifestProof ExtensionType = 2
	extensionCritical      ExtensionType = 128
)

// Extension is one extension of an initial message: opaque here, authenticated with the rest of the
// prelude.
type Extension struct {
	Type ExtensionType
	Data []byte
}

// InitialHeader is the clear part of an initial message. Nothing in it can be trusted before Accept has
// succeeded with a peer whose chain and manifest the caller has checked.
type InitialHeader struct {
	Generation uint32       // see [Prefer]
	Device     key.DeviceID // of the initiator
	Ephemeral  key.ExchangePublic

	ResponderVersion uint64   // version of the responder's manifest that was used
	ResponderHash    [32]byte // of that manifest

	SignedPrekey uint32              // key id
	KEMKind      identity.PrekeyKind // last-resort or one-time
	KEMPrekey    uint32              // key id
	HasOneTime   bool
	OneTime      uint32 // key id; 0 without HasOneTime

	KEMCiphertext []byte
	Chain         [][]byte // leaf, issuer: DER
	Manifest      []byte   // the initiator's, signed
	Extensions    []Extension
}

// ParseInitial parses the clear part of an initial message, strictly and within bounds. It returns
// [ErrVersion] and [ErrFormat].
func ParseInitial(ciphertext []byte) (*InitialHeader, error) {
	e, err := parseEnvelope(ciphertext)
	if err != nil {
		return nil, err
	}
	if e.kind != kindInitial {
		return nil, fmt.Errorf("not an initial message: %w", ErrFormat)
	}
	return parsePrelude(e.prelude)
}

// HandshakeHash identifies the handshake of an initial message: a hash of its clear part and of both
// parties. All messages of one handshake have the same hash; a changed one has another hash and does
// not open. The receiver keeps the hash for as long as any private key of the handshake, and accepts no
// second session under it. It returns the errors of [ParseInitial].
func HandshakeHash(m Meta, ciphertext []byte) ([32]byte, error) {
	e, err := parseEnvelope(ciphertext)
	if err != nil {
		return [32]byte{}, err
	}
	if e.kind != kindInitial {
		return [32]byte{}, fmt.Errorf("not an initial message: %w", ErrFormat)
	}
	return handshakeHash(m.Sender, m.Recipient, e.prelude), nil
}

func handshakeHash(initiator, responder Party, prelude []byte) [32]byte {
	b := make([]byte, 0, 256+len(prelude))
	b = append(b, labelHandshake...)
	b = appendParty(b, initiator)
	b = appendParty(b, responder)
	b = append(b, prelude...)
	return sha256.Sum256(b)
}

// marshal writes the prelude:
//
//	generation 4 | device 16 | ephemeral 32 | responder's version 8, hash 32
//	signed prekey 4 | KEM kind 1, id 4 | one-time flag 1, id 4 | ciphertext 1088
//	leaf 2+n | issuer 2+n | manifest 2+n | extensions 2+n: type 1, data 2+n
//
// It returns [ErrFormat] where parsePrelude would refuse the result.
func (h *InitialHeader) marshal() ([]byte, error) {
	if len(h.Chain) != ChainLength {
		return nil, fmt.Errorf("chain of %d certificates: %w", len(h.Chain), ErrFormat)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, MaxPrelude), h.Generation)
	b = append(b, h.Device[:]...)
	b = append(b, h.Ephemeral.Bytes()...)
	b = binary.BigEndian.AppendUint64(b, h.ResponderVersion)
	b = append(b, h.ResponderHash[:]...)
	b = binary.BigEndian.AppendUint32(b, h.SignedPrekey)
	b = append(b, uint8(h.KEMKind))
	b = binary.BigEndian.AppendUint32(b, h.KEMPrekey)
	b = appendBool(b, h.HasOneTime)
	b = binary.BigEndian.AppendUint32(b, h.OneTime)
	b = append(b, h.KEMCiphertext...)
	for _, cert := range h.Chain {
		if len(cert) > identity.MaxCertificate {
			return nil, fmt.Errorf("certificate of %d bytes: %w", len(cert), ErrFormat)
		}
		b = appendSized(b, cert)
	}
	if len(h.Manifest) > identity.MaxManifest {
		return nil, fmt.Errorf("manifest of %d bytes: %w", len(h.Manifest), ErrFormat)
	}
	b = appendSized(b, h.Manifest)
	var extensions []byte
	for _, x := range h.Extensions {
		if len(x.Data) > MaxExtensions {
			return nil, fmt.Errorf("extension of %d bytes: %w", len(x.Data), ErrFormat)
		}
		extensions = append(extensions, uint8(x.Type))
		extensions = appendSized(extensions, x.Data)
	}
	if len(extensions) > MaxExtensions {
		return nil, fmt.Errorf("extensions of %d bytes: %w", len(extensions), ErrFormat)
	}
	b = appendSized(b, extensions)
	if _, err := parsePrelude(b); err != nil {
		return nil, err
	}
	return b, nil
}

// parsePrelude copies the parts that it keeps, so that the envelope can be freed.
func parsePrelude(b []byte) (*InitialHeader, error) {
	if len(b) > MaxPrelude {
		return nil, fmt.Errorf("prelude of %d bytes: %w", len(b), ErrFormat)
	}
	h := &InitialHeader{}
	r := reader{rest: b}
	h.Generation = r.u32("generation")
	copy(h.Device[:], r.take(key.DeviceIDSize, "device"))
	ephemeral := r.take(exchangeSize, "ephemeral")
	h.ResponderVersion = r.u64("responder's version")
	r.copy32(&h.ResponderHash, "responder's hash")
	h.SignedPrekey = r.u32("signed prekey")
	h.KEMKind = identity.PrekeyKind(r.u8("KEM kind"))
	h.KEMPrekey = r.u32("KEM prekey")
	h.HasOneTime = r.bool("one-time flag")
	h.OneTime = r.u32("one-time prekey")
	h.KEMCiphertext = bytes.Clone(r.take(kemTextSize, "KEM ciphertext"))
	for range ChainLength {
		h.Chain = append(h.Chain, bytes.Clone(r.sized(identity.MaxCertificate, "certificate")))
	}
	h.Manifest = bytes.Clone(r.sized(identity.MaxManifest, "manifest"))
	extensions := r.sized(MaxExtensions, "extensions")
	if err := r.end("prelude"); err != nil {
		return nil, fmt.Errorf("prelude: %w", err)
	}
	if h.KEMKind != identity.LastResortKEM && h.KEMKind != identity.OneTimeKEM {
		return nil, fmt.Errorf("prelude: KEM kind %d: %w", h.KEMKind, ErrFormat)
	}
	if !h.HasOneTime && h.OneTime != 0 {
		return nil, fmt.Errorf("prelude: one-time prekey: %w", ErrFormat)
	}
	var err error
	if h.Ephemeral, err = key.ParseExchangePublic(ephemeral); err != nil {
		return nil, fmt.Errorf("prelude: ephemeral: %w: %w", ErrFormat, err)
	}
	if h.Extensions, err = parseExtensions(extensions); err != nil {
		return nil, fmt.Errorf("prelude: %w", err)
	}
	return h, nil
}

// parseExtensions requires ascending types, so that a list has exactly one encoding without duplicates.
// It refuses critical types: this version knows none.
func parseExtensions(b []byte) ([]Extension, error) {
	var list []Extension
	r := reader{rest: b}
	last := ExtensionType(0)
	for len(r.rest) > 0 && r.err == nil {
		t := ExtensionType(r.u8("extension"))
		data := r.sized(MaxExtensions, "extension")
		if r.err == nil && (t <= last || t >= extensionCritical) {
			return nil, fmt.Errorf("extension %d: %w", t, ErrFormat)
		}
		last = t
		list = append(list, Extension{Type: t, Data: bytes.Clone(data)})
	}
	return list, r.err
}
