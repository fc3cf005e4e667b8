package engine

import (
	"context"
	"slices"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// wait is a caller's wait for one message.
type wait struct {
	id      store.MessageID
	changes chan history.Change
	last    *history.Change // the last that await saw
}

// maxChanges is more than the states that a message can pass through between two
// looks. Further changes are dropped, since the store has the last word.
const maxChanges = 16

// waits are the callers that wait for changes of messages. They belong to the actor.
type waits map[store.MessageID][]chan history.Change

// watch registers a wait.
func (ws waits) watch(id store.MessageID) *wait {
	w := &wait{id: id, changes: make(chan history.Change, maxChanges)}
	ws[id] = append(ws[id], w.changes)
	return w
}

// unwatch removes a wait.
func (ws waits) unwatch(w *wait) {
	left := slices.DeleteFunc(ws[w.id], func(c chan history.Change) bool { return c == w.changes })
	if len(left) == 0 {
		delete(ws, w.id)
	} else {
		ws[w.id] = left
	}
}

// tell passes on a change that was committed.
func (ws waits) tell(id store.MessageID, c history.Change) {
	for _, ch := range ws[id] {
		select {
		case ch <- c:
		default:
		}
	}
}

// unwatch removes waits.
func (e *Engine) unwatch(list []*wait) {
	if len(list) == 0 {
		return
	}
	err := e.do(context.Background(), func() error {
		for _, w := range list {
			e.waits.unwatch(w)
		}
		return nil
	})
	if err != nil {
		e.logger.Debug("end of a wait", "error", err)
	}
}

// await waits until every message has reached the state that p.Wait demands or is
// stuck. It reports whether the time ran out first. fresh are the messages when
// their waits began, nil if that is not known.
func (e *Engine) await(ctx context.Context, p local.SendParams, waits []*wait, fresh []local.SendResult) (timedOut bool) {
	if !e.Connected() {
		e.Kick() // somebody is waiting
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
		if states, err = e.messageStates(ctx, waits); err != nil {
			return false
		}
	}
	for i, w := range waits {
		at := states[i]
		for !reached(at, goal) && !stuck(at) {
			select {
			case c := <-w.changes:
				at, w.last = c.State, &c
			case <-timer.C:
				return true
			case <-ctx.Done():
				return true
			case <-e.quit:
				return true
			}
		}
	}
	return false
}

// seen returns the results of messages whose waits saw them to the end, nil if the
// store must be asked about one.
func seen(waits []*wait, fresh []local.SendResult) []local.SendResult {
	out := slices.Clone(fresh)
	for i := range out {
		c := waits[i].last
		if c == nil {
			return nil
		}
		out[i].State, out[i].Time, out[i].Error = history.ShownState(c.State, c.Reason), history.TimeMS(c.At), history.StateError(c.State, c.Reason, out[i].Peer)
	}
	return out
}

// messageStates returns the present states.
func (e *Engine) messageStates(ctx context.Context, waits []*wait) ([]string, error) {
	ids := make([]store.MessageID, len(waits))
	for i, w := range waits {
		ids[i] = w.id
	}
	return inView(ctx, e, func(tx *store.Tx) ([]string, error) { return e.history.States(tx, ids) })
}

// results reads the outcomes of messages. After a wait that timed out, those that
// have not reached what p.Wait demands get an error that says so.
func (e *Engine) results(ctx context.Context, ids []store.MessageID, p local.SendParams, timedOut bool) (local.SendResults, error) {
	list, err := inView(context.WithoutCancel(ctx), e, func(tx *store.Tx) ([]local.SendResult, error) { return e.history.Results(tx, ids) })
	if err != nil {
		return local.SendResults{Results: []local.SendResult{}}, err
	}
	for i := range list {
		r := &list[i]
		if r.Error == nil && timedOut && p.Wait != "" && p.Wait != waitQueued && !reached(r.State, p.Wait) {
			r.Error = local.Errorf(local.CodeTimeout, "the message to %s is still %s; delivery continues", r.Peer, r.State)
		}
	}
	return local.SendResults{Results: list}, nil
}

// reached reports whether a message is as far as a wait demands. A message that is
// held, failed or expired ends a wait without reaching it.
func reached(state, wait string) bool {
	rank := map[string]int{local.StateAccepted: 1, local.StateDelivered: 2, local.StateRead: 3}
	want := map[string]int{waitServer: 1, waitDelivered: 2, waitRead: 3}
	return rank[state] >= want[wait]
}

// stuck reports whether a wait ends because the state will not change by itself.
func stuck(state string) bool {
	return state == local.StateHeld || state == local.StateFailed || state == local.StateExpired
}
