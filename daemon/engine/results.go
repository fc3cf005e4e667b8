package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"secmsg/crypto/ratchet"
	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/wire"
)

// Results implements link.Handler: the relay's answers, in one transaction. If the
// store fails, the envelopes stay pending and are sent again; the recipient
// recognizes duplicates.
func (e *Engine) Results(_ context.Context, results []link.Result) {
	var a answers
	err := e.share(func(tx *store.Tx) (err error) {
		a, err = e.recordAnswers(tx, results, time.Now())
		return err
	}, func(err error) {
		now := time.Now()
		if err != nil {
			e.window.restart() // the envelopes on their way count as unanswered
			e.window.pause = now.Add(failWait)
			e.schedule(taskPump, failWait)
			return
		}
		e.landAll(results, a, now)
		e.schedule(taskTransmit, 0)
	})
	if err != nil {
		e.logger.Warn("record answers of the relay", "error", err)
	}
}

// answers are the envelopes with a final answer, and the messages to hold.
type answers struct {
	done []*flight
	held []store.MessageID
}

// recordAnswers writes the relay's final answers to the store.
func (e *Engine) recordAnswers(tx *store.Tx, results []link.Result, now time.Time) (answers, error) {
	var a answers
	touched := make(map[store.MessageID]bool)
	for _, r := range results {
		if r.Class == wire.Class_CLASS_PROBE {
			tx.OnCommit(func() { e.probes.answered(r) })
			continue
		}
		if r.Class == wire.Class_CLASS_ONLINE {
			tx.OnCommit(func() { e.signals.answered(r) })
			continue
		}
		f := e.window.flights[flightKey{id: r.MessageID, device: r.Device}]
		if f == nil || !f.sent {
			continue
		}
		final, err := e.answer(tx, f, r, now)
		if err != nil {
			return a, err
		}
		if err := e.history.Passed(tx, r.MessageID, f.pair.peer, r.Device, history.StationAnswered, refusal(r)); err != nil {
			return a, err
		}
		if final {
			a.done = append(a.done, f)
			touched[f.key.id] = true
		}
		if !r.Accepted && r.Reason == wire.Reason_REASON_REQUEST {
			a.held = append(a.held, f.key.id)
		}
	}
	for _, id := range a.held {
		if err := e.holdForRequest(tx, id); err != nil {
			return a, err
		}
	}
	for id := range touched {
		if err := e.settle(tx, id); err != nil {
			return a, err
		}
	}
	return a, nil
}

// answer records one answer and reports whether it was final.
func (e *Engine) answer(tx *store.Tx, f *flight, r link.Result, now time.Time) (final bool, err error) {
	switch {
	case r.Accepted && f.filler:
		return true, tx.DeleteEnvelope(e.account, f.key.id, f.key.device)
	case r.Accepted:
		_, err = tx.AnswerEnvelope(e.account, f.key.id, f.key.device, store.EnvelopeAccepted, 0)
		return true, err
	case r.Reason == wire.Reason_REASON_REQUEST:
		return false, nil
	case !r.Final:
		return false, nil
	}
	if r.Reason == wire.Reason_REASON_DEVICE_GONE {
		tx.OnCommit(func() { e.asking.peer(f.pair.peer).refresh = true })
		if err := e.queueAgain(tx, f.key.id); err != nil {
			return false, err
		}
	}
	_, err = tx.AnswerEnvelope(e.account, f.key.id, f.key.device, store.EnvelopeRejected, int32(r.Reason))
	return true, err
}

// refusal names why the relay refused an envelope, for the log; empty if it did not.
func refusal(r link.Result) string {
	if r.Accepted {
		return ""
	}
	return reasonText(r.Reason)
}

// queueAgain queues a message again after one of its devices is gone, so that
// devices that were added since get it before its fate is decided.
func (e *Engine) queueAgain(tx *store.Tx, id store.MessageID) error {
	o, err := tx.OutgoingHead(e.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || o.Phase == store.PhaseHeld || len(o.Device) > 0 {
		return err
	}
	tx.OnCommit(func() { e.schedule(taskPump, 0) })
	return tx.SetPhase(e.account, id, store.PhaseQueued, "")
}

// holdForRequest keeps a sealed message until the peer accepts this account.
func (e *Engine) holdForRequest(tx *store.Tx, id store.MessageID) error {
	o, err := tx.OutgoingHead(e.account, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || o.Phase == store.PhaseHeld {
		return err
	}
	return e.hold(tx, o, history.ReasonRequest)
}

// landAll tells the window about answers that are committed.
func (e *Engine) landAll(results []link.Result, a answers, now time.Time) {
	for _, r := range results {
		if r.Class == wire.Class_CLASS_PROBE {
			continue
		}
		wait, full := e.window.answer(r, now)
		if wait > 0 {
			e.schedule(taskTransmit, wait)
		}
		if full == nil {
			continue
		}
		e.schedule(taskPump, 0)
		if err := e.giveUp(full); err != nil {
			e.logger.Warn("fail messages for a full mailbox", "error", err)
			full.full = false
		}
	}
	for _, f := range a.done {
		e.window.drop(f)
	}
	e.window.dropMessages(a.held)
}

// giveUp rejects the envelopes for a device whose mailbox stays full. The relay
// accepts nothing from the pair before the first envelope comes again, so that one
// is kept, sealed anew with an empty content. When it is accepted, the mailbox has
// room again; its message stays failed.
func (e *Engine) giveUp(p *pair) error {
	if len(p.flights) == 0 || p.flights[0].filler {
		return nil
	}
	filler, err := inTx(e, func(tx *store.Tx) (*flight, error) {
		for _, f := range p.flights[1:] {
			if _, err := tx.AnswerEnvelope(e.account, f.key.id, f.key.device, store.EnvelopeRejected, int32(wire.Reason_REASON_QUOTA)); err != nil {
				return nil, err
			}
		}
		filler, err := e.sealFiller(tx, p.flights[0])
		if err != nil {
			return nil, err
		}
		for _, f := range p.flights {
			if err := e.settle(tx, f.key.id); err != nil {
				return nil, err
			}
		}
		return filler, nil
	})
	if err != nil {
		return err
	}
	for _, f := range slices.Clone(p.flights[1:]) {
		e.window.drop(f)
	}
	e.window.add(filler)
	return nil
}

// sealFiller seals an empty content in place of an envelope.
func (e *Engine) sealFiller(tx *store.Tx, f *flight) (*flight, error) {
	env, err := tx.Envelope(e.account, f.key.id, f.key.device)
	if err != nil {
		return nil, err
	}
	addr, err := e.address(tx, f.pair.peer)
	if err != nil {
		return nil, err
	}
	t := keyring.Target{Account: e.account, Peer: f.pair.peer, Address: addr}
	t.Device.ID = f.key.device
	plain, err := e2e.Marshal(&e2e.Content{Kind: e2e.Kind_KIND_SESSION, Body: &e2e.Content_Session{Session: &e2e.Session{}}})
	if err != nil {
		return nil, err
	}
	env.Ciphertext, err = e.keys.Seal(tx, t, ratchet.ClassDurable, f.key.id, plain, e.keyTime())
	if err != nil {
		return nil, err
	}
	env.Filler = true
	if err := tx.PutEnvelope(env); err != nil {
		return nil, err
	}
	return newFlight(env, addr.User), nil
}

// Stale implements link.Handler: later manifests of an account, after a send named
// an old one. Undelivered messages to the account are sealed for the devices that
// lack them.
func (e *Engine) Stale(ctx context.Context, account string, manifests [][]byte) {
	err := e.do(ctx, func() error { return e.learn(account, nil, manifests) })
	if err != nil {
		e.logger.Warn("record newer manifests", "account", account, "error", err)
	}
}
