package engine

import (
	"errors"
	"time"

	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
)

const (
	// resealsPerHour bounds how often one envelope is sealed again for a peer
	// that asks.
	resealsPerHour = 3
	// maxReseals bounds the memory of that.
	maxReseals = 10_000
)

// askAgain asks the senders of what did not open to seal it again: inside a
// new session, at most one per device and hour, else inside the present one.
func (e *Engine) askAgain() error {
	var list []store.Parked
	err := e.store.View(e.work, func(tx *store.Tx) (err error) {
		list, err = tx.ParkedToAsk(e.account, e2e.MaxIDs)
		return err
	})
	if err != nil {
		return err
	}
	now := e.profileTime()
	due := make(map[pairKey][]store.Parked)
	for _, p := range list {
		wait := time.Duration(0)
		if p.AskedMS > 0 {
			wait = time.UnixMilli(p.AskedMS).Add(e.cfg.RetryEvery << min(p.Asks-1, 8)).Sub(now)
		}
		if wait > 0 {
			e.at(taskRetry, wait)
			continue
		}
		k := pairKey{peer: p.Peer, device: p.Device}
		if len(due[k]) < e2e.MaxIDs {
			due[k] = append(due[k], p)
		} else {
			e.at(taskRetry, e.cfg.BackoffMin)
		}
	}
	for k, parked := range due {
		if err := e.askDevice(k, parked); err != nil && damaged(err) == nil {
			return err
		}
	}
	return nil
}

// askDevice asks one device. Without a connection it waits for one.
func (e *Engine) askDevice(k pairKey, parked []store.Parked) error {
	if !e.up {
		return nil // Up makes it due
	}
	var rebuilt int64
	var user string
	var has bool
	err := e.store.View(e.work, func(tx *store.Tx) (err error) {
		if rebuilt, err = tx.Rebuilt(e.account, k.peer, k.device); err != nil {
			return err
		}
		if has, err = e.keys.HasSession(tx, e.account, k.peer, k.device); err != nil {
			return err
		}
		addr, err := e.address(tx, k.peer)
		user = addr.User
		return err
	})
	if err != nil {
		return err
	}
	now := e.profileTime()
	next := time.UnixMilli(rebuilt).Add(e.cfg.RebuildEvery).Sub(now)
	switch {
	case rebuilt > 0 && next > 0 && has:
		return e.update(func(tx *store.Tx) error { return e.queueRetry(tx, k, parked) })
	case rebuilt > 0 && next > 0:
		e.at(taskRetry, next)
		return nil
	}
	p := e.peer(k.peer)
	if p.busy || p.notBefore.After(time.Now()) {
		e.at(taskRetry, e.cfg.BackoffMin)
		return nil
	}
	p.busy = true
	e.fetchBundles(need{peer: k.peer, user: user, bundles: []key.DeviceID{k.device}}, func(tx *store.Tx, started []key.DeviceID) error {
		if len(started) == 0 {
			tx.OnCommit(func() { e.at(taskRetry, e.cfg.NoKeysFor) })
			return nil
		}
		if err := tx.SetRebuilt(e.account, k.peer, k.device, e.profileTime().UnixMilli()); err != nil {
			return err
		}
		return e.queueRetry(tx, k, parked)
	})
	e.at(taskRetry, e.cfg.BackoffMax)
	return nil
}

// queueRetry queues the request for what is still missing.
func (e *Engine) queueRetry(tx *store.Tx, k pairKey, parked []store.Parked) error {
	var ids [][]byte
	for _, p := range parked {
		seen, err := tx.Seen(e.account, p.Peer, p.ID)
		if err != nil {
			return err
		}
		if seen {
			if err := tx.DeleteParked(p.Ord); err != nil {
				return err
			}
			continue
		}
		if err := tx.ParkedAsked(p, e.profileTime().UnixMilli()); err != nil {
			return err
		}
		ids = append(ids, p.ID[:])
	}
	if len(ids) == 0 {
		return nil
	}
	tx.OnCommit(func() { e.at(taskRetry, e.cfg.RetryEvery) })
	return e.control(tx, k.peer, k.device[:], &e2e.Content{Kind: e2e.Kind_KIND_RETRY, Body: &e2e.Content_Retry{Retry: &e2e.Retry{MessageIds: ids}}})
}

// retry answers a device that could not open messages: they are sealed again
// for it alone, in the session that it asked in, which is the one it has.
func (e *Engine) retry(tx *store.Tx, in *incoming, r *e2e.Retry) error {
	replaced, err := e.keys.Activate(tx, e.account, in.peer, in.device, in.opened.Session, e.profileTime())
	if err == nil && replaced {
		err = e.sessionReplaced(tx, in)
	}
	if err != nil {
		return err
	}
	to, err := e.trust.CheckSend(tx, e.account, in.peer, false, e.now())
	if errors.Is(err, trust.ErrChanged) || errors.Is(err, trust.ErrBlocked) || errors.Is(err, trust.ErrUnverified) || errors.Is(err, trust.ErrUnknownPeer) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range to.Devices {
		if d.ID != in.device {
			continue
		}
		t := sealTarget{Target: keyring.Target{Account: e.account, Peer: in.peer, Address: to.Address, Device: d}, version: to.Version, own: in.addr == e.self}
		for _, b := range r.GetMessageIds() {
			if err := e.reseal(tx, store.MessageID(b), t); err != nil {
				return err
			}
		}
	}
	return nil
}

// reseal seals one message again for a device that asked, from the outbox or,
// when it is done, from history. The counter stays the same.
func (e *Engine) reseal(tx *store.Tx, id store.MessageID, t sealTarget) error {
	k := flightKey{id: id, device: t.Device.ID}
	if time.Since(e.resealsSince) >= time.Hour {
		clear(e.reseals)
		e.resealsSince = time.Now()
	}
	if len(e.reseals) >= maxReseals || e.reseals[k] >= resealsPerHour {
		return tx.Count(e.account, countRefused)
	}
	o, err := e.sentTo(tx, id, t)
	if err != nil || o == nil {
		return err
	}
	plain, err := finish(o)
	if err != nil {
		return err
	}
	if t.own && !o.Control {
		if plain, err = e.syncCopy(tx, o); err != nil {
			return err
		}
	}
	env := &store.Envelope{
		Account: e.account, ID: id, Device: t.Device.ID, Peer: t.Peer, Own: t.own, Status: store.EnvelopePending,
		Manifest: t.version, ExpiresMS: o.ExpiresMS,
	}
	if env.Ciphertext, err = e.keys.Seal(tx, t.Target, ratchet.ClassDurable, id, plain, e.profileTime()); err != nil {
		return err
	}
	if err := tx.PutEnvelope(env); err != nil {
		return err
	}
	f := newFlight(env, t.Address.User)
	tx.OnCommit(func() {
		e.reseals[k]++
		e.addFlight(f)
		e.at(taskPump, 0)
	})
	return nil
}

// sentTo returns what was sent to a device's account under an id, nil if that
// is nothing: a peer gets nothing that was not meant for it.
func (e *Engine) sentTo(tx *store.Tx, id store.MessageID, t sealTarget) (*store.Outgoing, error) {
	o, err := tx.Outgoing(e.account, id)
	if damaged(err) != nil {
		return nil, nil // the pump tells of it
	}
	if err == nil {
		mine := o.Peer == t.Peer && (len(o.Device) == 0 || string(o.Device) == string(t.Device.ID[:])) || t.own && !o.Control
		if !mine || o.Phase == store.PhaseQueued || o.Phase == store.PhaseHeld || e2e.Durable(e2e.Kind(o.Kind)) && o.N == 0 {
			return nil, nil
		}
		return o, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	m, err := tx.Message(e.account, id)
	if errors.Is(err, store.ErrNotFound) || damaged(err) != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m.Direction != store.Out || m.N == 0 || m.Peer != t.Peer && !t.own {
		return nil, nil
	}
	c, err := contentOf(m)
	if err != nil {
		return nil, err
	}
	body, err := encodeDraft(c)
	if err != nil {
		return nil, err
	}
	return &store.Outgoing{
		Account: e.account, ID: id, Peer: m.Peer, Kind: m.Kind, N: m.N, SentMS: m.SentMS, Body: body,
		ExpiresMS: e.profileTime().Add(e.cfg.Retention).UnixMilli(),
	}, nil
}
