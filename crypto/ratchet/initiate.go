package ratchet

import (
	"fmt"
	"math"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
)

// Bundle is an initiator's knowledge about the responder's device. The caller has checked trust;
// Initiate checks every signature again.
type Bundle struct {
	Party        Party
	Account      key.SigningPublic // the pinned account identity key
	Manifest     []byte            // signed; lists the device
	SignedPrekey identity.Prekey
	KEMPrekey    identity.Prekey  // last-resort or one-time; never missing
	OneTime      *identity.Prekey // nil when the stock is exhausted
}

// Initiate begins the first session with the device of a bundle; use [Set.Initiate] for a device that
// may have sessions already. It sends nothing: the first Seal creates the first message. It returns
// [ErrBundle] if anything in the bundle is missing, expired, for another purpose or device, or wrongly
// signed. There is no handshake without a KEM prekey.
func Initiate(self SelfKeys, b Bundle, now time.Time) (*Session, error) {
	return initiate(self, b, generationAt(unix(now)), now)
}

func initiate(self SelfKeys, b Bundle, generation uint32, now time.Time) (*Session, error) {
	st, err := initiateState(self, b, generation, now)
	if err != nil {
		return nil, fmt.Errorf("initiate: %w", err)
	}
	return &Session{st: st}, nil
}

func initiateState(self SelfKeys, b Bundle, generation uint32, now time.Time) (*state, error) {
	kemSecret, ct, err := b.KEMPrekey.KEM.Encapsulate()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	defer clear(kemSecret)
	return initiateWith(self, b, generation, now, key.GenerateExchange(), kemSecret, ct)
}

// initiateWith begins a session with given secrets.
func initiateWith(self SelfKeys, b Bundle, generation uint32, now time.Time, ephemeral key.ExchangePrivate, kemSecret, ct []byte) (*state, error) {
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

// verify checks every signature of the bundle and returns the device's entry and the manifest.
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
				return p.Verify(entry.Signing, entry.ID, b.Party.Address, now)
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

// generationAt counts minutes since 1970, so that a session takes precedence over an older one that was
// begun before the other end lost its state, or before the contact was removed.
func generationAt(now int64) uint32 {
	return uint32(min(now/60, math.MaxUint32))
}

// ownGeneration is the generation that an initiator gives to a new session, in view of the sessions
// with the device that it knows.
func ownGeneration(known []uint32, now int64) uint32 {
	clock := generationAt(now)
	generation := clock
	for _, g := range known {
		generation = max(generation, addMinutes(g, 1))
	}
	return min(generation, addMinutes(clock, ownAhead))
}

// latestGeneration is the largest generation that a receiver accepts at a time.
func latestGeneration(now int64) uint32 { return addMinutes(generationAt(now), MaxAhead) }

// addMinutes returns a + n, but at most the largest generation.
func addMinutes(a, n uint32) uint32 { return a + min(n, math.MaxUint32-a) }
