package blob

import (
	"context"
	"slices"
	"sync"
	"time"

	"secmsg/rpc/wire"
)

const (
	// leastRate is what a transfer is to get, in bytes a second, so that a part of
	// 8 MiB takes about a minute: beyond that the next one waits for its turn
	// instead of slowing all the others down.
	leastRate = 128 << 10
	// overdue is how long a step waits at most while other accounts are served in
	// turn: well below what clients and the server take for a standstill (20 s).
	overdue = 5 * time.Second
	// doorWait is how long a transfer waits for its turn before it is told to come
	// back later: less than a client waits for "100 Continue".
	doorWait = 5 * time.Second
	// shapeBurst is how much time without traffic is made good for.
	shapeBurst = 100 * time.Millisecond
)

// shaper bounds the bytes of all transfers together. Accounts are served in turn,
// step by step, however many transfers each has. It starts no goroutine but that
// of a timer while somebody waits. A nil shaper bounds nothing.
type shaper struct {
	// constant
	rate int64 // bytes a second
	most int   // transfers at a time at leastRate

	mu      sync.Mutex
	lanes   map[string]*lane // of accounts with transfers; guarded by mu, as all below
	ring    []*lane          // of those with steps that wait, in the order of their turn
	fifo    []*step          // all steps that wait, the oldest first
	running int              // transfers that are let in
	next    time.Time        // when the next step may go
	timer   *time.Timer      // nil: nothing waits
}

// lane is one account.
type lane struct {
	name    string
	running int     // transfers that are let in
	door    []*step // transfers that are not, the oldest first
	steps   []*step // of those that are, the oldest first
}

// step waits for its turn.
type step struct {
	l    *lane
	n    int
	came time.Time
	turn chan struct{} // closed when it is its turn
}

// newShaper returns a shaper of rate bytes a second; nil for 0.
func newShaper(rate int64) *shaper {
	if rate == 0 {
		return nil
	}
	return &shaper{rate: rate, most: int(max(1, rate/leastRate)), lanes: make(map[string]*lane)}
}

// enter lets a transfer in. An account has its share of the transfers that there
// is room for, and always one as long as there are fewer accounts than twice that
// many. The error is a *wire.Error, or that of ctx; else leave must follow.
func (s *shaper) enter(ctx context.Context, account string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	l := s.lanes[account]
	if l == nil {
		l = &lane{name: account}
		s.lanes[account] = l
	}
	if len(l.door) == 0 && s.room(l) {
		s.let(l)
		s.mu.Unlock()
		return nil
	}
	w := &step{l: l, turn: make(chan struct{})}
	l.door = append(l.door, w)
	s.mu.Unlock()
	late := time.NewTimer(doorWait)
	defer late.Stop()
	var err error
	select {
	case <-w.turn:
		return nil
	case <-late.C:
		err = &wire.Error{Code: wire.CodeRateLimited, Message: "the server bounds what all transfers together take", RetryAfter: 1}
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(l.door, w)
	if i < 0 {
		return nil // it was let in just now
	}
	l.door = slices.Delete(l.door, i, i+1)
	s.forget(l)
	return err
}

// room reports whether one more transfer of an account may run.
func (s *shaper) room(l *lane) bool {
	return l.running < max(1, s.most/len(s.lanes)) && s.running < 2*s.most
}

func (s *shaper) let(l *lane) {
	l.running++
	s.running++
}

// leave ends a transfer that was let in.
func (s *shaper) leave(account string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[account]
	l.running--
	s.running--
	s.forget(l)
	// Those who have least come first.
	for {
		var least *lane
		for _, l := range s.lanes {
			if len(l.door) > 0 && s.room(l) && (least == nil || l.running < least.running) {
				least = l
			}
		}
		if least == nil {
			return
		}
		s.let(least)
		close(least.door[0].turn)
		least.door = least.door[1:]
	}
}

// forget removes a lane in which nothing is any more.
func (s *shaper) forget(l *lane) {
	if l.running == 0 && len(l.door) == 0 {
		delete(s.lanes, l.name)
	}
}

// wait returns when a transfer that was let in may move n bytes more, at most a
// step.
func (s *shaper) wait(ctx context.Context, account string, n int) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	now := time.Now()
	l := s.lanes[account]
	if len(s.fifo) == 0 && !s.next.After(now) {
		s.spend(now, n)
		s.mu.Unlock()
		return nil
	}
	w := &step{l: l, n: n, came: now, turn: make(chan struct{})}
	s.fifo = append(s.fifo, w)
	if l.steps = append(l.steps, w); len(l.steps) == 1 {
		s.ring = append(s.ring, l)
	}
	s.arm(now)
	s.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.fifo, w) {
		s.drop(w)
	}
	return ctx.Err()
}

// spend counts n bytes that go at now.
func (s *shaper) spend(now time.Time, n int) {
	if oldest := now.Add(-shapeBurst); s.next.Before(oldest) {
		s.next = oldest
	}
	s.next = s.next.Add(time.Duration(float64(n) / float64(s.rate) * float64(time.Second)))
}

// arm has serve called when the next step may go.
func (s *shaper) arm(now time.Time) {
	if s.timer == nil && len(s.fifo) > 0 {
		s.timer = time.AfterFunc(s.next.Sub(now), s.serve)
	}
}

// serve lets the steps go whose time has come.
func (s *shaper) serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = nil
	now := time.Now()
	for len(s.fifo) > 0 && !s.next.After(now) {
		w := s.ring[0].steps[0]
		if now.Sub(s.fifo[0].came) >= overdue {
			w = s.fifo[0]
		}
		s.drop(w)
		s.spend(now, w.n)
		close(w.turn)
	}
	s.arm(now)
}

// drop takes a step out of all queues; its account goes to the end of the ring.
func (s *shaper) drop(w *step) {
	del := func(list []*step) []*step {
		i := slices.Index(list, w)
		return slices.Delete(list, i, i+1)
	}
	s.fifo, w.l.steps = del(s.fifo), del(w.l.steps)
	i := slices.Index(s.ring, w.l)
	s.ring = slices.Delete(s.ring, i, i+1)
	if len(w.l.steps) > 0 {
		s.ring = append(s.ring, w.l)
	}
}
