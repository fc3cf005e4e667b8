package ratchet

import (
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

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

// VerifiedPeer is the initiator as verified by the caller: the header's certificate chain against the
// pin, and the policy.
type VerifiedPeer struct {
	Party   Party
	Account key.SigningPublic // the pinned account identity key
}

// Accept completes the handshake of an initial message and opens it. It parses the header from the
// ciphertext again; rk holds the prekeys named there. The caller has verified the chain, and has made
// sure that the [HandshakeHash] was not accepted before, that the responder manifest named in the
// header lists this device, and that no newer manifest has dropped the peer's device. now is the clock
// for lifetimes: a generation more than [MaxAhead] minutes ahead of it is refused with [ErrGeneration]
// before any key is used. Accept itself checks that the manifest in the message is signed by
// peer.Account for the peer's address and lists the device.
//
// A session exists only if the message opens. The caller commits the session, the hash of the
// handshake, the deletion of the one-time keys and res.Skipped together. Accept returns [ErrFormat],
// [ErrVersion], [ErrParty], [ErrBundle] (rk does not hold the named prekeys) and the errors of Open;
// [ErrNoSession] means that the keys of the handshake do not open the message.
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

// acceptState creates the responder's state before anything is opened with it.
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
	if header.Generation > latestGeneration(unix(now)) {
		return nil, fmt.Errorf("generation %d: %w", header.Generation, ErrGeneration)
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

// entry finds the initiator's device in the manifest of the header.
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

// match checks that the private prekeys are those named in the header.
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
