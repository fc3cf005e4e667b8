package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// lockedSend is the content of a sealed queue entry of a locked profile: the
// parameters of the send, and the ids that its caller was given.
type lockedSend struct {
	Params local.SendParams  `json:"params"`
	IDs    []store.MessageID `json:"ids"`
	Sent   time.Time         `json:"sent"`
}

// lockedBatch bounds how many queued sends one transaction moves.
const lockedBatch = 64

// QueueLocked queues a send of a locked profile, without an engine: it is sealed to
// the queue's public key and moved to the outbox at unlock. Only then are names
// resolved, and messages that cannot be sent reported by an event.
func QueueLocked(ctx context.Context, st *store.Store, keys *keyring.Keyring, account store.AccountID, p local.SendParams, now time.Time) (local.SendResults, error) {
	out := local.SendResults{Results: []local.SendResult{}}
	waiting := local.Errorf(local.CodeLocked, "the profile is locked").WithHint("secmsg unlock")
	if _, err := checkParams(p); err != nil {
		return out, err
	}
	if p.Require != "" || p.IdempotencyKey != "" {
		return out, local.Errorf(local.CodeLocked, "the profile is locked, so require and idempotency keys cannot be checked").WithHint("secmsg unlock")
	}
	q := lockedSend{Params: p, Sent: now}
	for _, name := range p.Peers {
		id, err := history.NewID()
		if err != nil {
			return out, err
		}
		q.IDs = append(q.IDs, id)
		out.Results = append(out.Results, local.SendResult{ID: history.IDText(id), Peer: name, State: local.StateQueued, Time: local.Time{Time: now}, Waiting: waiting})
	}
	plain, err := json.Marshal(q)
	if err != nil {
		return out, fmt.Errorf("queue: %w", err)
	}
	err = st.Update(ctx, func(tx *store.Tx) error {
		sealed, err := keys.QueueSeal(tx, account, plain)
		if err != nil {
			return err
		}
		return tx.QueueLocked(account, sealed, st.ProfileTime().UnixMilli())
	})
	return out, err
}

func (e *Engine) queueLocked(ctx context.Context, p local.SendParams) (local.SendResults, error) {
	return QueueLocked(ctx, e.store, e.keys, e.account, p, e.now())
}

// moveLocked moves the sends that were queued while the profile was locked to the
// outbox.
func (e *Engine) moveLocked() error {
	more, err := inTx(e, func(tx *store.Tx) (more bool, err error) {
		if tx.Locked() {
			return false, nil
		}
		list, err := tx.LockedSends(e.account, lockedBatch)
		if err != nil {
			return false, err
		}
		for _, l := range list {
			if err := e.moveSend(tx, l); err != nil {
				return false, err
			}
			if err := tx.DeleteLockedSend(l.Ord); err != nil {
				return false, err
			}
		}
		return len(list) == lockedBatch, nil
	})
	if more {
		e.schedule(taskLocked, 0)
	}
	return err
}

// cannotSend reports a message that was queued while the profile was locked.
func (e *Engine) cannotSend(tx *store.Tx, which string, err error) error {
	return e.history.System(tx, "", local.System{Text: "a message" + which + " queued while the profile was locked cannot be sent: " + local.As(err).Message})
}

// moveSend queues one locked send under the ids that were given out. A recipient
// that cannot be sent to is reported and does not affect the others.
func (e *Engine) moveSend(tx *store.Tx, l store.LockedSend) error {
	q, err := e.openLocked(tx, l)
	if err != nil && store.Failed(err) {
		return err
	}
	if err != nil {
		return e.cannotSend(tx, "", err)
	}
	if q.Params.Expires > 0 {
		// Its time began when the user sent it.
		q.Params.Expires -= e.profileTime().Sub(time.UnixMilli(l.CreatedMS)).Seconds()
		if q.Params.Expires <= 0 {
			return e.cannotSend(tx, "", local.Errorf(local.CodeExpired, "it expired"))
		}
	}
	done := make(map[store.PeerID]bool)
	for i, name := range q.Params.Peers {
		err := tx.Sub(func() error { return e.moveOne(tx, q, i, done) })
		if err != nil && store.Failed(err) {
			return err
		}
		if err == nil {
			continue
		}
		if err := e.cannotSend(tx, " to "+name+" ("+history.IDText(q.IDs[i])+")", err); err != nil {
			return err
		}
	}
	return nil
}

// openLocked opens and checks a locked send.
func (e *Engine) openLocked(tx *store.Tx, l store.LockedSend) (lockedSend, error) {
	var q lockedSend
	plain, err := e.keys.QueueOpen(tx, e.account, l.Sealed)
	if err != nil {
		return q, err
	}
	defer clear(plain)
	if err := json.Unmarshal(plain, &q); err != nil {
		return q, fmt.Errorf("queued send: %w", err)
	}
	if len(q.IDs) != len(q.Params.Peers) {
		return q, errors.New("queued send: ids do not match the recipients")
	}
	_, err = checkParams(q.Params)
	return q, err
}

// moveOne queues the message to one recipient of a locked send.
func (e *Engine) moveOne(tx *store.Tx, q lockedSend, i int, done map[store.PeerID]bool) error {
	one := q.Params
	one.Peers = q.Params.Peers[i : i+1]
	replyTo, err := checkParams(one)
	if err != nil {
		return err
	}
	to, err := e.recipients(tx, one)
	if err != nil || done[to[0].id] {
		return err
	}
	if _, err = e.queueOne(tx, q.IDs[i], one, to[0], replyTo, q.Sent); err == nil {
		done[to[0].id] = true
	}
	return err
}
