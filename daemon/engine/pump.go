package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/keyring"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

const (
	// perPeer is how many messages of one peer are sealed in one transaction,
	// so that a long queue to one delays the others by no more.
	perPeer = 32
	// perTx bounds the messages sealed in one transaction.
	perTx = 64
	// backlogOfPeer is how many envelopes may wait for devices of one peer that
	// take none for now, before no more are sealed for it.
	backlogOfPeer = 128
)

// reasonCodeNoKeys stands in an envelope row for a device that had neither
// session nor bundle: nothing was sealed. Wire reasons are below.
const reasonCodeNoKeys = 1000

// peerState is what the actor remembers of a peer between two tries.
type peerState struct {
	busy      bool      // a worker asks the server about it
	notBefore time.Time // the next try after a failure
	tries     int
	refresh   bool // its manifest is to be fetched before the next seal
	noKeys    map[key.DeviceID]absence
}

// absence is a device that had no usable bundle: it is asked for again after
// until, later each time, so that one that has just joined is found soon and
// the relay's rate for bundles is not used up on one that stays away.
type absence struct {
	until time.Time
	tries int
}

// absent notes that a device had no usable bundle.
func (e *Engine) absent(p *peerState, id key.DeviceID) {
	a := p.noKeys[id]
	d := e.cfg.BackoffMin
	for n := a.tries; n > 0 && d < e.cfg.NoKeysFor; n-- {
		d *= 2
	}
	p.noKeys[id] = absence{until: time.Now().Add(min(d, e.cfg.NoKeysFor)), tries: a.tries + 1}
}

func (e *Engine) peer(id store.PeerID) *peerState {
	p := e.peers[id]
	if p == nil {
		p = &peerState{noKeys: make(map[key.DeviceID]absence)}
		e.peers[id] = p
	}
	return p
}

// later puts off a peer after a failure.
func (e *Engine) later(p *peerState, wish time.Duration) {
	d := e.cfg.backoff(p.tries, wish)
	p.tries++
	p.notBefore = time.Now().Add(d)
	e.at(taskPump, d)
}

// need is what must be asked of the server before a message can be sealed.
type need struct {
	peer    store.PeerID
	user    string
	lookUp  bool           // chain and newest manifest
	bundles []key.DeviceID // sessions to start
}

// pump seals what is queued while the window has room, and sends what is sealed.
func (e *Engine) pump() error {
	if !e.up || time.Now().Before(e.pause) {
		return nil
	}
	if err := e.transmit(); err != nil {
		return err
	}
	room := e.cfg.Window - e.active
	if room <= 0 {
		return nil // the next answer pumps again
	}
	var rows []store.Outgoing
	err := e.store.View(e.work, func(tx *store.Tx) (err error) {
		rows, err = tx.Queued(e.account, e.except(), perPeer, min(room, perTx))
		return err
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	needs, flights, err := e.sealRows(rows)
	if err != nil {
		return err
	}
	for _, f := range flights {
		e.addFlight(f)
	}
	for _, n := range needs {
		e.ask(n)
	}
	e.at(taskPump, 0)
	return e.transmit()
}

// except returns the peers that must not be tried now.
func (e *Engine) except() []store.PeerID {
	var out []store.PeerID
	now := time.Now()
	for id, p := range e.peers {
		if p.busy || p.notBefore.After(now) {
			out = append(out, id)
			if d := p.notBefore.Sub(now); !p.busy && d > 0 {
				e.at(taskPump, d)
			}
		}
	}
	waiting := make(map[store.PeerID]int)
	for k, p := range e.pairs {
		if p.blocked {
			waiting[k.peer] += len(p.flights)
		}
	}
	for id, n := range waiting {
		if n >= backlogOfPeer {
			out = append(out, id)
		}
	}
	return out
}

// sealRows is the second transaction: for each message the check of pin and
// policy, the sealing for each device, and the envelope rows. A message that
// cannot be sealed now does not undo the others.
func (e *Engine) sealRows(rows []store.Outgoing) (needs []need, flights []*flight, err error) {
	skip := make(map[store.PeerID]bool)
	err = e.update(func(tx *store.Tx) error {
		for i := range rows {
			o := &rows[i]
			if skip[o.Peer] {
				continue
			}
			var n *need
			var sealed []*flight
			err := tx.Sub(func() (err error) {
				n, sealed, err = e.sealRow(tx, o)
				return err
			})
			switch {
			case err != nil && isDisk(err):
				return err
			case err != nil:
				e.logger.Error("seal", "message", idText(o.ID), "error", err)
				skip[o.Peer] = true
				e.later(e.peer(o.Peer), 0)
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

// sealRow seals one message for every device that has no envelope of it yet, or
// says what must be asked first, or settles a message that cannot leave.
func (e *Engine) sealRow(tx *store.Tx, o *store.Outgoing) (*need, []*flight, error) {
	addr, err := e.address(tx, o.Peer)
	if err != nil {
		return nil, nil, err
	}
	p := e.peer(o.Peer)
	if p.refresh {
		return &need{peer: o.Peer, user: addr.User, lookUp: true}, nil, nil
	}
	to, err := e.trust.CheckSend(tx, e.account, o.Peer, o.Verified, e.now())
	switch {
	case errors.Is(err, trust.ErrUnknownPeer):
		return &need{peer: o.Peer, user: addr.User, lookUp: true}, nil, nil
	case errors.Is(err, trust.ErrChanged):
		return nil, nil, e.hold(tx, o, reasonChanged)
	case errors.Is(err, trust.ErrUnverified):
		return nil, nil, e.hold(tx, o, reasonUnverified)
	case errors.Is(err, trust.ErrBlocked):
		return nil, nil, e.fail(tx, o, local.StateFailed, reasonBlocked)
	case err != nil:
		return nil, nil, err
	}
	if held, err := e.waitsForAcceptance(tx, o, p, addr.User); held || err != nil {
		return nil, nil, err
	}
	have, err := tx.EnvelopesOf(e.account, o.ID)
	if err != nil {
		return nil, nil, err
	}
	targets := e.missing(o, to, have, false)
	own, err := e.ownTargets(tx, o, addr, have)
	if err != nil {
		return nil, nil, err
	}
	if n, err := e.lacking(tx, targets, o.Peer, addr.User); n != nil || err != nil {
		return n, nil, err
	}
	if n, err := e.lacking(tx, own, e.selfPeer, e.self.User); n != nil || err != nil {
		return n, nil, err
	}
	return e.sealFor(tx, o, targets, own)
}

// sealTarget is a device to seal for.
type sealTarget struct {
	keyring.Target
	version uint64
	own     bool
}

// missing returns the devices that have no envelope of the message yet.
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

// ownTargets returns the other own devices that get a copy of what I send.
func (e *Engine) ownTargets(tx *store.Tx, o *store.Outgoing, addr identity.Address, have []store.Envelope) ([]sealTarget, error) {
	if o.Control || addr == e.self || o.Kind != int32(e2e.Kind_KIND_TEXT) {
		return nil, nil
	}
	to, err := e.trust.CheckSend(tx, e.account, e.selfPeer, false, e.now())
	if err != nil {
		return nil, err
	}
	return e.missing(o, to, have, true), nil
}

// lacking returns a need if a session must be started first. Devices that are
// known to have no bundle are not asked for again for a while.
func (e *Engine) lacking(tx *store.Tx, targets []sealTarget, peer store.PeerID, user string) (*need, error) {
	n := need{peer: peer, user: user}
	for _, t := range targets {
		has, err := e.keys.HasSession(tx, e.account, t.Peer, t.Device.ID)
		if err != nil {
			return nil, err
		}
		if !has && !e.peer(peer).noKeys[t.Device.ID].until.After(time.Now()) {
			n.bundles = append(n.bundles, t.Device.ID)
		}
	}
	if len(n.bundles) == 0 {
		return nil, nil
	}
	return &n, nil
}

// sealFor seals a message for its targets. It takes its counter when it is
// sealed for the first time; all its envelopes carry the same.
func (e *Engine) sealFor(tx *store.Tx, o *store.Outgoing, targets, own []sealTarget) (*need, []*flight, error) {
	if o.N == 0 && e2e.Durable(e2e.Kind(o.Kind)) {
		n, err := tx.NextN(e.account, o.Peer)
		if err != nil {
			return nil, nil, err
		}
		o.N = n
		if err := tx.SetN(e.account, o.ID, n); err != nil {
			return nil, nil, err
		}
		if err := tx.SetMessageN(e.account, o.ID, n); err != nil {
			return nil, nil, err
		}
	}
	plain, err := finish(o)
	if err != nil {
		return nil, nil, err
	}
	var flights []*flight
	for _, t := range targets {
		f, err := e.sealOne(tx, o, t, plain)
		if err != nil {
			return nil, nil, err
		}
		if f != nil {
			flights = append(flights, f)
		}
	}
	if len(own) > 0 {
		if plain, err = e.syncCopy(tx, o); err != nil {
			return nil, nil, err
		}
	}
	for _, t := range own {
		f, err := e.sealOne(tx, o, t, plain)
		if err != nil {
			return nil, nil, err
		}
		if f != nil {
			flights = append(flights, f)
		}
	}
	if err := tx.SetPhase(e.account, o.ID, store.PhaseSealed, ""); err != nil {
		return nil, nil, err
	}
	return nil, flights, e.settle(tx, o.ID)
}

// sealOne seals for one device. A device without session or with a mailbox
// that stays full gets a row that says so and nothing else.
func (e *Engine) sealOne(tx *store.Tx, o *store.Outgoing, t sealTarget, plain []byte) (*flight, error) {
	env := &store.Envelope{
		Account: e.account, ID: o.ID, Device: t.Device.ID, Peer: t.Peer, Own: t.own,
		Status: store.EnvelopePending, Manifest: t.version, ExpiresMS: o.ExpiresMS,
	}
	has, err := e.keys.HasSession(tx, e.account, t.Peer, t.Device.ID)
	if err != nil {
		return nil, err
	}
	pk := pairKey{peer: t.Peer, device: t.Device.ID}
	switch {
	case !has:
		env.Status, env.Reason = store.EnvelopeRejected, reasonCodeNoKeys
	case e.pairs[pk] != nil && e.pairs[pk].full:
		env.Status, env.Reason = store.EnvelopeRejected, int32(wire.Reason_REASON_QUOTA)
	default:
		env.Ciphertext, err = e.keys.Seal(tx, t.Target, ratchet.ClassDurable, o.ID, plain, e.profileTime())
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
	return newFlight(env, t.Address.User), nil
}

func newFlight(env *store.Envelope, user string) *flight {
	return &flight{
		key: flightKey{id: env.ID, device: env.Device}, pair: pairKey{peer: env.Peer, device: env.Device},
		user: user, ord: env.Ord, manifest: env.Manifest, expires: env.ExpiresMS, filler: env.Filler, ciphertext: env.Ciphertext,
	}
}

// hold keeps a message back until somebody decides.
func (e *Engine) hold(tx *store.Tx, o *store.Outgoing, reason string) error {
	if err := tx.SetPhase(e.account, o.ID, store.PhaseHeld, reason); err != nil {
		return err
	}
	if o.Control {
		return nil
	}
	return e.setState(tx, o.ID, local.StateHeld, reason)
}

// fail ends a message.
func (e *Engine) fail(tx *store.Tx, o *store.Outgoing, state, reason string) error {
	if !o.Control {
		if err := e.setState(tx, o.ID, state, reason); err != nil {
			return err
		}
	}
	return tx.DropOutgoing(e.account, o.ID)
}

// address returns a peer's address.
func (e *Engine) address(tx *store.Tx, peer store.PeerID) (identity.Address, error) {
	s, err := tx.PeerAddress(peer)
	if err != nil {
		return identity.Address{}, err
	}
	return identity.ParseAddress(s)
}
