package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestB1_Replay(t *testing.T) {
	for seed := range uint64(40 / raceDivisor) {
		rng := rand.New(rand.NewPCG(seed, 2))
		p := newUnansweredPair(t)
		var list []letter
		for i := range 20 {
			l := p.seal(rng.IntN(2), fmt.Sprint("message ", i))
			for range 1 + rng.IntN(5) {
				list = append(list, l)
			}
			if i%4 == 3 && i < 19 { // so that several chains are involved
				p.roundTrip()
			}
		}
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		shown := map[string]int{}
		for _, l := range list {
			err := p.tryOpen(l)
			if err == nil {
				shown[l.text]++
			}
			if err != nil && (!errors.Is(err, ErrReplay) || shown[l.text] == 0) {
				t.Fatalf("seed %d: %q: %v", seed, l.text, err)
			}
		}
		if len(shown) != 20 {
			t.Fatalf("seed %d: %d of 20 messages", seed, len(shown))
		}
		for text, n := range shown {
			if n != 1 {
				t.Fatalf("seed %d: %q was shown %d times", seed, text, n)
			}
		}
	}
}

func TestB2_Reflection(t *testing.T) {
	p := newPair(t)
	first := newUnansweredPair(t)
	for _, c := range []struct {
		p *testPair
		l letter
	}{{p, p.seal(0, "x")}, {p, p.seal(1, "x")}, {first, first.seal(0, "x")}} {
		own := c.p.s[c.l.from]
		if _, err := own.Open(c.l.m, c.l.ct, nil, p.now); !errors.Is(err, ErrParty) {
			t.Errorf("own envelope: %v", err)
		}
		turned := c.l.m
		turned.Sender, turned.Recipient = turned.Recipient, turned.Sender
		if _, err := own.Open(turned, c.l.ct, nil, p.now); !errors.Is(err, ErrNoSession) {
			t.Errorf("own envelope under the peer's name: %v", err)
		}
	}
	// On another device of the sender, which has no session with the receiver.
	other := newTestDevice("alice")
	l := first.seal(0, "x")
	m := l.m
	m.Recipient = other.party
	if _, err := other.accept(first.dev[0], m, l.ct, p.now); err == nil {
		t.Error("another device of the sender accepts")
	}
	if _, err := Initiate(other.self(), other.bundle(true), p.now); !errors.Is(err, ErrParty) {
		t.Errorf("session with oneself: %v", err)
	}
	m = p.seal(0, "x").m
	m.Class = ClassProbe
	if _, _, err := p.s[0].Seal(m, testOwn(), nil, p.now); !errors.Is(err, ErrParty) {
		t.Errorf("probe in a session: %v", err)
	}
}

func TestB3_ReorderAndWithhold(t *testing.T) {
	p := newPair(t)
	var list []letter
	for i := range 10 {
		list = append(list, p.seal(0, fmt.Sprint(i)))
	}
	// The last message arrives first; the missing ones are reported in order.
	res, err := p.s[1].Open(list[9].m, list[9].ct, p.keys[1], p.now)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Skipped) != 9 {
		t.Fatalf("%d keys skipped", len(res.Skipped))
	}
	for i, s := range res.Skipped {
		if s.Ref.N != res.Skipped[0].Ref.N+uint32(i) || s.Ref.Epoch != res.Next.Epoch() {
			t.Fatalf("skipped %v as number %d", s.Ref, i)
		}
	}
	p.s[1] = res.Next
	p.keys[1].commit(res)
	p.roundTrip() // a further chain does not lose them
	for _, i := range []int{4, 8, 0, 2} {
		p.open(list[i])
	}
	if len(p.keys[1]) != 5 {
		t.Fatalf("%d keys wait for the 5 that are withheld", len(p.keys[1]))
	}
}

// evilHeader is an envelope under the sender's true header key, with arbitrary numbers in the header.
func (p *testPair) evilHeader(from int, previous, number uint32) letter {
	p.t.Helper()
	st := p.s[from].st.clone()
	if st.turn {
		if err := st.beginChain(); err != nil {
			p.t.Fatal(err)
		}
	}
	l := letter{from: from, m: meta(p.dev[from], p.dev[1-from], 1<<40)}
	h := header{ratchet: st.ratchetPublic, previous: previous, number: number, answer: st.answer}
	var err error
	if l.ct, err = sealEnvelope(l.m, testOwn(), st.prelude, st.sendHeader, secret{}, h, nil); err != nil {
		p.t.Fatal(err)
	}
	return l
}

func TestB4_SkipKeyDoS(t *testing.T) {
	// In the current chain, and in a new chain, where the count includes both chains.
	inChain := newPair(t)
	newChain := newPair(t)
	newChain.open(newChain.seal(1, "turn"))
	got := newChain.s[1].st.recvNumber
	cases := []struct {
		name             string
		p                *testPair
		previous, number uint32
	}{
		{"in chain", inChain, 0, math.MaxUint32},
		{"in chain", inChain, 0, 25001},
		{"in chain", inChain, 0, inChain.s[1].st.recvNumber + MaxSkip + 1},
		{"new chain", newChain, got, math.MaxUint32},
		{"new chain", newChain, got, MaxSkip + 1},
		{"previous", newChain, math.MaxUint32, 0},
		{"previous", newChain, got + MaxSkip + 1, 0},
		{"both", newChain, got + MaxSkip, 1},
		{"both", newChain, math.MaxUint32, math.MaxUint32},
	}
	for _, c := range cases {
		l := c.p.evilHeader(0, c.previous, c.number)
		before := c.p.s[1].Marshal()
		w := &work{}
		for range 1000 {
			if _, _, err := c.p.s[1].st.open(l.m, l.ct, nil, unix(c.p.now), w); !errors.Is(err, ErrSkip) {
				t.Fatalf("%s %d/%d: %v", c.name, c.previous, c.number, err)
			}
		}
		if w.steps != 0 || w.trials > 1000*(MaxOldHeaderKeys+2) {
			t.Fatalf("%s %d/%d: %d chain steps, %d trials", c.name, c.previous, c.number, w.steps, w.trials)
		}
		allocs := testing.AllocsPerRun(20, func() {
			_, _, _ = c.p.s[1].st.open(l.m, l.ct, nil, unix(c.p.now), w)
		})
		if allocs > 200 {
			t.Errorf("%s %d/%d: %v allocations", c.name, c.previous, c.number, allocs)
		}
		if !bytes.Equal(before, c.p.s[1].Marshal()) {
			t.Fatal("state changed")
		}
	}
	// A message at the limit is hashed once and then refused as a whole.
	l := inChain.evilHeader(0, 0, inChain.s[1].st.recvNumber+MaxSkip)
	w := &work{}
	if _, _, err := inChain.s[1].st.open(l.m, l.ct, nil, unix(inChain.now), w); !errors.Is(err, ErrOpen) {
		t.Fatalf("at the limit, with a bad body: %v", err)
	}
	if w.steps != MaxSkip+1 {
		t.Fatalf("%d chain steps at the limit", w.steps)
	}
	newChain.roundTrip()
	inChain.roundTrip()
}

// The limit can be used up: 1,000 lost messages do not end a session.
func TestB4_LimitIsUsable(t *testing.T) {
	p := newPair(t)
	var late letter
	for i := range MaxSkip {
		if l := p.seal(0, "lost"); i == 17 {
			late = l
		}
	}
	p.open(p.seal(0, "arrives"))
	p.roundTrip()
	p.open(late)
	if len(p.keys[1]) != MaxSkip-1 {
		t.Fatalf("%d keys", len(p.keys[1]))
	}
}

func TestB6_ChainFlood(t *testing.T) {
	p := newPair(t)
	p.open(p.seal(1, "turn"))
	before := p.s[1].Marshal()
	for i := range 10000 / raceDivisor {
		l := p.evilHeader(0, p.s[1].st.recvNumber, uint32(i%3))
		if _, err := p.s[1].Open(l.m, l.ct, nil, p.now); !errors.Is(err, ErrOpen) {
			t.Fatalf("chain %d: %v", i, err)
		}
	}
	if !bytes.Equal(before, p.s[1].Marshal()) {
		t.Fatal("bad chains changed the state")
	}
	// Real chains, each with one message that does not arrive.
	var lost []letter
	for range 50 {
		lost = append(lost, p.seal(0, "lost"))
		p.open(p.seal(0, "got"))
		p.open(p.seal(1, "turn"))
		if n := len(p.s[1].st.old); n > MaxOldHeaderKeys {
			t.Fatalf("%d old chains", n)
		}
	}
	// Late messages of the current chain and of five old ones still open.
	opened := 0
	for _, l := range lost {
		if err := p.tryOpen(l); err == nil {
			opened++
		} else if !errors.Is(err, ErrNoSession) {
			t.Fatal(err)
		}
	}
	if opened != MaxOldHeaderKeys+1 {
		t.Fatalf("%d late messages opened", opened)
	}
	p.roundTrip()
}

// Chains that wait for messages are kept longer than younger ones that do not.
func TestOldChainsThatWaitAreKept(t *testing.T) {
	p := newPair(t)
	lost := p.seal(0, "late")
	p.open(p.seal(0, "got"))
	for range 30 {
		p.roundTrip()
	}
	p.open(lost)
	for range 10 {
		p.roundTrip()
	}
	for _, o := range p.s[1].st.old {
		if o.missing != 0 {
			t.Fatal("a chain is kept for messages that have arrived")
		}
	}
	if err := p.tryOpen(lost); err == nil {
		t.Fatal("opened twice")
	}
	// But not for ever.
	lost = p.seal(0, "too late")
	p.open(p.seal(0, "got"))
	p.roundTrip()
	p.now = p.now.Add(SkippedMinimum)
	for range MaxOldHeaderKeys + 1 {
		p.roundTrip()
	}
	if err := p.tryOpen(lost); !errors.Is(err, ErrNoSession) {
		t.Fatalf("after a day and %d steps: %v", MaxOldHeaderKeys+1, err)
	}
}

func TestExpired(t *testing.T) {
	p := newPair(t)
	for range 6 {
		p.roundTrip()
	}
	now, epoch := p.now, p.s[1].Epoch()
	row := func(back uint32, age time.Duration, n uint32) StoredRef {
		return StoredRef{Ref: SkippedRef{Epoch: epoch - back, N: n}, Stored: now.Add(-age)}
	}
	cases := []struct {
		row  StoredRef
		gone bool
	}{
		{row(0, 29*24*time.Hour, 0), false},
		{row(0, SkippedLifetime, 0), true},
		{row(SkippedSteps, SkippedMinimum-time.Second, 0), false},
		{row(SkippedSteps, SkippedMinimum, 0), true},
		{row(SkippedSteps-1, SkippedMinimum, 0), false},
	}
	for i, c := range cases {
		if got := len(p.s[1].Expired([]StoredRef{c.row}, now)) == 1; got != c.gone {
			t.Errorf("case %d: gone %v", i, got)
		}
	}
	var rows []StoredRef
	for n := range uint32(MaxStoredKeys) {
		rows = append(rows, row(0, 0, n))
	}
	rows = append(rows, row(1, 0, 7), row(2, 0, 3))
	gone := p.s[1].Expired(rows, now)
	if len(gone) != 2 || gone[0] != rows[len(rows)-1].Ref || gone[1] != rows[len(rows)-2].Ref {
		t.Errorf("beyond the limit: %v", gone)
	}
}
