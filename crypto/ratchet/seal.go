package ratchet

import (
	"crypto/rand"
	"fmt"
	"math"
	"time"

	"secmsg/crypto/key"
)

// Seal seals plaintext for the peer, with the newest manifest of its own account that this device
// knows, and returns the next session. The caller commits next and ciphertext together before it sends
// the ciphertext. Seal returns [ErrParty] for metadata of other parties, [ErrFormat] for more than
// [MaxPlaintext] bytes or no manifest, and [ErrExhausted] after 2^32 - 1 messages in one chain.
func (s *Session) Seal(m Meta, own ManifestRef, plaintext []byte, now time.Time) (next *Session, ciphertext []byte, err error) {
	st, out, err := s.st.seal(m, own, plaintext, unix(now))
	if err != nil {
		return nil, nil, fmt.Errorf("seal: %w", err)
	}
	return &Session{st: st}, out, nil
}

func (s *state) seal(m Meta, own ManifestRef, plaintext []byte, now int64) (*state, []byte, error) {
	if err := m.check(s.self, s.peer); err != nil {
		return nil, nil, err
	}
	if len(plaintext) > MaxPlaintext {
		return nil, nil, fmt.Errorf("plaintext of %d bytes: %w", len(plaintext), ErrFormat)
	}
	if !own.valid() {
		return nil, nil, fmt.Errorf("own manifest of version %d: %w", own.Version, ErrFormat)
	}
	next := s.clone()
	if next.turn {
		if err := next.beginChain(); err != nil {
			return nil, nil, err
		}
	}
	if !next.sending || next.sendNumber == math.MaxUint32 {
		return nil, nil, ErrExhausted
	}
	h := header{
		ratchet:  next.ratchetPublic,
		previous: next.sendPrevious,
		number:   next.sendNumber,
		answer:   next.answer,
	}
	var err error
	if h.offer, err = next.offer(now); err != nil {
		return nil, nil, err
	}
	var message secret
	next.sendKey, message = chainStep(next.sendKey)
	next.sendNumber++
	out, err := sealEnvelope(m, own, next.prelude, next.sendHeader, message, h, plaintext)
	if err != nil {
		return nil, nil, err
	}
	return next, out, nil
}

// beginChain performs the sending half of a ratchet step with new randomness, and answers the peer's
// newest offer.
func (s *state) beginChain() error {
	var private [exchangeSize]byte
	rand.Read(private[:]) // crypto/rand: never fails since Go 1.24
	if s.peerOffer == nil {
		return s.sendStep(private, nil, nil)
	}
	ek, err := key.ParseKEMPublic(s.peerOffer.ek)
	if err != nil {
		return err
	}
	shared, ct, err := ek.Encapsulate()
	if err != nil {
		return err
	}
	defer clear(shared)
	return s.sendStep(private, newKEMSecret(shared, s.peerOffer.ek, ct), &answer{id: s.peerOffer.id, ct: ct})
}

// sendStep is the sending half of a ratchet step with given secrets.
func (s *state) sendStep(private [exchangeSize]byte, kem *kemSecret, a *answer) error {
	own, err := key.ParseExchangePrivate(private[:])
	if err != nil {
		return err
	}
	shared, err := exchange(own, s.remote)
	if err != nil {
		return err
	}
	defer clear(shared)
	s.sendHeader = s.sendHeaderNext
	s.root, s.sendKey, s.sendHeaderNext, err = rootStep(s.root, shared, kem)
	if err != nil {
		return err
	}
	s.sendPrevious, s.sendNumber = s.sendNumber, 0
	s.ratchetPrivate = private
	copy(s.ratchetPublic[:], own.Public().Bytes())
	s.answer = a
	s.peerOffer = nil
	s.turn, s.sending = false, true
	return nil
}

// exchange is X25519 with an unchecked public key.
func exchange(own key.ExchangePrivate, remote [exchangeSize]byte) ([]byte, error) {
	pub, err := key.ParseExchangePublic(remote[:])
	if err != nil {
		return nil, err
	}
	return own.DH(pub)
}
