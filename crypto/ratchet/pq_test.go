package ratchet

import (
	"errors"
	"testing"
	"time"

	"secmsg/crypto/key"
)

// headerOf opens the header of a letter like its receiver.
func (p *testPair) headerOf(l letter) header {
	p.t.Helper()
	at, err := p.s[1-l.from].st.locate(l.m, must(parseEnvelope(l.ct)), &work{})
	if err != nil {
		p.t.Fatal(err)
	}
	return must(parseHeader(at.header))
}

// One message in fifty offers a key, or the first after a day.
func TestOfferSchedule(t *testing.T) {
	p := newPair(t)
	for round := range 2 {
		for i := range OfferMessages {
			l := p.seal(1, "x")
			// The pair has sent one message from end 1 before.
			want := i == OfferMessages-1
			if h := p.headerOf(l); (h.offer != nil) != want {
				t.Fatalf("round %d, message %d: offer %v", round, i, h.offer != nil)
			}
			p.open(l)
		}
	}
	p.now = p.now.Add(OfferInterval - time.Second)
	if p.headerOf(p.seal(1, "early")).offer != nil {
		t.Error("an offer was made too early")
	}
	p.now = p.now.Add(time.Second)
	if p.headerOf(p.seal(1, "in time")).offer == nil {
		t.Error("no offer after a day")
	}
	if p.headerOf(p.seal(1, "next")).offer != nil {
		t.Error("offer in two messages in a row")
	}
}

// The answer is in every header of its chain and in none of the next, so that any one message of the
// chain is enough.
func TestAnswerStandsInEveryHeader(t *testing.T) {
	for first := range 3 {
		p := newPair(t)
		p.now = p.now.Add(OfferInterval)
		p.open(p.seal(1, "offer"))
		var list []letter
		for range 3 {
			l := p.seal(0, "answer")
			if h := p.headerOf(l); h.answer == nil || h.answer.id != 1 {
				t.Fatal("no answer in a header of the chain")
			}
			list = append(list, l)
		}
		p.open(list[first])
		if len(p.s[1].st.offers) != 0 {
			t.Fatal("decapsulation key is kept after the answer")
		}
		for i, l := range list {
			if i != first {
				p.open(l)
			}
		}
		p.roundTrip()
		if p.headerOf(p.seal(0, "later")).answer != nil {
			t.Fatal("the next chain also has the answer")
		}
	}
}

// A lost offer is repeated: after two of the peer's chains without an answer, or after another fifty
// messages, or a day.
func TestLostOfferComesAgain(t *testing.T) {
	p := newPair(t)
	p.now = p.now.Add(OfferInterval)
	lost := p.headerOf(p.seal(1, "lost")).offer
	if lost == nil {
		t.Fatal("no offer")
	}
	seen := 0
	for range 6 {
		p.open(p.seal(1, "a"))
		p.open(p.seal(0, "b"))
		if p.s[0].st.peerSeen == 1 {
			seen++
		}
	}
	if seen == 0 || len(p.s[1].st.offers) != 0 {
		t.Fatalf("the offer was not repeated, or not answered: seen %d", seen)
	}
	if id := p.s[1].st.offerNext; id != 2 {
		t.Fatalf("a new key was made for the repetition: next id %d", id)
	}
}

// However many offers are lost or repeated, at most two keys are outstanding, and an answer to either
// is understood.
func TestOffersOneWay(t *testing.T) {
	for arrives := range 5 {
		p := newPair(t)
		var offers []letter
		var ids []uint32
		for len(offers) < 5 {
			l := p.seal(1, "x")
			if h := p.headerOf(l); h.offer != nil {
				offers = append(offers, l)
				ids = append(ids, h.offer.id)
			}
			if n := len(p.s[1].st.offers); n > MaxOffers {
				t.Fatalf("%d offered keys are unanswered", n)
			}
		}
		if ids[0] != 1 || ids[1] != 2 || ids[2] != 2 || ids[4] != 2 {
			t.Fatalf("offers %v", ids)
		}
		p.open(offers[arrives]) // the others are lost
		answer := p.seal(0, "answer")
		if id := p.headerOf(answer).answer.id; id != ids[arrives] {
			t.Fatalf("answer to %d, want %d", id, ids[arrives])
		}
		p.open(answer)
		for _, o := range p.s[1].st.offers {
			if o.id <= ids[arrives] {
				t.Fatalf("key %d is kept after an answer to %d", o.id, ids[arrives])
			}
		}
		p.open(p.seal(1, "on")) // both ends still agree
		p.roundTrip()
	}
}

// An older offer that arrives late is not answered: its key may be deleted.
func TestOldOfferIsNotAnswered(t *testing.T) {
	p := newPair(t)
	p.now = p.now.Add(OfferInterval)
	older := p.seal(1, "older")
	p.now = p.now.Add(OfferInterval)
	newer := p.seal(1, "newer")
	p.open(newer)
	p.open(older)
	if id := p.headerOf(p.seal(0, "answer")).answer.id; id != 2 {
		t.Fatalf("answered offer %d", id)
	}
	if p.s[0].st.peerOffer != nil || p.s[0].st.peerSeen != 2 {
		t.Fatal("offer is answered twice")
	}
}

// A peer that answers an offer that was never made, or offers an invalid key, is refused, and the
// session continues.
func TestBadKEMItems(t *testing.T) {
	p := newPair(t)
	p.open(p.seal(1, "turn"))
	evil := p.s[0].st.clone()
	if err := evil.beginChain(); err != nil {
		t.Fatal(err)
	}
	evil.answer = &answer{id: 7, ct: make([]byte, kemTextSize)}
	m := meta(p.dev[0], p.dev[1], 99)
	_, ct, err := evil.seal(m, testOwn(), []byte("x"), unix(p.now))
	if err != nil {
		t.Fatal(err)
	}
	// End 1 has just begun a chain, so it awaits the next one of end 0.
	if _, err := p.s[1].Open(m, ct, nil, p.now); !errors.Is(err, ErrPeer) {
		t.Errorf("answer to nothing: %v", err)
	}
	p.roundTrip()
	st := p.s[0].st.clone()
	var message secret
	st.sendKey, message = chainStep(st.sendKey)
	bad := make([]byte, key.KEMPublicSize)
	for i := range bad {
		bad[i] = 0xff // coefficients not reduced (FIPS 203, 7.2)
	}
	h := header{ratchet: st.ratchetPublic, previous: st.sendPrevious, number: st.sendNumber, offer: &offer{id: 1, ek: bad}}
	if ct, err = sealEnvelope(m, testOwn(), nil, st.sendHeader, message, h, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.s[1].Open(m, ct, nil, p.now); !errors.Is(err, ErrPeer) {
		t.Errorf("offer of an invalid key: %v", err)
	}
	p.roundTrip()
}
