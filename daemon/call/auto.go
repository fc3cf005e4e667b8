package call

import (
	"context"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/rpc/local"
)

// waiter is a request to answer the next call, without an id.
type waiter struct {
	from []identity.Address // callers' addresses; empty: any peer whose policy allows it
	got  chan taken
}

// taken is a waiter's result.
type taken struct {
	id  ID
	err error
}

func (w *waiter) give(id ID, err error) { w.got <- taken{id, err} } // never blocks: called once, and the channel has room for one

// await waits for the next call that may be answered automatically, and claims it.
func (s *Service) await(ctx context.Context, p local.CallAnswerParams) (ID, error) {
	w := &waiter{got: make(chan taken, 1)}
	for _, name := range p.From {
		peer, err := s.signals.Check(ctx, name)
		if err != nil {
			return ID{}, err
		}
		w.from = append(w.from, peer)
	}
	err := s.do(ctx, func() error {
		if s.stopped {
			return errStopped
		}
		s.waiters = append(s.waiters, w)
		for _, l := range s.live {
			if !l.call.Accepted && l.reason == "" && !l.claimed {
				s.assign(l, true)
			}
		}
		return nil
	})
	if err != nil {
		return ID{}, err
	}
	var late <-chan time.Time
	if p.Timeout > 0 {
		t := time.NewTimer(time.Duration(p.Timeout * float64(time.Second)))
		defer t.Stop()
		late = t.C
	}
	select {
	case x := <-w.got:
		return x.id, x.err
	case <-late:
		err = local.Errorf(local.CodeTimeout, "nobody called")
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.post(func() { s.leave(w) })
	return ID{}, err
}

// leave removes a waiter. A call that it has been given keeps ringing.
func (s *Service) leave(w *waiter) {
	s.waiters = slices.DeleteFunc(s.waiters, func(x *waiter) bool { return x == w })
	select {
	case x := <-w.got:
		s.unclaim(x.id, true)
	default:
	}
}

// unclaim lets a claimed call ring again and offers it to the next waiter. With alone, it
// may be answered by the device itself.
func (s *Service) unclaim(id ID, alone bool) {
	l := s.live[id]
	if l == nil || l.ops != nil {
		return
	}
	l.claimed = false
	if l.reason == "" && !l.call.Accepted && !s.stopped {
		s.assign(l, alone)
	}
}

// assign finds somebody to answer a ringing call automatically: first a waiter that named
// its caller; else, if the caller's policy allows it, a waiter for any caller, or with
// alone the device itself.
func (s *Service) assign(l *live, alone bool) {
	if s.give(l, func(w *waiter) bool { return slices.Contains(w.from, l.call.Peer) }) {
		return
	}
	peer := l.call.Peer
	s.wg.Go(func() {
		yes, err := s.signals.AutoAnswer(s.work, peer)
		if err != nil {
			s.logger.Warn("read the policy for a call", "error", err)
		}
		if err != nil || !yes {
			return
		}
		s.post(func() {
			if s.stopped || s.live[l.id] != l || l.call.Accepted || l.reason != "" || l.claimed {
				return
			}
			if s.give(l, func(w *waiter) bool { return len(w.from) == 0 }) {
				return
			}
			if !alone {
				return
			}
			l.claimed = true
			s.wg.Go(func() { s.answerAlone(l.id) })
		})
	})
}

// give hands a call to the first waiter that accepts it.
func (s *Service) give(l *live, takes func(w *waiter) bool) bool {
	i := slices.IndexFunc(s.waiters, takes)
	if i < 0 || s.state.Active() != nil {
		return false
	}
	w := s.waiters[i]
	s.waiters = slices.Delete(s.waiters, i, i+1)
	l.claimed = true
	w.give(l.id, nil)
	return true
}

// answerAlone answers a call with microphone and loudspeaker, because its caller's policy
// allows it and nobody waits for it. If there are none, the call keeps ringing.
func (s *Service) answerAlone(id ID) {
	if _, err := s.take(s.work, id, local.CallMedia{}, nil); err != nil {
		s.logger.Warn("automatic answer failed", "error", err)
	}
}
