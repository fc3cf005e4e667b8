package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// sealRows is the second transaction of a message: for each message it checks pin
// and policy, seals for each device, and writes the envelope rows. A message that
// cannot be sealed now does not undo the others. The jobs that wait to be committed
// share the transaction, so it may run twice, each time from the rows as they were
// read.
func (e *Engine) sealRows(rows []store.Outgoing) (needs []need, flights []*flight, err error) {
	err = e.together(func(tx *store.Tx) error {
		needs, flights = nil, nil
		skip := make(map[store.PeerID]bool)
		b := &sealing{e: e, tx: tx, targets: make(map[policy]trust.Target), sessions: make(map[pairKey]bool)}
		for _, o := range rows {
			if skip[o.Peer] {
				continue
			}
			var n *need
			var sealed []*flight
			err := tx.Sub(func() (err error) {
				n, sealed, err = b.row(o)
				return err
			})
			switch {
			case err != nil && store.Failed(err):
				return err
			case err != nil && store.DamagedValue(err) != nil:
				skip[o.Peer] = true
				if err := e.repairOrDelay(tx, o, err); err != nil {
					return err
				}
			case err != nil:
				e.logger.Error("seal a message", "message", history.IDText(o.ID), "error", err)
				skip[o.Peer] = true
				tx.OnCommit(func() { e.later(e.asking.peer(o.Peer), 0) })
			case n != nil:
				skip[o.Peer] = true
				needs = append(needs, *n)
			default:
				flights = append(flights, sealed...)
			}
		}
		return nil
	})
	return needs, flights, err
}

// repairOrDelay handles a message that met a damaged value. If every message needs
// that value, the peer is tried again later.
func (e *Engine) repairOrDelay(tx *store.Tx, o store.Outgoing, cause error) error {
	var on bool
	err := tx.Sub(func() (err error) {
		on, err = e.repair(tx, &o, cause)
		return err
	})
	if err != nil && store.Failed(err) {
		return err
	}
	if err != nil || !on {
		e.logger.Error("seal a message", "message", history.IDText(o.ID), "error", cause)
		tx.OnCommit(func() { e.later(e.asking.peer(o.Peer), 0) })
		return nil
	}
	tx.OnCommit(func() { e.schedule(taskPump, 0) })
	return nil
}

// sealing is the state of one transaction of sealRows. It remembers the answers to questions that all
// its messages ask, whose rows do not change meanwhile.
type sealing struct {
	e        *Engine
	tx       *store.Tx
	targets  map[policy]trust.Target
	sessions map[pairKey]bool // known to exist
}

// policy is a question to trust.CheckSend.
type policy struct {
	peer     store.PeerID
	verified bool
}

// target asks trust for the devices of a peer, once for all messages to it.
func (b *sealing) target(peer store.PeerID, verified bool) (trust.Target, error) {
	p := policy{peer, verified}
	if to, ok := b.targets[p]; ok {
		return to, nil
	}
	to, err := b.e.trust.CheckSend(b.tx, b.e.account, peer, verified, b.e.now())
	if err == nil {
		b.targets[p] = to
	}
	return to, err
}

func (b *sealing) hasSession(peer store.PeerID, device key.DeviceID) (bool, error) {
	k := pairKey{peer: peer, device: device}
	if b.sessions[k] {
		return true, nil
	}
	has, err := b.e.keys.HasSession(b.tx, b.e.account, peer, device)
	if has {
		b.sessions[k] = true
	}
	return has, err
}

// row seals one message for every device that has no envelope of it yet. Or it
// returns the question to ask first, or settles a message that cannot leave.
func (b *sealing) row(o store.Outgoing) (*need, []*flight, error) {
	e, tx := b.e, b.tx
	if o.Damaged != nil {
		return nil, nil, o.Damaged
	}
	addr, err := e.address(tx, o.Peer)
	if err != nil {
		return nil, nil, err
	}
	p := e.asking.peer(o.Peer)
	if p.refresh {
		return &need{peer: o.Peer, user: addr.User, lookUp: true}, nil, nil
	}
	to, err := b.target(o.Peer, o.Verified)
	switch {
	case errors.Is(err, trust.ErrUnknownPeer):
		return &need{peer: o.Peer, user: addr.User, lookUp: true}, nil, nil
	case errors.Is(err, trust.ErrChanged):
		return nil, nil, e.hold(tx, &o, history.ReasonChanged)
	case errors.Is(err, trust.ErrUnverified):
		return nil, nil, e.hold(tx, &o, history.ReasonUnverified)
	case errors.Is(err, trust.ErrBlocked):
		return nil, nil, e.history.Fail(tx, &o, local.StateFailed, history.ReasonBlocked)
	case err != nil:
		return nil, nil, err
	}
	if held, err := e.waitsForAcceptance(tx, &o, p, addr.User); held || err != nil {
		return nil, nil, err
	}
	var have []store.Envelope
	if o.N > 0 || !e2e.Durable(e2e.Kind(o.Kind)) { // otherwise it was never sealed
		if have, err = tx.EnvelopesOf(e.account, o.ID); err != nil {
			return nil, nil, err
		}
	}
	targets := e.missing(&o, to, have, false)
	own, err := b.ownTargets(&o, addr, have)
	if err != nil {
		return nil, nil, err
	}
	if n, err := b.lacking(targets, o.Peer, addr.User); n != nil || err != nil {
		return n, nil, err
	}
	if wait, err := b.keysWillCome(targets, to); wait > 0 || err != nil {
		tx.OnCommit(func() { e.putOff(p, wait) })
		return nil, nil, err
	}
	if own, err = b.copyLater(&o, own); err != nil {
		return nil, nil, err
	}
	flights, err := b.sealFor(o, targets, own)
	return nil, flights, err
}

// sealTarget is a device to seal for.
type sealTarget struct {
	keyring.Target
	version uint64
	own     bool
}

// missing returns the devices without an envelope of the message.
func (e *Engine) missing(o *store.Outgoing, to trust.Target, have []store.Envelope, own bool) []sealTarget {
	peer := o.Peer
	if own {
		peer = e.selfPeer
	}
	var out []sealTarget
	for _, d := range to.Devices {
		if len(o.Device) > 0 && !own && string(o.Device) != string(d.ID[:]) {
			continue
		}
		if slices.ContainsFunc(have, func(x store.Envelope) bool { return x.Device == [16]byte(d.ID) }) {
			continue
		}
		out = append(out, sealTarget{
			Target:  keyring.Target{Account: e.account, Peer: peer, Address: to.Address, Device: d},
			version: to.Version, own: own,
		})
	}
	return out
}

// ownTargets returns the other own devices that get a copy of a message.
func (b *sealing) ownTargets(o *store.Outgoing, addr identity.Address, have []store.Envelope) ([]sealTarget, error) {
	if o.Control || addr == b.e.self || o.Kind != int32(e2e.Kind_KIND_TEXT) && o.Kind != int32(e2e.Kind_KIND_FILE) {
		return nil, nil
	}
	to, err := b.target(b.e.selfPeer, false)
	if err != nil {
		return nil, err
	}
	return b.e.missing(o, to, have, true), nil
}

// copyLater moves the copies for own devices without a session into messages of
// their own, which wait for the keys, so that the message itself waits for its
// recipient only. It returns the remaining targets.
func (b *sealing) copyLater(o *store.Outgoing, own []sealTarget) ([]sealTarget, error) {
	e, tx := b.e, b.tx
	now := own[:0]
	for _, t := range own {
		has, err := b.hasSession(t.Peer, t.Device.ID)
		if err != nil {
			return nil, err
		}
		if has || e.asking.peer(e.selfPeer).lacks(t.Device.ID, time.Now()) {
			now = append(now, t)
			continue
		}
		s, err := syncOf(tx, o)
		if err != nil {
			return nil, err
		}
		id, err := history.NewID()
		if err != nil {
			return nil, err
		}
		if err := e.enqueue(tx, &store.Outgoing{ID: id, Peer: e.selfPeer, Device: t.Device.ID[:], Control: true, SentMS: o.SentMS}, s); err != nil {
			return nil, err
		}
		err = tx.PutEnvelope(&store.Envelope{ // so that no second copy is made
			Account: e.account, ID: o.ID, Device: t.Device.ID, Peer: t.Peer, Own: true,
			Status: store.EnvelopeRejected, Reason: reasonCodeNoKeys, Manifest: t.version, ExpiresMS: o.ExpiresMS,
		})
		if err != nil {
			return nil, err
		}
	}
	return now, nil
}

// sealFor seals a message for its targets. It draws the message's counter when it
// is sealed for the first time; all its envelopes carry the same counter.
func (b *sealing) sealFor(o store.Outgoing, targets, own []sealTarget) ([]*flight, error) {
	e, tx := b.e, b.tx
	if o.N == 0 && e2e.Durable(e2e.Kind(o.Kind)) {
		n, err := tx.NextN(e.account, o.Peer)
		if err != nil {
			return nil, err
		}
		o.N = n
		if err := tx.SetMessageN(e.account, o.ID, e.device, n); err != nil {
			return nil, err
		}
	}
	if err := tx.SetSealed(e.account, o.ID, o.N); err != nil {
		return nil, err
	}
	plain, err := finish(&o)
	if err != nil {
		return nil, err
	}
	flights, err := b.sealAll(&o, targets, plain)
	if err != nil {
		return nil, err
	}
	pending := len(flights) > 0
	if len(own) > 0 {
		if plain, err = e.syncCopy(tx, &o); err != nil {
			return nil, err
		}
		copies, err := b.sealAll(&o, own, plain)
		if err != nil {
			return nil, err
		}
		flights = append(flights, copies...)
	}
	if pending {
		return flights, nil // the answers settle it
	}
	return flights, e.settle(tx, o.ID)
}

// sealAll seals one plaintext for devices and returns the envelopes to send.
func (b *sealing) sealAll(o *store.Outgoing, targets []sealTarget, plain []byte) ([]*flight, error) {
	var flights []*flight
	for _, t := range targets {
		f, err := b.sealOne(o, t, plain)
		if err != nil {
			return nil, err
		}
		if f != nil {
			flights = append(flights, f)
		}
	}
	return flights, nil
}

// sealOne seals for one device. A device without a session, or with a mailbox that
// stays full, only gets a row that says so.
func (b *sealing) sealOne(o *store.Outgoing, t sealTarget, plain []byte) (*flight, error) {
	e, tx := b.e, b.tx
	env := &store.Envelope{
		Account: e.account, ID: o.ID, Device: t.Device.ID, Peer: t.Peer, Own: t.own,
		Status: store.EnvelopePending, Manifest: t.version, ExpiresMS: o.ExpiresMS,
	}
	has, err := b.hasSession(t.Peer, t.Device.ID)
	if err != nil {
		return nil, err
	}
	pk := pairKey{peer: t.Peer, device: t.Device.ID}
	switch {
	case !has:
		env.Status, env.Reason = store.EnvelopeRejected, reasonCodeNoKeys
	case e.window.isFull(pk):
		env.Status, env.Reason = store.EnvelopeRejected, int32(wire.Reason_REASON_QUOTA)
	default:
		env.Ciphertext, err = e.keys.Seal(tx, t.Target, ratchet.ClassDurable, o.ID, plain, e.keyTime())
		if err != nil {
			return nil, fmt.Errorf("seal for %s: %w", t.Device.ID, err)
		}
		if len(env.Ciphertext) > wire.MaxCiphertext {
			env.Status, env.Reason, env.Ciphertext = store.EnvelopeRejected, int32(wire.Reason_REASON_TOO_LARGE), nil
		}
	}
	if err := tx.PutEnvelope(env); err != nil {
		return nil, err
	}
	if env.Status != store.EnvelopePending {
		return nil, nil
	}
	if err := e.history.Passed(tx, o.ID, t.Peer, t.Device.ID, history.StationSealed, ""); err != nil {
		return nil, err
	}
	return newFlight(env, t.Address.User), nil
}

// hold keeps a message back until somebody decides.
func (e *Engine) hold(tx *store.Tx, o *store.Outgoing, reason string) error {
	if err := tx.SetPhase(e.account, o.ID, store.PhaseHeld, reason); err != nil {
		return err
	}
	if o.Control {
		return nil
	}
	return e.history.SetState(tx, o.ID, local.StateHeld, reason)
}

// address returns a peer's address.
func (e *Engine) address(tx *store.Tx, peer store.PeerID) (identity.Address, error) {
	s, err := tx.PeerAddress(peer)
	if err != nil {
		return identity.Address{}, err
	}
	return identity.ParseAddress(s)
}
