package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// ask starts the worker that puts a question about a peer to the server.
func (e *Engine) ask(n need) {
	p := e.asking.peer(n.peer)
	if p.busy {
		return
	}
	if d := time.Until(p.notBefore); d > 0 {
		e.schedule(taskPump, d) // a message to another peer needs it for a copy to an own device
		return
	}
	p.busy = true
	if n.lookUp {
		e.lookUp(n)
	} else {
		e.fetchBundles(n, nil)
	}
}

// lookUp gets the account of a peer that was never seen, or that has lost a device:
// its newest manifest, and its chain, which reveals a changed key.
func (e *Engine) lookUp(n need) {
	var a wire.Account
	var err error
	e.worker(func(ctx context.Context) {
		a, err = e.link.Account(ctx, n.user)
	}, func() {
		if err == nil {
			e.asking.peer(n.peer).refresh = false
			err = e.learn(n.user, a.Chain, [][]byte{a.Manifest})
		}
		e.asked(n, err)
	})
}

// fetchBundles gets prekeys and starts the missing sessions. then, unless it is
// nil, runs in the transaction after the sessions are started.
func (e *Engine) fetchBundles(n need, then func(tx *store.Tx, started []key.DeviceID) error) {
	var b wire.Bundles
	var err error
	e.worker(func(ctx context.Context) {
		b, err = e.link.Bundles(ctx, n.user, n.bundles)
	}, func() {
		if err == nil {
			err = e.learn(n.user, b.Chain, [][]byte{b.Manifest})
		}
		if err == nil {
			err = e.startSessions(n, b, then)
		}
		e.asked(n, err)
	})
}

// asked ends a question about a peer.
func (e *Engine) asked(n need, err error) {
	p := e.asking.peer(n.peer)
	p.busy = false
	e.schedule(taskPump, 0)
	if err == nil {
		p.ready()
		return
	}
	e.logger.Info("look up a peer", "error", err)
	code := wire.CodeOf(err)
	switch {
	case code == wire.CodeNotFound && n.peer != e.selfPeer:
		err = e.failAll(n.peer, history.ReasonUnknown)
	case code == wire.CodeForbidden && n.peer != e.selfPeer:
		err = e.failAll(n.peer, history.ReasonBlocked)
	default:
		// Unreachable, rate limited, or an answer that does not verify: the
		// messages wait, and it is asked again.
		e.later(p, link.Wait(err))
		return
	}
	if err != nil {
		e.logger.Warn("fail messages", "error", err)
		e.later(p, 0)
	}
}

// failAll fails the messages to a peer that cannot be reached at all.
func (e *Engine) failAll(peer store.PeerID, reason string) error {
	return e.update(func(tx *store.Tx) error {
		rows, err := tx.OutgoingOf(e.account, peer, store.PhaseQueued)
		if err != nil {
			return err
		}
		for i := range rows {
			if err := e.history.Fail(tx, &rows[i], local.StateFailed, reason); err != nil {
				return err
			}
		}
		if reason == history.ReasonUnknown {
			_, err = e.trust.NoAccount(tx, e.account, peer)
		}
		return err
	})
}

// learn admits the server's answer about an account.
func (e *Engine) learn(user string, chain, manifests [][]byte) error {
	addr := identity.Address{User: user, Domain: e.self.Domain}
	if err := addr.Validate(); err != nil {
		return fmt.Errorf("account of the server: %w", err)
	}
	if err := e.admit(addr, chain, manifests); err != nil {
		return fmt.Errorf("admit account: %w", err)
	}
	return nil
}

// admit passes a server's answer about an account to trust, reports the changes,
// and requeues messages for newly learned devices. A changed key is recorded and
// holds messages back; it is no error here. Actor only.
func (e *Engine) admit(addr identity.Address, chain, manifests [][]byte) error {
	refused, err := inTx(e, func(tx *store.Tx) (refused, err error) {
		a, refused := e.trust.Admit(tx, e.account, addr, chain, manifests, e.now())
		if refused != nil && store.Failed(refused) {
			return nil, refused
		}
		// The changes that trust recorded are kept, also those of a refused answer.
		for _, change := range a.Changes {
			if err := e.NotifyIdentity(tx, addr, change); err != nil {
				return nil, err
			}
		}
		if refused != nil || addr == e.self {
			return refused, nil
		}
		return nil, e.requeue(tx, a.Peer, a.Devices)
	})
	e.asking.claims.forget()
	if err == nil && !errors.Is(refused, trust.ErrChanged) { // the pump holds its messages
		err = refused
	}
	if err == nil {
		e.schedule(taskPump, 0)
	}
	return err
}

// NotifyIdentity appends an identity event of a peer or of the own account, in a
// transaction; see trust.Options.Notify. A change of devices is reported in the
// actor only.
func (e *Engine) NotifyIdentity(tx *store.Tx, peer identity.Address, change local.Identity) error {
	var c store.Contact
	id, err := tx.FindPeer(e.account, peer.String())
	met := !isNotFound(err)
	if met && err == nil {
		c, err = tx.Contact(e.account, id)
	}
	if met && err != nil {
		return err
	}
	if change.Change == local.ChangeKey {
		tx.OnCommit(func() { e.signals.handler.CallKeyChanged(peer) })
	}
	if met && (change.Change == local.ChangeDeviceAdded || change.Change == local.ChangeDeviceRemoved) {
		if err := e.devicesChanged(tx, id); err != nil {
			return err
		}
	}
	return e.history.Identity(tx, peer.String(), trust.TrustState(c), change)
}

// devicesChanged adapts to the devices that a peer has now: messages that did not
// open are requested again, and undelivered messages are queued for the new
// devices.
func (e *Engine) devicesChanged(tx *store.Tx, peer store.PeerID) error {
	to, err := e.trust.CheckSend(tx, e.account, peer, false, e.now())
	if err != nil {
		if store.Failed(err) {
			return err
		}
		return nil
	}
	listed := make([][16]byte, 0, len(to.Devices))
	for _, d := range to.Devices {
		listed = append(listed, d.ID)
	}
	if err := tx.AskAnew(e.account, peer, listed); err != nil {
		return err
	}
	tx.OnCommit(func() {
		e.schedule(taskAskAgain, 0)
		e.schedule(taskPump, 0)
	})
	if peer == e.selfPeer {
		return nil
	}
	return e.requeue(tx, peer, to.Devices)
}

// requeue queues undelivered messages to a peer again that one of its devices
// lacks.
func (e *Engine) requeue(tx *store.Tx, peer store.PeerID, devices []identity.Device) error {
	rows, err := tx.OutgoingOf(e.account, peer, store.PhaseSealed, store.PhaseAccepted)
	if err != nil {
		return err
	}
	for i := range rows {
		o := &rows[i]
		if len(o.Device) > 0 {
			continue
		}
		have, err := tx.EnvelopesOf(e.account, o.ID)
		if err != nil {
			return err
		}
		lacks := slices.ContainsFunc(devices, func(d identity.Device) bool {
			return !slices.ContainsFunc(have, func(x store.Envelope) bool { return x.Device == [16]byte(d.ID) })
		})
		if lacks {
			if err := tx.SetPhase(e.account, o.ID, store.PhaseQueued, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// startSessions starts sessions from bundles. A bad one is undone alone. Devices
// that the server left out have no keys for now.
func (e *Engine) startSessions(n need, b wire.Bundles, then func(tx *store.Tx, started []key.DeviceID) error) error {
	type outcome struct {
		started, bad []key.DeviceID
		held         bool // the pump holds or fails the messages
	}
	x, err := inTx(e, func(tx *store.Tx) (x outcome, err error) {
		to, err := e.trust.CheckSend(tx, e.account, n.peer, false, e.now())
		if errors.Is(err, trust.ErrChanged) || errors.Is(err, trust.ErrBlocked) || errors.Is(err, trust.ErrUnverified) {
			return outcome{held: true}, nil
		}
		if err != nil {
			return x, err
		}
		for _, d := range to.Devices {
			i := slices.IndexFunc(b.Devices, func(x wire.DeviceBundle) bool { return x.Device == d.ID.String() })
			if i < 0 || !slices.Contains(n.bundles, d.ID) {
				continue
			}
			t := keyring.Target{Account: e.account, Peer: n.peer, Address: to.Address, Device: d}
			err := tx.Sub(func() error { return e.keys.Start(tx, t, bundleOf(b.Devices[i]), e.keyTime()) })
			if err != nil && store.Failed(err) {
				return x, err
			}
			if err != nil {
				e.logger.Warn("start session", "device", d.ID.String(), "error", err)
				x.bad = append(x.bad, d.ID)
				continue
			}
			x.started = append(x.started, d.ID)
		}
		if then != nil {
			return x, then(tx, x.started)
		}
		return x, nil
	})
	if err != nil {
		return err
	}
	if x.held { // nothing was tried, so nothing was learned about the devices
		return nil
	}
	p := e.asking.peer(n.peer)
	for _, id := range n.bundles {
		if slices.Contains(x.started, id) {
			delete(p.noKeys, id)
		} else {
			e.asking.absent(p, id, slices.Contains(x.bad, id), time.Now())
		}
	}
	return nil
}

func bundleOf(b wire.DeviceBundle) keyring.Bundle {
	return keyring.Bundle{SignedPrekey: b.SignedPrekey, KEMPrekey: b.KEMPrekey, OneTimeExchange: b.OneTimeExchange}
}
