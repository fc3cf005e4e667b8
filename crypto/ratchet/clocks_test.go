package ratchet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// clocks is two ends whose clocks are wrong, in a world that loses letters and states. It follows the
// rules of SPEC for messages that do not open: the receiver asks for them again, inside a session that
// it begins, at most one per hour of its own clock.
type clocks struct {
	*testWorld
	skew    [2]time.Duration
	rebuilt [2]time.Time
	missing [2]map[uint64]bool  // sent to this end but not shown
	asked   map[uint64][]uint64 // by the id of a request: the requested ids
}

func newClocks(t *testing.T, seed uint64, devices [2]*testDevice) *clocks {
	c := &clocks{testWorld: newTestWorld(t, seed, devices), missing: [2]map[uint64]bool{{}, {}}, asked: map[uint64][]uint64{}}
	c.lossy = true
	c.skewBoth()
	return c
}

// skewBoth sets both clocks again, mostly slightly wrong, sometimes by days.
func (c *clocks) skewBoth() {
	for i := range c.skew {
		most := []time.Duration{time.Minute, 2 * time.Hour, 3 * time.Hour, 30 * time.Hour, 60 * 24 * time.Hour}[c.rng.IntN(5)]
		c.skew[i] = time.Duration(c.rng.Int64N(int64(2*most))) - most
	}
}

func (c *clocks) clock(end int) time.Time { return c.now.Add(c.skew[end]) }

// begin begins a session with prekeys that never run out.
func (c *clocks) begin(end int) {
	c.t.Helper()
	e := c.ends[end]
	now := c.clock(end)
	b := e.peer.bundle(false) // its prekeys are dated by correct clocks: their verification is not tested here
	known := make([]uint32, 0, 4)
	for _, x := range e.set.Entries() {
		known = append(known, x.Session.Generation())
	}
	s := must(initiate(e.dev.self(), b, ownGeneration(known, unix(now)), testStart()))
	next := must(e.set.Sweep(now).Add(s, now))
	e.put(must(next.Activate(s.TranscriptHash(), now)))
}

func (c *clocks) post(from int, id uint64, text string) letter {
	c.t.Helper()
	if c.ends[from].set.Active() == nil {
		c.begin(from)
	}
	l := c.ends[from].seal(id, text, c.clock(from))
	l.from = from
	return l
}

// write sends a message or a request. A request is kept until it is shown, like a message.
func (c *clocks) write(from int) (id uint64) {
	c.t.Helper()
	c.nextID++
	c.missing[1-from][c.nextID] = true
	c.again(from, c.nextID)
	return c.nextID
}

func (c *clocks) again(from int, id uint64) {
	c.t.Helper()
	c.mail = append(c.mail, numbered{c.post(from, id, fmt.Sprintf("message %d", id)), id})
}

// arrive opens a letter, or asks for it again if it does not open.
func (c *clocks) arrive(l letter, id uint64) bool {
	c.t.Helper()
	to := 1 - l.from
	e := c.ends[to]
	e.put(e.set.Sweep(c.clock(to)))
	err := e.open(l, id, c.clock(to))
	if err == nil {
		if e.shown[id] > 1 {
			c.t.Fatalf("message %d is shown twice", id)
		}
		return true
	}
	if !errors.Is(err, ErrNoSession) && !errors.Is(err, errNotAgain) && !errors.Is(err, ErrReplay) && !errors.Is(err, ErrGeneration) {
		c.t.Fatalf("message %d: %v", id, err)
	}
	return false
}

// demand asks the other end for every message that an end misses.
func (c *clocks) demand(to int) {
	c.t.Helper()
	ids := slices.Sorted(maps.Keys(c.missing[to]))
	if len(ids) == 0 {
		return
	}
	if now := c.clock(to); c.rebuilt[to].IsZero() || now.Sub(c.rebuilt[to]).Abs() >= RebuildInterval || c.ends[to].set.Active() == nil {
		c.begin(to)
		c.rebuilt[to] = now
	}
	c.asked[c.write(to)] = ids
}

// deliverOne delivers the oldest letter. A request makes its session the sending one, and the requested
// messages are sealed again in it.
func (c *clocks) deliverOne() {
	c.t.Helper()
	m := c.mail[0]
	c.mail = c.mail[1:]
	to := 1 - m.from
	if !c.missing[to][m.id] || !c.arrive(m.letter, m.id) {
		return
	}
	delete(c.missing[to], m.id)
	ids, ok := c.asked[m.id]
	if !ok {
		return
	}
	e := c.ends[to]
	if set, err := e.set.Activate(e.last, c.clock(to)); err == nil {
		e.put(set)
	}
	for _, id := range ids {
		if c.missing[m.from][id] {
			c.again(to, id)
		}
	}
}

// Two ends have clocks that are wrong by minutes to months, differently from time to time, lose letters
// and lose their sessions. As soon as letters arrive, they show every message once, and then need no
// more requests.
func TestRandomClocks(t *testing.T) {
	devices := [2]*testDevice{newTestDevice("alice"), newTestDevice("bob")}
	for seed := range uint64(150 / raceDivisor) {
		c := newClocks(t, seed, devices)
		for range 40 + c.rng.IntN(60) {
			switch n := c.rng.IntN(100); {
			case n < 40:
				c.write(c.rng.IntN(2))
			case n < 70 && len(c.mail) > 0:
				c.deliverOne()
			case n < 75 && len(c.mail) > 0:
				c.mail = c.mail[1:] // lost
			case n < 84:
				c.demand(c.rng.IntN(2))
			case n < 86:
				c.ends[c.rng.IntN(2)].put(Set{}) // its state is lost
			case n < 89:
				c.begin(c.rng.IntN(2))
			case n < 91:
				c.skewBoth()
			default:
				c.now = c.now.Add(time.Duration(c.rng.IntN(120)) * time.Minute)
			}
		}
		rounds := 0
		for ; len(c.missing[0])+len(c.missing[1]) > 0 && rounds < 30; rounds++ {
			for end := range 2 {
				c.demand(end)
				for len(c.mail) > 0 {
					c.deliverOne()
				}
			}
			c.now = c.now.Add(time.Hour)
		}
		if n := len(c.missing[0]) + len(c.missing[1]); n > 0 {
			t.Fatalf("seed %d: %d messages never arrive; clocks are off by %s", seed, n, c.skew)
		}
		// Now the ends agree well enough for every message to open at once.
		for i := range 8 {
			c.write(i % 2)
			c.deliverOne()
		}
		if n := len(c.missing[0]) + len(c.missing[1]); n > 0 {
			t.Fatalf("seed %d: %d messages do not open after %d rounds; clocks are off by %s", seed, n, rounds, c.skew)
		}
	}
}
