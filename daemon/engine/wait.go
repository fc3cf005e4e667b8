package engine

import (
	"context"
	"slices"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// stateChange is a state that an own message reached, and when (Unix milliseconds).
type stateChange struct {
	state, reason string
	at            int64
}

// wait watches one message for its sender.
type wait struct {
	id      store.MessageID
	changes chan stateChange
	last    *stateChange // that await saw
}

// maxChanges is more than the states a message can pass through between two
// looks; further ones are dropped, since the store has the last word.
const maxChanges = 16

// watch registers a wait; actor only.
func (e *Engine) watch(id store.MessageID) *wait {
	w := &wait{id: id, changes: make(chan stateChange, maxChanges)}
	e.waiters[id] = append(e.waiters[id], w.changes)
	return w
}

// unwatch removes waits.
func (e *Engine) unwatch(waits []*wait) {
	err := e.do(context.Background(), func() error {
		for _, w := range waits {
			left := slices.DeleteFunc(e.waiters[w.id], func(c chan stateChange) bool { return c == w.changes })
			if len(left) == 0 {
				delete(e.waiters, w.id)
			} else {
				e.waiters[w.id] = left
			}
		}
		return nil
	})
	if err != nil {
		e.logger.Debug("end of a wait", "error", err)
	}
}

// tell tells waiters of a change that was committed; actor only.
func (e *Engine) tell(id store.MessageID, c stateChange) {
	for _, ch := range e.waiters[id] {
		select {
		case ch <- c:
		default:
		}
	}
}

// await waits until every message has reached what p.Wait demands or is stuck.
// It reports whether the time ran out first. fresh is what messages were when
// their waits began, nil if that is not known.
func (e *Engine) await(ctx context.Context, p local.SendParams, waits []*wait, fresh []local.SendResult) (timedOut bool) {
	if !e.Connected() {
		e.Kick() // somebody waits
	}
	if p.Wait == waitQueued {
		return false
	}
	goal, limit := p.Wait, e.cfg.DefaultWait
	if goal == "" {
		goal = waitServer
	} else {
		limit = e.cfg.WaitTimeout
	}
	if p.Timeout > 0 {
		limit = time.Duration(min(p.Timeout, maxExpires) * float64(time.Second))
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	states := make([]string, len(waits))
	for i := range fresh {
		states[i] = fresh[i].State
	}
	if fresh == nil { // with an idempotency key the messages may be old
		var err error
		if states, err = e.states(ctx, waits); err != nil {
			return false
		}
	}
	for i, w := range waits {
		at := states[i]
		for !reached(at, goal) && !stuck(at) {
			select {
			case c := <-w.changes:
				at, w.last = c.state, &c
			case <-timer.C:
				return true
			case <-ctx.Done():
				return true
			case <-e.quit:
				for _, w := range waits {
					w.last = nil // the next engine's changes are not told here
				}
				return e.awaitStored(ctx, goal, timer, waits)
			}
		}
	}
	return false
}

// storedEvery is how often the store is asked when no engine tells.
const storedEvery = 100 * time.Millisecond

// awaitStored goes on with a wait whose engine has ended, as it does when the
// device is replaced: the next engine changes the same rows.
func (e *Engine) awaitStored(ctx context.Context, goal string, timer *time.Timer, waits []*wait) (timedOut bool) {
	tick := time.NewTicker(storedEvery)
	defer tick.Stop()
	for {
		states, err := e.states(ctx, waits)
		if err != nil {
			return true
		}
		if !slices.ContainsFunc(states, func(at string) bool { return !reached(at, goal) && !stuck(at) }) {
			return false
		}
		select {
		case <-tick.C:
		case <-timer.C:
			return true
		case <-ctx.Done():
			return true
		}
	}
}

// seen returns the results of messages that their waits saw through to the end,
// nil if the store must be asked for one.
func seen(waits []*wait, fresh []local.SendResult) []local.SendResult {
	out := slices.Clone(fresh)
	for i := range out {
		c := waits[i].last
		if c == nil {
			return nil
		}
		out[i].State, out[i].Time, out[i].Error = shownState(c.state, c.reason), localMS(c.at), stateError(c.state, c.reason, out[i].Peer)
	}
	return out
}

// states returns the present states.
func (e *Engine) states(ctx context.Context, waits []*wait) ([]string, error) {
	out := make([]string, len(waits))
	err := e.store.View(ctx, func(tx *store.Tx) error {
		for i, w := range waits {
			m, err := e.lastHead(tx, w.id)
			if err != nil {
				return err
			}
			out[i] = m.State
		}
		return nil
	})
	return out, err
}

// results reads what became of the messages.
func (e *Engine) results(ctx context.Context, ids []store.MessageID, p local.SendParams, timedOut bool) (local.SendResults, error) {
	out := local.SendResults{Results: []local.SendResult{}}
	err := e.store.View(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		for _, id := range ids {
			m, err := e.lastHead(tx, id)
			if isNotFound(err) {
				return local.Errorf(local.CodeNotFound, "the message was sent before as %s; its history is deleted", idText(id))
			}
			if err != nil {
				return err
			}
			r, err := sendResult(tx, m)
			if err != nil {
				return err
			}
			if r.Error == nil && timedOut && p.Wait != "" && p.Wait != waitQueued && !reached(m.State, p.Wait) {
				r.Error = local.Errorf(local.CodeTimeout, "the message to %s is %s; it goes on", r.Peer, m.State)
			}
			out.Results = append(out.Results, r)
		}
		return nil
	})
	return out, toLocal(err)
}

// lastHead returns an own message, or what was last known of one whose history
// is deleted and that an idempotency key stands for.
func (e *Engine) lastHead(tx *store.Tx, id store.MessageID) (*store.Message, error) {
	m, err := tx.MessageHead(e.account, id)
	if isNotFound(err) {
		return tx.LastKnown(e.account, id)
	}
	return m, err
}

// sendResult is a message's line in the answers of send and outbox list.
func sendResult(tx *store.Tx, m *store.Message) (local.SendResult, error) {
	peer, err := peerName(tx, m.Peer)
	if err != nil {
		return local.SendResult{}, err
	}
	r := local.SendResult{
		ID: idText(m.ID), Peer: peer, State: shownState(m.State, m.Reason), Time: localMS(m.ChangedMS), Error: stateError(m.State, m.Reason, peer),
	}
	return r, fileResult(tx, m, &r)
}

func localMS(ms int64) local.Time {
	if ms == 0 {
		return local.Time{}
	}
	return local.Time{Time: time.UnixMilli(ms)}
}
