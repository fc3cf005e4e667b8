package blob

import (
	"context"
	"slices"
	"sync"
	"time"

	"secmsg/rpc/wire"
)

const (
	// leastRate is the rate that a running transfer should get, in bytes per second, so that a part of
	// 8 MiB takes about a minute. When the bandwidth does not allow that for one more transfer, that
	// transfer waits for its turn instead of slowing all others down.
	leastRate = 128 << 10
	// overdue is the longest time that a step waits while other accounts take their turns. It is well
	// below the time after which clients and the server assume a stalled connection (20 s).
	overdue = 5 * time.Second
	// doorWait is how long a transfer waits for admission before it must retry later: less
	// than a client waits for "100 Continue".
	doorWait = 5 * time.Second
	// shapeBurst is how much unused time can be caught up on.
	shapeBurst = 100 * time.Millisecond
)

// shaper bounds the bytes of all transfers together. Accounts take turns, step by step, however many
// transfers each has. It starts no goroutine except that of a timer while a step waits. A nil shaper
// bounds nothing.
type shaper struct {
	// constant
	rate int64 // bytes per second
	most int   // simultaneous transfers that get leastRate each

	mu      sync.Mutex
	lanes   map[string]*lane // of accounts with transfers; guarded by mu, like all fields below
	ring    []*lane          // accounts with waiting steps, in the order of their turn
	fifo    []*step          // all waiting steps, oldest first
	running int              // admitted transfers
	next    time.Time        // when the next step may start
	timer   *time.Timer      // nil while nothing waits
}

// lane is the queue of one account.
type lane struct {
	name    string
	running int     // admitted transfers
	door    []*step // transfers that wait for admission, oldest first
	steps   []*step // waiting steps of admitted transfers, oldest first
}

// step is a step or a transfer that waits for its turn.
type step struct {
	l    *lane
	n    int
	came time.Time
	turn chan struct{} // closed at its turn
}

// newShaper returns a shaper for rate bytes per second, or nil for 0.
func newShaper(rate int64) *shaper {
	if rate == 0 {
		return nil
	}
	return &shaper{rate: rate, most: int(max(1, rate/leastRate)), lanes: make(map[string]*lane)}
}

// enter admits a transfer, or waits for admission. An account gets its share of the possible transfers,
// and always one as long as there are fewer accounts than twice that number. It returns a *wire.Error
// or the error of ctx; on success, leave must follow.
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
		err = &wire.Error{Code: wire.CodeRateLimited, Message: "the server's bandwidth for transfers is used up", RetryAfter: 1}
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(l.door, w)
	if i < 0 {
		return nil // admitted at the last moment
	}
	l.door = slices.Delete(l.door, i, i+1)
	s.forget(l)
	return err
}

// room reports whether the account may run one more transfer.
func (s *shaper) room(l *lane) bool {
	return l.running < max(1, s.most/len(s.lanes)) && s.running < 2*s.most
}

func (s *shaper) let(l *lane) {
	l.running++
	s.running++
}

// leave ends an admitted transfer.
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
	// Accounts with the fewest transfers come first.
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

// forget removes an empty lane.
func (s *shaper) forget(l *lane) {
	if l.running == 0 && len(l.door) == 0 {
		delete(s.lanes, l.name)
	}
}

// wait returns when an admitted transfer may move n more bytes, at most one step.
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

// spend charges n bytes that are sent now.
func (s *shaper) spend(now time.Time, n int) {
	if oldest := now.Add(-shapeBurst); s.next.Before(oldest) {
		s.next = oldest
	}
	s.next = s.next.Add(time.Duration(float64(n) / float64(s.rate) * float64(time.Second)))
}

// arm schedules serve for the next step.
func (s *shaper) arm(now time.Time) {
	if s.timer == nil && len(s.fifo) > 0 {
		s.timer = time.AfterFunc(s.next.Sub(now), s.serve)
	}
}

// serve starts the steps that are due.
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

// drop removes a step from all queues and moves its account to the end of the ring.
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
