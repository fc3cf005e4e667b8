package engine

import (
	"errors"
	"fmt"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// expireBatch bounds how many outbox rows one transaction ends.
const expireBatch = 100

// expire ends messages that were not delivered in time. Rows that have done their
// work (accepted control content) are dropped silently.
func (e *Engine) expire() error {
	now := e.profileTime()
	type expired struct {
		gone []store.MessageID
		next int64 // expiry
	}
	x, err := inTx(e, func(tx *store.Tx) (x expired, err error) {
		rows, err := tx.OutgoingExpired(e.account, now.UnixMilli(), expireBatch)
		if err != nil {
			return x, err
		}
		for i := range rows {
			o := &rows[i]
			if !o.Control {
				if err := e.history.SetState(tx, o.ID, local.StateExpired, history.ReasonExpired); err != nil {
					return x, err
				}
			}
			if err := tx.DeleteOutgoing(e.account, o.ID); err != nil {
				return x, err
			}
			x.gone = append(x.gone, o.ID)
		}
		x.next, err = tx.NextExpiry(e.account)
		return x, err
	})
	if err != nil {
		return err
	}
	e.window.dropMessages(x.gone)
	switch {
	case len(x.gone) == expireBatch:
		e.schedule(taskExpire, 0)
	case x.next > 0:
		e.schedule(taskExpire, max(time.UnixMilli(x.next).Sub(now), time.Millisecond))
	}
	return nil
}

// tellGaps reports counters that have been missing for GapAfter, each once.
func (e *Engine) tellGaps() error {
	now := e.profileTime()
	oldest, err := inTx(e, func(tx *store.Tx) (int64, error) {
		gaps, err := tx.Gaps(e.account, now.Add(-e.cfg.GapAfter).UnixMilli())
		if err != nil {
			return 0, err
		}
		for _, g := range gaps {
			addr, err := history.PeerName(tx, g.Peer)
			if err != nil {
				return 0, err
			}
			if err := e.tellGap(tx, g, addr); err != nil {
				return 0, err
			}
			if err := tx.GapTold(e.account, g); err != nil {
				return 0, err
			}
		}
		return tx.OldestGap(e.account)
	})
	if err != nil {
		return err
	}
	if oldest > 0 {
		e.schedule(taskGaps, max(time.UnixMilli(oldest).Add(e.cfg.GapAfter).Sub(now), time.Millisecond))
	}
	return nil
}

// strangersAtOnce bounds the peers that one sweep forgets.
const strangersAtOnce = 500

// gapsPerDay bounds the events about gaps of one peer, which could leave out every
// second number.
const gapsPerDay = 20

// tellGap reports a gap. After the last one of a day it says that there are more.
func (e *Engine) tellGap(tx *store.Tx, g store.Gap, addr string) error {
	n, err := tx.PerDay(e.account, g.Peer, "gaps")
	if err != nil || n > gapsPerDay+1 {
		return err
	}
	if n == gapsPerDay+1 {
		return e.history.System(tx, addr, local.System{Text: "more messages from " + addr + " are missing; further gaps are not reported today"})
	}
	return e.history.System(tx, addr, local.System{Gap: &local.Gap{Peer: addr, From: g.Low, To: g.High}})
}

// sweep forgets everything whose retention has ended. Old keys have a transaction of
// their own: their deletion is what keeps read messages secret, and must not depend
// on the rest.
func (e *Engine) sweep() error {
	e.schedule(taskSweep, e.cfg.Sweep)
	e.asking.sweep(time.Now())
	keys := e.update(func(tx *store.Tx) error { return e.keys.Sweep(tx, e.account, e.keyTime()) })
	return errors.Join(keys, e.sweepRecords())
}

// sweepRecords forgets all but keys. It runs on profile time, so that a wrong wall
// clock ends nothing early.
func (e *Engine) sweepRecords() error {
	now := e.profileTime()
	return e.update(func(tx *store.Tx) error {
		if _, err := tx.DeleteSeen(e.account, now.Add(-e.cfg.DedupeKeep).UnixMilli()); err != nil {
			return err
		}
		if _, err := tx.DeleteIdempotent(e.account, now.Add(-e.cfg.KeyKeep).UnixMilli()); err != nil {
			return err
		}
		if _, err := tx.DeleteReceipts(e.account, now.Add(-e.cfg.Retention).UnixMilli()); err != nil {
			return err
		}
		if err := tx.ExpireEnvelopes(e.account, now.UnixMilli()); err != nil {
			return err
		}
		if err := tx.ForgetRemoved(e.account, now.Add(-trust.RemovedKeep).UnixMilli()); err != nil {
			return err
		}
		lost, err := tx.ExpireParked(e.account, now.Add(-e.cfg.Retention).UnixMilli())
		if err != nil {
			return err
		}
		strangers := 0
		for peer, n := range lost {
			stranger, err := tx.Stranger(e.account, peer)
			if err != nil {
				return err
			}
			if stranger { // the server can invent any number of them
				strangers += n
				continue
			}
			addr, err := history.PeerName(tx, peer)
			if err != nil {
				return err
			}
			if err := e.history.System(tx, addr, local.System{Text: fmt.Sprintf("%d messages from %s could not be shown and have expired", n, addr)}); err != nil {
				return err
			}
		}
		if strangers > 0 {
			text := fmt.Sprintf("%d messages from unknown senders could not be shown and have expired", strangers)
			if err := e.history.System(tx, "", local.System{Text: text}); err != nil {
				return err
			}
		}
		if err := tx.ForgetStrangers(e.account, e.selfPeer, strangersAtOnce); err != nil {
			return err
		}
		if err := e.retain(tx); err != nil {
			return err
		}
		return e.journal.Sweep(tx)
	})
}

// retain deletes the history that a contact's policy no longer keeps. It counts in
// profile time from the moment of receipt, so that a wrong clock of this machine
// deletes nothing early. Unread messages stay.
func (e *Engine) retain(tx *store.Tx) error {
	all, err := tx.Contacts(e.account)
	if err != nil {
		return err
	}
	for _, c := range all {
		keep, err := e.trust.Retention(tx, e.account, c.Peer)
		if err != nil {
			return err
		}
		if keep > 0 {
			if err := tx.DeleteHistory(e.account, c.Peer, e.profileTime().Add(-keep).UnixMilli()); err != nil {
				return err
			}
		}
	}
	return tx.DeleteFiles(e.account)
}
