package engine

import (
	"context"
	"errors"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// The engine is the link's handler.
var _ link.Handler = (*Engine)(nil)

// Fence implements link.Handler.
func (e *Engine) Fence(ctx context.Context) (value []byte, steps uint64, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		value, steps, err = tx.Fence(e.account)
		return err
	})
	return value, steps, err
}

// StoreFence implements link.Handler.
func (e *Engine) StoreFence(ctx context.Context, value []byte) error {
	return e.store.Update(ctx, func(tx *store.Tx) error { return tx.SetFence(e.account, value) })
}

// Up implements link.Handler. On a new contact connection all envelopes without an
// answer are sent again, in order.
func (e *Engine) Up(role wire.Role, serverTime time.Time) {
	e.conn.set(func(s *status) {
		if role == wire.RoleContact {
			s.contact, s.stopped = true, nil
		} else {
			s.replica = true
		}
		s.offset = e.now().Sub(serverTime)
		if s.contact && s.replica {
			s.err = nil
		}
	})
	if role == wire.RoleContact {
		e.onUp()
	}
	err := e.do(context.Background(), func() error {
		if err := e.store.SetServerTime(e.storeCtx(), serverTime); err != nil {
			e.logger.Warn("store profile time", "error", err)
		}
		if role != wire.RoleContact {
			return nil
		}
		e.up = true
		e.announceReady()
		e.window.restart()
		e.presence.connected()
		e.asking.connected()
		for _, t := range []task{taskPump, taskReceipts, taskAskAgain, taskReseal, taskRelations, taskSubscribe, taskUpkeep, taskClaims} {
			e.schedule(t, 0)
		}
		return nil
	})
	if err != nil {
		e.logger.Debug("connection up", "error", err)
	}
}

// Down implements link.Handler.
func (e *Engine) Down(role wire.Role, cause error) {
	e.conn.set(func(s *status) {
		if role == wire.RoleContact {
			s.contact = false
		} else {
			s.replica, s.mail = false, false
		}
		s.err = connectionError(cause)
		s.failures++
	})
	if role != wire.RoleContact {
		return
	}
	err := e.do(context.Background(), func() error {
		e.up = false
		e.window.disconnected()
		e.probes.failAll(e.Away())
		e.signals.disconnected()
		return nil
	})
	if err != nil {
		e.logger.Debug("connection down", "error", err)
	}
}

// Fatal implements link.Handler: the server calls this copy of the device old or
// revoked. Envelopes that an old copy sealed must never leave, so their messages
// are queued again for the device that replaces it. A revoked copy keeps
// everything, since the server may be wrong.
func (e *Engine) Fatal(reason wire.Reason) {
	err := e.do(context.Background(), func() error {
		e.up = false
		if reason == wire.Reason_REASON_REVOKED {
			return nil
		}
		if err := e.update(e.dropSealed); err != nil {
			return err
		}
		e.window.clear()
		return nil
	})
	if err != nil {
		e.logger.Error("drop sealed envelopes", "error", err)
	}
}

// dropSealed drops the pending envelopes, queues their messages again, and tells
// the user.
func (e *Engine) dropSealed(tx *store.Tx) error {
	if err := tx.Unseal(e.account); err != nil {
		return err
	}
	return e.history.System(tx, "", local.System{Text: "the server refuses this copy of the device; its encrypted messages were discarded, but history and outbox are kept"})
}

// endOldCalls records the end of the calls that were going on when the previous run
// was killed. It does so once in a run: a call that is still open at a later load is
// one of this run, which the call service is about to record itself.
func (e *Engine) endOldCalls() error {
	if e.signals.oldEnded {
		return nil
	}
	if err := e.update(e.history.EndOpenCalls); err != nil {
		if store.Failed(err) {
			return err
		}
		e.logger.Error("end the calls of the previous run", "error", err)
	}
	e.signals.oldEnded = true
	return nil
}

// load reads the pending envelopes after a start. Their ciphertexts stay in the
// store until they are sent.
func (e *Engine) load() error {
	if e.loaded {
		return nil
	}
	type pending struct {
		self    store.PeerID
		flights []*flight
	}
	p, err := inTx(e, func(tx *store.Tx) (p pending, err error) {
		if p.self, err = tx.Peer(e.account, e.self.String()); err != nil {
			return p, err
		}
		for after := int64(0); ; {
			list, err := tx.PendingEnvelopes(e.account, after, perTx)
			if err != nil || len(list) == 0 {
				return p, err
			}
			for i := range list {
				after = list[i].Ord
				addr, err := e.address(tx, list[i].Peer)
				if store.DamagedValue(err) != nil {
					e.logger.Error("an envelope of a damaged peer waits", "message", history.IDText(list[i].ID), "error", err)
					continue
				}
				if err != nil {
					return p, err
				}
				f := newFlight(&list[i], addr.User)
				f.ciphertext = nil
				p.flights = append(p.flights, f)
			}
		}
	})
	if errors.Is(err, store.ErrLocked) {
		e.schedule(taskLoad, idleWait) // Wake makes it due at unlock
		return nil
	}
	if err != nil {
		return err
	}
	e.selfPeer = p.self
	if err := e.endOldCalls(); err != nil {
		return err
	}
	e.window.addAll(p.flights)
	e.loaded = true
	e.announceReady()
	for _, t := range order() {
		if t != taskLoad {
			e.schedule(t, 0)
		}
	}
	return nil
}
