package engine

import (
	"errors"
	"time"

	"secmsg/crypto/ratchet"
	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// retryRequested notes the messages that a device could not open and asks for. They
// are sealed again later, for this device alone and in the session that it asked
// in, when the window has room. However many requests arrive at once, they cost
// neither memory nor a long transaction.
//
// A request reveals nothing that was delivered to the asking device: there must be
// an envelope of the message for exactly this device, sealed at most 30 days ago,
// that the device has not acknowledged. An attacker who copies the state of a
// device and has the server's help therefore cannot fetch messages that the device
// has read.
func (e *Engine) retryRequested(tx *store.Tx, in *incoming, r *e2e.Retry) error {
	replaced, err := e.keys.Activate(tx, e.account, in.peer, in.device, in.opened.Session, e.keyTime())
	if err == nil && replaced {
		err = e.sessionReplaced(tx, in)
	}
	if err != nil {
		return err
	}
	if _, ok, err := e.answerable(tx, in.peer, in.device); !ok || err != nil {
		return err
	}
	refused := false
	for _, b := range r.GetMessageIds() {
		ok, err := e.admitRetry(tx, store.MessageID(b), pairKey{peer: in.peer, device: in.device})
		if err != nil {
			return err
		}
		refused = refused || !ok
	}
	if refused {
		return tx.Count(e.account, countRetry)
	}
	return nil
}

// answerable returns a device as a target. ok is false if nothing may be sealed for
// it now.
func (e *Engine) answerable(tx *store.Tx, peer store.PeerID, device [16]byte) (t sealTarget, ok bool, err error) {
	to, err := e.trust.CheckSend(tx, e.account, peer, false, e.now())
	if errors.Is(err, trust.ErrChanged) || errors.Is(err, trust.ErrBlocked) || errors.Is(err, trust.ErrUnverified) || errors.Is(err, trust.ErrUnknownPeer) {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	for _, d := range to.Devices {
		if d.ID == device {
			t = sealTarget{Target: keyring.Target{Account: e.account, Peer: peer, Address: to.Address, Device: d}, version: to.Version, own: peer == e.selfPeer}
			return t, true, nil
		}
	}
	return t, false, nil
}

// admitRetry notes that a device asks for a message, and reports whether it may.
func (e *Engine) admitRetry(tx *store.Tx, id store.MessageID, from pairKey) (bool, error) {
	env, err := tx.EnvelopeHead(e.account, id, from.device)
	if err != nil && !isNotFound(err) {
		return false, err
	}
	switch {
	case err != nil, env.Peer != from.peer, env.Filler, env.Status == store.EnvelopeRejected, env.ExpiresMS <= e.profileTime().UnixMilli():
		return false, nil
	case env.Status == store.EnvelopeAsked:
		return true, nil // it was asked for before and waits
	}
	// Counted before the commit, so that the next request of this transaction sees it.
	ok, waiting, undo := e.asking.reseals.admit(flightKey{id: id, device: from.device}, env.Status == store.EnvelopePending, time.Now())
	if !ok || waiting {
		return ok, nil
	}
	tx.OnUndo(undo)
	tx.OnCommit(func() { e.schedule(taskReseal, 0) })
	return tx.AskEnvelope(e.account, id, from.device)
}

// resealAsked seals requested messages again, as far as the window has room. The
// ciphertexts stay in the store until they are sent.
func (e *Engine) resealAsked() error {
	if !e.up || e.window.paused(time.Now()) {
		e.schedule(taskReseal, e.cfg.BackoffMax)
		return nil
	}
	limit := min(e.window.room(), perTx)
	if limit <= 0 {
		e.schedule(taskReseal, e.cfg.BackoffMin)
		return nil
	}
	except, waiting := e.except()
	type resealed struct {
		asked   int
		flights []*flight
	}
	r, err := inTx(e, func(tx *store.Tx) (r resealed, err error) {
		list, err := tx.AskedEnvelopes(e.account, except, limit)
		if err != nil {
			return r, err
		}
		r.asked = len(list)
		for _, env := range list {
			var f *flight
			err := tx.Sub(func() (err error) {
				f, err = e.sealAgain(tx, env)
				return err
			})
			if err != nil && store.Failed(err) {
				return r, err
			}
			if err != nil {
				e.logger.Error("seal a message again", "message", history.IDText(env.ID), "error", err)
			}
			if f == nil || err != nil {
				if err := tx.Unask(e.account, env.ID, env.Device); err != nil {
					return r, err
				}
				continue
			}
			r.flights = append(r.flights, f)
		}
		return r, nil
	})
	if err != nil {
		return err
	}
	e.window.addAll(r.flights)
	switch {
	case r.asked == limit:
		e.schedule(taskReseal, 0)
	case len(except) > 0 || waiting:
		e.schedule(taskReseal, e.cfg.BackoffMax)
	}
	if len(r.flights) > 0 {
		e.schedule(taskTransmit, 0)
	}
	return nil
}

// sealAgain seals one message again for a device that asked for it, with the same
// counter. It returns nil if there is nothing to seal.
func (e *Engine) sealAgain(tx *store.Tx, env store.Envelope) (*flight, error) {
	t, ok, err := e.answerable(tx, env.Peer, env.Device)
	if !ok || err != nil {
		return nil, err
	}
	has, err := e.keys.HasSession(tx, e.account, env.Peer, env.Device)
	if !has || err != nil {
		return nil, err
	}
	o, err := e.sent(tx, env.ID)
	if o == nil || err != nil {
		return nil, err
	}
	plain, err := finish(o)
	if err != nil {
		return nil, err
	}
	if t.own && !o.Control {
		if plain, err = e.syncCopy(tx, o); err != nil {
			return nil, err
		}
	}
	env.Status, env.Manifest = store.EnvelopePending, t.version
	if env.Ciphertext, err = e.keys.Seal(tx, t.Target, ratchet.ClassDurable, env.ID, plain, e.keyTime()); err != nil {
		return nil, err
	}
	if err := tx.PutEnvelope(&env); err != nil {
		return nil, err
	}
	f := newFlight(&env, t.Address.User)
	f.ciphertext = nil
	return f, nil
}

// sent returns the message that was sent under an id, from the outbox or, once it
// was delivered, from history. It returns nil for messages that ended otherwise,
// and for those whose counter belongs to another own device: a receiver checks the
// counter against the device that sends.
func (e *Engine) sent(tx *store.Tx, id store.MessageID) (*store.Outgoing, error) {
	o, err := tx.Outgoing(e.account, id)
	if store.DamagedValue(err) != nil {
		return nil, nil // the pump reports it
	}
	if err == nil {
		if o.Phase == store.PhaseHeld || e2e.Durable(e2e.Kind(o.Kind)) && o.N == 0 {
			return nil, nil
		}
		return o, nil
	}
	if !isNotFound(err) {
		return nil, err
	}
	m, err := tx.Message(e.account, id)
	if isNotFound(err) || store.DamagedValue(err) != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ended := m.State == local.StateFailed || m.State == local.StateExpired
	if m.Direction != store.Out || m.N == 0 || ended || string(m.Device) != string(e.device[:]) {
		return nil, nil
	}
	c, err := history.ContentOf(m)
	if errors.Is(err, history.ErrKind) {
		tx.OnCommit(func() { e.log.Error("cannot send a message again", "message", history.IDText(id), "error", err) })
		return nil, nil // an error would stop the delivery of the request that asks for it
	}
	if err != nil {
		return nil, err
	}
	body, err := encodeDraft(c)
	if err != nil {
		return nil, err
	}
	return &store.Outgoing{Account: e.account, ID: id, Peer: m.Peer, Kind: m.Kind, N: m.N, SentMS: m.SentMS, Body: body}, nil
}
