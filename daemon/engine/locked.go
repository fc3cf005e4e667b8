package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// lockedSend is what a locked profile seals into its queue: the send as it was
// asked for, and the ids that its caller was given.
type lockedSend struct {
	Params local.SendParams  `json:"params"`
	IDs    []store.MessageID `json:"ids"`
	Sent   time.Time         `json:"sent"`
}

// lockedBatch bounds how many queued sends one transaction moves.
const lockedBatch = 64

// QueueLocked queues a send of a locked profile, without an engine: it is
// sealed to the queue's public key and moved to the outbox at unlock. Names are
// resolved then; what cannot be sent is told by an event then.
func QueueLocked(ctx context.Context, st *store.Store, keys *keyring.Keyring, account store.AccountID, p local.SendParams, now time.Time) (local.SendResults, error) {
	out := local.SendResults{Results: []local.SendResult{}}
	if _, err := checkSend(p); err != nil {
		return out, err
	}
	if p.Require != "" || p.IdempotencyKey != "" {
		return out, local.Errorf(local.CodeLocked, "the profile is locked; this cannot be checked").WithHint("secmsg unlock")
	}
	q := lockedSend{Params: p, Sent: now}
	for _, name := range p.Peers {
		id, err := newID()
		if err != nil {
			return out, err
		}
		q.IDs = append(q.IDs, id)
		out.Results = append(out.Results, local.SendResult{ID: idText(id), Peer: name, State: local.StateQueued, Time: local.Time{Time: now}})
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
	return out, toLocal(err)
}

func (e *Engine) queueLocked(ctx context.Context, p local.SendParams) (local.SendResults, error) {
	return QueueLocked(ctx, e.store, e.keys, e.account, p, e.now())
}

// moveLocked moves what was queued while the profile was locked to the outbox.
func (e *Engine) moveLocked() error {
	more := false
	err := e.update(func(tx *store.Tx) error {
		more = false
		if tx.Locked() {
			return nil
		}
		list, err := tx.LockedSends(e.account, lockedBatch)
		if err != nil {
			return err
		}
		more = len(list) == lockedBatch
		for _, l := range list {
			err := tx.Sub(func() error { return e.moveOne(tx, l) })
			if err != nil && isDisk(err) {
				return err
			}
			if err != nil {
				if err := e.system(tx, "", local.System{Text: "a message queued while the profile was locked cannot be sent: " + local.As(err).Message}); err != nil {
					return err
				}
			}
			if err := tx.DeleteLockedSend(l.Ord); err != nil {
				return err
			}
		}
		return nil
	})
	if more {
		e.at(taskLocked, 0)
	}
	return err
}

// moveOne queues one locked send under the ids that were given out.
func (e *Engine) moveOne(tx *store.Tx, l store.LockedSend) error {
	plain, err := e.keys.QueueOpen(tx, e.account, l.Sealed)
	if err != nil {
		return err
	}
	defer clear(plain)
	var q lockedSend
	if err := json.Unmarshal(plain, &q); err != nil {
		return fmt.Errorf("queued send: %w", err)
	}
	replyTo, err := checkSend(q.Params)
	if err != nil {
		return err
	}
	if len(q.IDs) != len(q.Params.Peers) {
		return errors.New("queued send: ids do not match the recipients")
	}
	done := make(map[store.PeerID]bool)
	for i, name := range q.Params.Peers {
		one := q.Params
		one.Peers = []string{name}
		to, err := e.recipients(tx, one)
		if err != nil {
			return err
		}
		if done[to[0].id] {
			continue
		}
		done[to[0].id] = true
		if err := e.queueOne(tx, q.IDs[i], one, to[0], replyTo, q.Sent); err != nil {
			return err
		}
	}
	return nil
}
