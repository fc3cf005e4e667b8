package ratchet

import (
	"fmt"

	"secmsg/crypto/key"
)

// The post-quantum ratchet (SPEC "Post-quantum ratchet").
//
// Each end offers an encapsulation key from time to time. The peer answers with its next sending chain:
// every header of that chain contains the ciphertext, so whichever message arrives first delivers it.
// An offer may be lost. An answer cannot be lost, because the peer begins no further chain before a
// message of this one was answered.
//
// A decapsulation key is dropped once its offer, or a newer one, was answered: the peer answers only
// the newest offer that it has seen, so older offers are void. A key that was offered may be answered
// at any time, so it must not be dropped earlier; therefore, with MaxOffers keys outstanding, the
// newest is offered again.

// offer returns the offer for the next message, or nil.
func (s *state) offer(now int64) (*offer, error) {
	due := s.offerSent >= OfferMessages || now-s.offerTime >= int64(OfferInterval.Seconds())
	again := len(s.offers) > 0 && s.unanswered >= offerPatience
	s.offerSent++
	if s.prelude != nil || !(due || again) {
		// An initial message is already long, and its handshake is new.
		return nil, nil
	}
	if due && len(s.offers) < MaxOffers {
		fresh := key.GenerateKEM()
		own := ownOffer{id: s.offerNext, seed: [kemSeedSize]byte(fresh.Seed())}
		s.offerNext++
		s.offers = append(s.offers[:len(s.offers):len(s.offers)], own)
	}
	newest := s.offers[len(s.offers)-1]
	private, err := key.ParseKEMSeed(newest.seed[:])
	if err != nil {
		return nil, err
	}
	s.offerSent, s.offerTime, s.unanswered = 1, now, 0
	return &offer{id: newest.id, ek: private.Public().Bytes()}, nil
}

// answered decapsulates the answer in the header of a new receiving chain, and drops the keys that this
// makes void. Without an answer it returns nil.
func (s *state) answered(a *answer) (*kemSecret, error) {
	if a == nil {
		if len(s.offers) > 0 && s.unanswered < offerPatience {
			s.unanswered++
		}
		return nil, nil
	}
	for i, own := range s.offers {
		if own.id != a.id {
			continue
		}
		private, err := key.ParseKEMSeed(own.seed[:])
		if err != nil {
			return nil, err
		}
		shared, err := private.Decapsulate(a.ct)
		if err != nil {
			return nil, err
		}
		s.offers = s.offers[i+1 : len(s.offers) : len(s.offers)]
		s.unanswered = 0
		return newKEMSecret(shared, private.Public().Bytes(), a.ct), nil
	}
	return nil, fmt.Errorf("answer to offer %d, which is not out: %w", a.id, ErrPeer)
}

// offered records the peer's offer, unless it or a newer one was seen before: offers are repeated and
// arrive in any order.
func (s *state) offered(o *offer) error {
	if o == nil || o.id <= s.peerSeen {
		return nil
	}
	if _, err := key.ParseKEMPublic(o.ek); err != nil {
		return fmt.Errorf("offer: %w: %w", ErrPeer, err)
	}
	s.peerSeen, s.peerOffer = o.id, o
	return nil
}
