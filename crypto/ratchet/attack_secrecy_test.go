package ratchet

import (
	"bytes"
	"errors"
	"testing"

	"secmsg/crypto/key"
)

// An attacker who copied the whole state of one end can follow that end's receiving chain, and loses
// access after one round trip in which the end has sent.
func TestB9_HealsAfterRoundTrip(t *testing.T) {
	p := newPair(t)
	stolen := must(ParseSession(p.s[0].Marshal()))
	l := p.seal(1, "read by the attacker")
	res, err := stolen.Open(l.m, l.ct, nil, p.now)
	if err != nil || string(res.Plaintext) != l.text {
		t.Fatalf("the simulated attacker is weaker than intended: %v", err)
	}
	stolen = res.Next
	p.open(l)
	p.open(p.seal(0, "a new ratchet key"))
	for range 3 {
		l = p.seal(1, "healed")
		if _, err := stolen.Open(l.m, l.ct, nil, p.now); err == nil {
			t.Fatal("the attacker can still read after a round trip")
		}
		p.open(l)
		p.open(p.seal(0, "go on"))
	}
}

// quantumAttacker has a copy of an end's state, and learns every X25519 key that the end generates
// afterwards (as if X25519 were broken), but no KEM secret.
type quantumAttacker struct {
	t  *testing.T
	st *state
}

// followSend repeats the sending step of the end, with the end's X25519 key and, if the end answered an
// offer, with a guess of the KEM secret.
func (q *quantumAttacker) followSend(end *state) {
	q.t.Helper()
	if !q.st.turn {
		return
	}
	next := q.st.clone()
	var kem *kemSecret
	if end.answer != nil {
		kem = newKEMSecret(make([]byte, key.KEMSecretSize), next.peerOffer.ek, end.answer.ct)
	}
	if err := next.sendStep(end.ratchetPrivate, kem, end.answer); err != nil {
		q.t.Fatal(err)
	}
	q.st = next
}

// reads reports whether the attacker can open a letter, and follows it if so.
func (q *quantumAttacker) reads(p *testPair, l letter) bool {
	next, _, err := q.st.open(l.m, l.ct, nil, unix(p.now), &work{})
	if err != nil {
		return false
	}
	q.st = next
	return true
}

// With X25519 broken, a KEM exchange heals: either the end answers the peer's offer, or the peer
// answers an offer made after the copy.
func TestB9_HealsAfterKEMExchange(t *testing.T) {
	for _, offering := range []int{0, 1} {
		p := newPair(t)
		q := &quantumAttacker{t: t, st: must(ParseSession(p.s[0].Marshal())).st}
		round := func() (read bool) {
			l := p.seal(1, "to the victim")
			read = q.reads(p, l)
			p.open(l)
			l = p.seal(0, "from the victim")
			if read {
				q.followSend(p.s[0].st)
			}
			p.open(l)
			return read
		}
		for i := range 4 {
			if !round() {
				t.Fatalf("offer by %d: the simulated attacker is weaker than intended: it lost access in round %d", offering, i)
			}
		}
		// Exactly one end offers.
		p.now = p.now.Add(OfferInterval)
		quiet := p.s[1-offering].st.clone()
		quiet.offerTime = unix(p.now)
		p.s[1-offering] = &Session{st: quiet}
		round()
		round()
		round()
		if len(p.s[offering].st.offers) != 0 || p.s[offering].st.offerNext != 2 || p.s[1-offering].st.offerNext != 1 {
			t.Fatal("the exchange did not happen as planned")
		}
		for range 3 {
			if round() {
				t.Fatalf("offer by %d: the attacker can still read after a KEM exchange", offering)
			}
		}
	}
}

// Keys of messages that were opened or sealed are not in later states, which cannot open those
// messages.
func TestB10_ForwardSecrecy(t *testing.T) {
	p := newPair(t)
	var gone [][]byte // chain keys and message keys that must not survive
	note := func(k secret) { gone = append(gone, bytes.Clone(k[:])) }
	var old []letter
	for range 3 {
		for from := range 2 {
			for range 3 {
				sender, receiver := p.s[from].st, p.s[1-from].st
				note(sender.sendKey)
				note(receiver.recvKey)
				note(sender.root)
				l := p.seal(from, "old message")
				if !sender.turn {
					_, message := chainStep(sender.sendKey)
					note(message)
				}
				p.open(l)
				old = append(old, l)
			}
		}
	}
	p.roundTrip()
	p.roundTrip()
	for i, s := range p.s {
		stored := s.Marshal()
		for _, k := range gone {
			if !bytes.Equal(k, make([]byte, len(k))) && bytes.Contains(stored, k) {
				t.Fatalf("end %d: the state contains the key of an earlier message", i)
			}
		}
	}
	for _, l := range old {
		for _, s := range p.s {
			if _, err := s.Open(l.m, l.ct, p.keys[1-l.from], p.now); err == nil {
				t.Fatal("a state opens a message from before it")
			}
		}
	}
	if len(p.keys[0])+len(p.keys[1]) != 0 {
		t.Fatal("message keys are stored although all messages arrived")
	}
	// A skipped key is returned once and is not in the state either.
	p.seal(0, "lost")
	l := p.seal(0, "x")
	res, err := p.s[1].Open(l.m, l.ct, nil, p.now)
	if err != nil || len(res.Skipped) != 1 {
		t.Fatalf("skip: %v", err)
	}
	if bytes.Contains(res.Next.Marshal(), res.Skipped[0].Key.Bytes()) {
		t.Fatal("a skipped key is in the state")
	}
}

// Seal and Open never change their input, whether they succeed or not.
func TestSessionsAreImmutable(t *testing.T) {
	p := newPair(t)
	p.now = p.now.Add(OfferInterval)
	for i := range 30 {
		before := [2][]byte{p.s[0].Marshal(), p.s[1].Marshal()}
		was := p.s
		from := (i / 3) % 2
		lost := p.seal(from, "late")
		l := p.seal(from, "x")
		p.open(l)
		if i%2 == 0 {
			p.open(lost)
		}
		for end := range 2 {
			if !bytes.Equal(before[end], was[end].Marshal()) {
				t.Fatalf("step %d changed the state of end %d", i, end)
			}
		}
		bad := bytes.Clone(p.seal(from, "y").ct)
		bad[len(bad)-1] ^= 1
		now := p.s[1-from].Marshal()
		if _, err := p.s[1-from].Open(l.m, bad, p.keys[1-from], p.now); err == nil {
			t.Fatal("a bad tag opens")
		}
		if !bytes.Equal(now, p.s[1-from].Marshal()) {
			t.Fatal("a bad message changed the state")
		}
	}
}

// mirror is a copied state's knowledge of its own end's sending: the receiving state of a peer, with
// exactly the secrets that the copy has.
func mirror(stolen *state) *state {
	m := stolen.clone()
	m.role = roleInitiator + roleResponder - stolen.role
	m.self, m.peer = stolen.peer, stolen.self
	m.recvKey, m.recvHeader, m.recvHeaderNext = stolen.sendKey, stolen.sendHeader, stolen.sendHeaderNext
	m.recvNumber, m.remote = stolen.sendNumber, stolen.ratchetPublic
	m.epoch, m.turn, m.old = 1, false, nil
	return m
}

// The same for the end's sending: whoever copied its state can read the current sending chain to its
// end, but not the next one. Of the next chain the header key was in the state, so its headers open but
// its bodies do not; after that nothing opens.
func TestB9_HealsForWhatIsSent(t *testing.T) {
	p := newPair(t)
	p.open(p.seal(0, "a chain to copy"))
	stolen := mirror(must(ParseSession(p.s[0].Marshal())).st)
	l := p.seal(0, "read by the attacker")
	next, res, err := stolen.open(l.m, l.ct, nil, unix(p.now), &work{})
	if err != nil || string(res.Plaintext) != l.text {
		t.Fatalf("the simulated attacker is weaker than intended: %v", err)
	}
	stolen = next
	p.open(l)
	for round := range 3 {
		p.open(p.seal(1, "the other's turn"))
		l = p.seal(0, "healed")
		p.open(l)
		// Try every private key that the attacker has in place of the missing one.
		for _, private := range [][exchangeSize]byte{stolen.ratchetPrivate, [exchangeSize]byte(stolen.root)} {
			try := stolen.clone()
			try.ratchetPrivate = private
			_, _, err := try.open(l.m, l.ct, nil, unix(p.now), &work{})
			if err == nil {
				t.Fatalf("round %d: the attacker can still read", round)
			}
			if round > 0 != errors.Is(err, ErrNoSession) {
				t.Errorf("round %d: header: %v", round, err)
			}
		}
	}
}
