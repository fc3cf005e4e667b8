package ratchet

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// SelfKeys are a device's own inputs to a handshake.
type SelfKeys struct {
	Party    Party
	Account  key.SigningPublic   // the account identity key
	Signing  key.SigningPublic   // the device's
	Exchange key.ExchangePrivate // the device's identity key
	Chain    [][]byte            // leaf, issuer: DER; used by Initiate only
	Manifest []byte              // own, signed; used by Initiate only
	// Extensions are written into the prelude, in ascending order of type; usually there are none.
	Extensions []Extension
}

// check makes sure that the peer will find this device in the manifest of the message, so that no
// handshake begins that the peer must refuse.
func (k SelfKeys) check() error {
	manifest, err := identity.VerifyManifest(k.Manifest, k.Party.Address, k.Account)
	if err != nil {
		return fmt.Errorf("own manifest: %w: %w", ErrParty, err)
	}
	entry, err := findDevice(manifest, k.Party.Device)
	if err != nil {
		return fmt.Errorf("own manifest: %w", err)
	}
	if !entry.Signing.Equal(k.Signing) || !entry.Exchange.Equal(k.Exchange.Public()) {
		return fmt.Errorf("own manifest: keys of this device: %w", ErrParty)
	}
	return nil
}

// findDevice returns the entry of a device in a verified manifest, where ids are derived from keys.
func findDevice(m identity.Manifest, id key.DeviceID) (identity.Device, error) {
	d, ok := m.Device(id)
	if !ok {
		return identity.Device{}, fmt.Errorf("device %s is not listed: %w", id, ErrParty)
	}
	return d, nil
}

// handshake contains the public values of a handshake; both ends must agree on them.
type handshake struct {
	initiator, responder               Party
	initiatorAccount, responderAccount key.SigningPublic
	initiatorSigning, responderSigning key.SigningPublic
	initiatorKey, responderKey         key.ExchangePublic // device identity keys
	prelude                            []byte
	header                             *InitialHeader
	signedPrekey                       key.ExchangePublic
	kemPrekey                          key.KEMPublic
	oneTime                            key.ExchangePublic // zero if none
}

// transcript hashes every public value that the handshake depends on, each item with its length in
// front (SPEC "Handshake").
func (h handshake) transcript() [sha512.Size]byte {
	var b []byte
	item := func(parts ...[]byte) {
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		b = appendItem(b, all)
	}
	id := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	item([]byte(labelTranscript))
	item([]byte{Version})
	item([]byte(h.initiator.Address.String()))
	item([]byte(h.responder.Address.String()))
	item(h.initiatorAccount.Bytes())
	item(h.responderAccount.Bytes())
	item(h.initiator.Device[:], h.initiatorSigning.Bytes(), h.initiatorKey.Bytes())
	item(h.responder.Device[:], h.responderSigning.Bytes(), h.responderKey.Bytes())
	item([]byte{uint8(identity.SignedExchange)}, id(h.header.SignedPrekey), h.signedPrekey.Bytes())
	item([]byte{uint8(h.header.KEMKind)}, id(h.header.KEMPrekey), h.kemPrekey.Bytes())
	if h.header.HasOneTime {
		item([]byte{uint8(identity.OneTimeExchange)}, id(h.header.OneTime), h.oneTime.Bytes())
	} else {
		item()
	}
	item(h.prelude)
	return sha512.Sum512(b)
}

// start creates the initial state of an end, from the DH secrets in order and the KEM secret.
func (h handshake) start(role uint8, now int64, secrets [][]byte) (*state, error) {
	t := h.transcript()
	root, first, next, err := handshakeKeys(t, secrets...)
	if err != nil {
		return nil, err
	}
	s := &state{
		role:       role,
		transcript: [hashSize]byte(t[:]),
		handshake:  handshakeHash(h.initiator, h.responder, h.prelude),
		generation: h.header.Generation,
		root:       root,
		offerTime:  now,
		offerNext:  1,
	}
	if role == roleInitiator {
		s.self, s.peer = h.initiator, h.responder
		s.sendHeaderNext, s.recvHeaderNext = first, next
		s.remote = [exchangeSize]byte(h.signedPrekey.Bytes())
		s.prelude = h.prelude
		s.turn = true
	} else {
		s.self, s.peer = h.responder, h.initiator
		s.recvHeaderNext, s.sendHeaderNext = first, next
	}
	return s, nil
}

// dhPair is one X25519 exchange of the handshake.
type dhPair struct {
	own    key.ExchangePrivate
	remote key.ExchangePublic
}

// exchangeAll computes the DH secrets in order. A zero secret is an error.
func exchangeAll(pairs []dhPair) ([][]byte, error) {
	var secrets [][]byte
	for i, p := range pairs {
		s, err := p.own.DH(p.remote)
		if err != nil {
			wipe(secrets)
			return nil, fmt.Errorf("DH%d: %w", i+1, err)
		}
		secrets = append(secrets, s)
	}
	return secrets, nil
}

func wipe(secrets [][]byte) {
	for _, s := range secrets {
		clear(s)
	}
}
