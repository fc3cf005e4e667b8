package ratchet

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// SelfKeys is what a device brings to a handshake.
type SelfKeys struct {
	Party    Party
	Account  key.SigningPublic   // the account identity key
	Signing  key.SigningPublic   // the device's
	Exchange key.ExchangePrivate // the device's identity key
	Chain    [][]byte            // leaf, issuer: DER; used by Initiate only
	Manifest []byte              // own, signed; used by Initiate only
	// Extensions go into the prelude, in rising order of type; usually none.
	Extensions []Extension
}

// Bundle is what an initiator knows of the responder's device. The caller has
// checked trust; Initiate checks every signature again.
type Bundle struct {
	Party        Party
	Account      key.SigningPublic // the pinned account identity key
	Manifest     []byte            // signed; lists the device
	SignedPrekey identity.Prekey
	KEMPrekey    identity.Prekey  // last-resort or one-time; never missing
	OneTime      *identity.Prekey // nil when the stock is exhausted
}

// ExchangePrekey is the private half of an X25519 prekey.
type ExchangePrekey struct {
	ID      uint32
	Private key.ExchangePrivate
}

// KEMPrekey is the private half of an ML-KEM-768 prekey.
type KEMPrekey struct {
	Kind    identity.PrekeyKind
	ID      uint32
	Private key.KEMPrivate
}

// ResponderKeys are the private prekeys that an [InitialHeader] names.
type ResponderKeys struct {
	SignedPrekey ExchangePrekey
	KEM          KEMPrekey
	OneTime      *ExchangePrekey // nil exactly when the header names none
}

// VerifiedPeer is the initiator as the caller has verified it: the certificate
// chain of the header against the pin, and the policy.
type VerifiedPeer struct {
	Party   Party
	Account key.SigningPublic // the pinned account identity key
}

// handshake holds both ends' view of the public values; both must agree.
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

// transcript hashes everything public that the handshake depends on, each item
// behind its length (SPEC "Session: transcript").
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

// start makes the state that both ends begin with, from the DH secrets in
// order and the KEM secret.
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

// Initiate begins a session with the device of a bundle, as the first one with
// it; a device that may have sessions already uses [Set.Initiate]. Nothing is
// sent: the first Seal makes the first message. It fails with [ErrBundle] if
// anything in the bundle is missing, expired, for another purpose or device, or
// wrongly signed. There is no handshake without a KEM prekey.
func Initiate(self SelfKeys, b Bundle, now time.Time) (*Session, error) {
	return initiate(self, b, generationAt(now), now)
}

func initiate(self SelfKeys, b Bundle, generation uint32, now time.Time) (*Session, error) {
	st, err := initiateState(self, b, generation, now)
	if err != nil {
		return nil, fmt.Errorf("initiate: %w", err)
	}
	return &Session{st: st}, nil
}

func initiateState(self SelfKeys, b Bundle, generation uint32, now time.Time) (*state, error) {
	if self.Party == b.Party {
		return nil, fmt.Errorf("a session with oneself: %w", ErrParty)
	}
	if err := self.check(); err != nil {
		return nil, err
	}
	peer, manifest, err := b.verify(now)
	if err != nil {
		return nil, err
	}
	kemSecret, ct, err := b.KEMPrekey.KEM.Encapsulate()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	defer clear(kemSecret)
	ephemeral := key.GenerateExchange()
	h := handshake{
		initiator: self.Party, responder: b.Party,
		initiatorAccount: self.Account, responderAccount: b.Account,
		initiatorSigning: self.Signing, responderSigning: peer.Signing,
		initiatorKey: self.Exchange.Public(), responderKey: peer.Exchange,
		signedPrekey: b.SignedPrekey.Exchange, kemPrekey: b.KEMPrekey.KEM,
		header: &InitialHeader{
			Generation:       generation,
			Device:           self.Party.Device,
			Ephemeral:        ephemeral.Public(),
			ResponderVersion: manifest.Version,
			ResponderHash:    identity.ManifestHash(b.Manifest),
			SignedPrekey:     b.SignedPrekey.ID,
			KEMKind:          b.KEMPrekey.Kind,
			KEMPrekey:        b.KEMPrekey.ID,
			KEMCiphertext:    ct,
			Chain:            self.Chain,
			Manifest:         self.Manifest,
			Extensions:       self.Extensions,
		},
	}
	pairs := []dhPair{
		{self.Exchange, b.SignedPrekey.Exchange},
		{ephemeral, peer.Exchange},
		{ephemeral, b.SignedPrekey.Exchange},
	}
	if b.OneTime != nil {
		h.header.HasOneTime, h.header.OneTime = true, b.OneTime.ID
		h.oneTime = b.OneTime.Exchange
		pairs = append(pairs, dhPair{ephemeral, b.OneTime.Exchange})
	}
	if h.prelude, err = h.header.marshal(); err != nil {
		return nil, err
	}
	secrets, err := exchangeAll(pairs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	defer wipe(secrets)
	return h.start(roleInitiator, unix(now), append(secrets, kemSecret))
}

// check makes sure that the peer will find this device in the manifest that is
// carried; a handshake that it must refuse is not begun.
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

// verify checks every signature of the bundle and returns the device's entry
// and the manifest.
func (b Bundle) verify(now time.Time) (identity.Device, identity.Manifest, error) {
	fail := func(what string, err error) (identity.Device, identity.Manifest, error) {
		return identity.Device{}, identity.Manifest{}, fmt.Errorf("%s: %w: %w", what, ErrBundle, err)
	}
	manifest, err := identity.VerifyManifest(b.Manifest, b.Party.Address, b.Account)
	if err != nil {
		return fail("manifest", err)
	}
	entry, err := findDevice(manifest, b.Party.Device)
	if err != nil {
		return fail("manifest", err)
	}
	check := func(p identity.Prekey, kinds ...identity.PrekeyKind) error {
		for _, k := range kinds {
			if p.Kind == k {
				return p.Verify(entry.Signing, b.Party.Address, now)
			}
		}
		return fmt.Errorf("prekey of kind %d in the wrong place", p.Kind)
	}
	if err := check(b.SignedPrekey, identity.SignedExchange); err != nil {
		return fail("signed prekey", err)
	}
	if err := check(b.KEMPrekey, identity.LastResortKEM, identity.OneTimeKEM); err != nil {
		return fail("KEM prekey", err)
	}
	if b.OneTime != nil {
		if err := check(*b.OneTime, identity.OneTimeExchange); err != nil {
			return fail("one-time prekey", err)
		}
	}
	return entry, manifest, nil
}

// findDevice returns the entry of a device in a verified manifest, whose ids
// are derived from the signing keys.
func findDevice(m identity.Manifest, id key.DeviceID) (identity.Device, error) {
	d, ok := m.Device(id)
	if !ok {
		return identity.Device{}, fmt.Errorf("device %s is not listed: %w", id, ErrParty)
	}
	return d, nil
}

// dhPair is one X25519 exchange of the handshake.
type dhPair struct {
	own    key.ExchangePrivate
	remote key.ExchangePublic
}

// exchangeAll computes the DH secrets in order; a zero one is an error.
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

// generationAt counts hours since 1970, so that a session that was begun after
// the other end was lost, or the contact removed, wins over the one before.
func generationAt(now time.Time) uint32 {
	return uint32(min(unix(now)/3600, math.MaxUint32))
}

// Accept completes the handshake of an initial message and opens it. header is
// taken from the ciphertext again; rk holds the prekeys that it names. The
// caller has verified the chain and has made sure that [HandshakeHash] is none
// that it accepted before, that the responder manifest that the header names
// lists this device, and that the peer's device was not dropped by a newer
// manifest. Accept itself checks that the carried manifest is signed by
// peer.Account for the peer's address and lists the device.
//
// A session exists only if the message opens. The caller commits it, the hash
// of the handshake, the deletion of the one-time keys and res.Skipped together.
// It fails with [ErrFormat], [ErrVersion], [ErrParty], [ErrBundle] (prekeys that
// are not those named) and the errors of Open; [ErrNoSession] says that the
// handshake gave keys that do not open the message.
func Accept(self SelfKeys, rk ResponderKeys, peer VerifiedPeer, m Meta, ciphertext []byte, now time.Time) (OpenResult, error) {
	st, err := acceptState(self, rk, peer, m, ciphertext, now)
	if err != nil {
		return OpenResult{}, fmt.Errorf("accept: %w", err)
	}
	next, res, err := st.open(m, ciphertext, nil, unix(now), &work{})
	if err != nil {
		return OpenResult{}, fmt.Errorf("accept: %w", err)
	}
	res.Next = &Session{st: next}
	return res, nil
}

// acceptState makes the responder's state, before anything is opened with it.
func acceptState(self SelfKeys, rk ResponderKeys, peer VerifiedPeer, m Meta, ciphertext []byte, now time.Time) (*state, error) {
	if err := m.check(peer.Party, self.Party); err != nil {
		return nil, err
	}
	if self.Party == peer.Party {
		return nil, fmt.Errorf("a session with oneself: %w", ErrParty)
	}
	e, err := parseEnvelope(ciphertext)
	if err != nil {
		return nil, err
	}
	if e.kind != kindInitial {
		return nil, fmt.Errorf("not an initial message: %w", ErrFormat)
	}
	header, err := parsePrelude(e.prelude)
	if err != nil {
		return nil, err
	}
	entry, err := peer.entry(header)
	if err != nil {
		return nil, err
	}
	if err := rk.match(header); err != nil {
		return nil, err
	}
	h := handshake{
		initiator: peer.Party, responder: self.Party,
		initiatorAccount: peer.Account, responderAccount: self.Account,
		initiatorSigning: entry.Signing, responderSigning: self.Signing,
		initiatorKey: entry.Exchange, responderKey: self.Exchange.Public(),
		signedPrekey: rk.SignedPrekey.Private.Public(), kemPrekey: rk.KEM.Private.Public(),
		header: header, prelude: e.prelude,
	}
	pairs := []dhPair{
		{rk.SignedPrekey.Private, entry.Exchange},
		{self.Exchange, header.Ephemeral},
		{rk.SignedPrekey.Private, header.Ephemeral},
	}
	if rk.OneTime != nil {
		h.oneTime = rk.OneTime.Private.Public()
		pairs = append(pairs, dhPair{rk.OneTime.Private, header.Ephemeral})
	}
	secrets, err := exchangeAll(pairs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	defer wipe(secrets)
	kemSecret, err := rk.KEM.Private.Decapsulate(header.KEMCiphertext)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	defer clear(kemSecret)
	s, err := h.start(roleResponder, unix(now), append(secrets, kemSecret))
	if err != nil {
		return nil, err
	}
	s.ratchetPrivate = [exchangeSize]byte(rk.SignedPrekey.Private.Seed())
	s.ratchetPublic = [exchangeSize]byte(h.signedPrekey.Bytes())
	return s, nil
}

// entry finds the initiator's device in the manifest that the header carries.
func (p VerifiedPeer) entry(h *InitialHeader) (identity.Device, error) {
	if h.Device != p.Party.Device {
		return identity.Device{}, fmt.Errorf("initiator's device: %w", ErrParty)
	}
	manifest, err := identity.VerifyManifest(h.Manifest, p.Party.Address, p.Account)
	if err != nil {
		return identity.Device{}, fmt.Errorf("initiator's manifest: %w: %w", ErrParty, err)
	}
	return findDevice(manifest, h.Device)
}

// match checks that the private prekeys are those that the header names.
func (rk ResponderKeys) match(h *InitialHeader) error {
	switch {
	case rk.SignedPrekey.ID != h.SignedPrekey || rk.SignedPrekey.Private.IsZero():
		return fmt.Errorf("signed prekey %d: %w", h.SignedPrekey, ErrBundle)
	case rk.KEM.Kind != h.KEMKind || rk.KEM.ID != h.KEMPrekey || rk.KEM.Private.IsZero():
		return fmt.Errorf("KEM prekey %d: %w", h.KEMPrekey, ErrBundle)
	case (rk.OneTime != nil) != h.HasOneTime:
		return fmt.Errorf("one-time prekey: %w", ErrBundle)
	case h.HasOneTime && (rk.OneTime.ID != h.OneTime || rk.OneTime.Private.IsZero()):
		return fmt.Errorf("one-time prekey %d: %w", h.OneTime, ErrBundle)
	}
	return nil
}
