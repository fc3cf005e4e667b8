package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/codes"
	"secmsg/daemon/history"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

const (
	// callSignalLife bounds how long the relay may hold a signal back: a late signal
	// would describe an outdated state of the call.
	callSignalLife = 30 * time.Second
	// callTries bounds how often a signal asks the server for missing data: the
	// manifest, then prekeys.
	callTries = 3
)

// CheckCall reports whether a peer may be called, or its call answered: it is a
// contact, its key has not changed, and its policy demands no verification that is
// missing. It returns the peer's address. Errors are those of a send.
func (e *Engine) CheckCall(ctx context.Context, name string) (identity.Address, error) {
	var addr identity.Address
	err := e.store.View(ctx, func(tx *store.Tx) (err error) {
		if addr, err = e.trust.Resolve(tx, e.account, name); err != nil {
			return err
		}
		if addr == e.self || addr.Domain != e.self.Domain {
			return local.Errorf(local.CodeUsage, "%s cannot be called", addr)
		}
		_, err = e.callTarget(tx, addr)
		if errors.Is(err, trust.ErrUnknownPeer) {
			return nil // it is looked up for the first signal
		}
		return err
	})
	return addr, callError(err, addr)
}

// callTarget returns the devices of a peer that signals may be sent to.
func (e *Engine) callTarget(tx *store.Tx, addr identity.Address) (trust.Target, error) {
	peer, err := tx.FindPeer(e.account, addr.String())
	if isNotFound(err) {
		return trust.Target{}, errNoContact
	}
	if err != nil {
		return trust.Target{}, err
	}
	c, err := tx.Contact(e.account, peer)
	if err != nil {
		return trust.Target{}, err
	}
	if c.Relation == store.RelationNone {
		return trust.Target{}, errNoContact
	}
	return e.trust.CheckSend(tx, e.account, peer, false, e.now())
}

// errNoContact is a peer that is not on the contact list.
var errNoContact = errors.New("not a contact")

// callError gives an error of trust a message about calls.
func callError(err error, addr identity.Address) error {
	switch {
	case errors.Is(err, errNoContact):
		return local.Errorf(local.CodeNotFound, "%s is not on the contact list", addr).WithHint("secmsg contact add %s", addr)
	case errors.Is(err, trust.ErrChanged):
		return local.Errorf(local.CodeUntrusted, "the key of %s has changed; no call is possible", addr).WithHint("secmsg contact show %s", addr)
	case errors.Is(err, trust.ErrUnverified):
		return local.Errorf(local.CodeUntrusted, "%s is not verified, as its policy requires", addr).WithHint("secmsg verify %s", addr)
	case errors.Is(err, trust.ErrBlocked):
		return local.Errorf(local.CodeUsage, "you blocked %s", addr).WithHint("secmsg unblock %s", addr)
	}
	return codes.Local(err)
}

// Reachable waits until signals can leave: until the contact connection stands,
// for as long as a send waits for the server. It fails with unreachable, and
// the text of why there is no connection.
func (e *Engine) Reachable(ctx context.Context) error {
	return e.awaitReady(ctx, func() (bool, error) { return e.up && e.loaded, nil })
}

// announceReady wakes who waits in Reachable.
func (e *Engine) announceReady() {
	close(e.ready)
	e.ready = make(chan struct{})
}

// SendCall seals a signal for a device of a contact, or for all, and hands it to
// the relay, which forwards it at once or not at all: nothing is queued. It returns
// the devices that the signal went to; the CallHandler learns its fate. Missing
// sessions are started first, which asks the server. It fails with a *local.Error:
// unreachable without a connection, untrusted after a change of key, not_found if
// the peer is no contact. It fails as well if the device is suspended in between:
// a signal of the old device must not leave as one of the new device.
func (e *Engine) SendCall(ctx context.Context, addr identity.Address, device *key.DeviceID, c *e2e.Call) ([]key.DeviceID, error) {
	plain, err := e2e.Marshal(&e2e.Content{Kind: e2e.Kind_KIND_CALL, SentMs: e2e.SentTime(e.profileTime().UnixMilli()), Body: &e2e.Content_Call{Call: c}})
	if err != nil {
		return nil, err
	}
	var t *term
	for range callTries {
		var sent []key.DeviceID
		var n *need
		err := e.do(ctx, func() (err error) {
			if t == nil {
				t = e.term
			}
			if t != e.term {
				return errTermEnded
			}
			sent, n, err = e.sendCall(addr, device, [16]byte(c.GetId()), plain)
			return err
		})
		if err != nil || n == nil {
			return sent, callError(err, addr)
		}
		if err := e.askNow(ctx, t, *n); err != nil {
			return nil, callError(err, addr)
		}
	}
	return nil, local.Errorf(local.CodeUnreachable, "no device of %s can take calls at the moment", addr)
}

// errTermEnded ends a request of a call whose device was suspended meanwhile.
var errTermEnded = local.Errorf(local.CodeUnreachable, "the connection to the server was lost during the call's request; try again")

// sealedCall is a signal that is sealed for devices, or the question to ask first.
type sealedCall struct {
	need  *need
	to    []key.DeviceID
	out   []*wire.Outgoing
	steps uint64
}

// sendCall seals and sends, or returns the question to ask first.
func (e *Engine) sendCall(addr identity.Address, device *key.DeviceID, call [16]byte, plain []byte) ([]key.DeviceID, *need, error) {
	if !e.up || !e.loaded {
		return nil, nil, e.Away()
	}
	id, err := history.NewID()
	if err != nil {
		return nil, nil, err
	}
	s, err := inTx(e, func(tx *store.Tx) (sealedCall, error) { return e.sealCall(tx, addr, device, id, plain) })
	if err != nil || s.need != nil {
		return nil, s.need, err
	}
	if len(s.out) == 0 {
		return nil, nil, local.Errorf(local.CodeUnreachable, "no device of %s can take calls at the moment", addr)
	}
	e.signals.sent(id, s.to, call)
	e.window.put(s.steps, s.out...)
	return s.to, nil, nil
}

// sealCall seals a signal for a device of a contact, or for all.
func (e *Engine) sealCall(tx *store.Tx, addr identity.Address, device *key.DeviceID, id store.MessageID, plain []byte) (s sealedCall, err error) {
	to, err := e.callTarget(tx, addr)
	if errors.Is(err, trust.ErrUnknownPeer) {
		peer, err := tx.Peer(e.account, addr.String())
		return sealedCall{need: &need{peer: peer, user: addr.User, lookUp: true}}, err
	}
	if err != nil {
		return s, err
	}
	peer, err := tx.FindPeer(e.account, addr.String())
	if err != nil {
		return s, err
	}
	b := &sealing{e: e, tx: tx, sessions: make(map[pairKey]bool)}
	targets := slices.DeleteFunc(callDevices(e, peer, to), func(t sealTarget) bool { return device != nil && t.Device.ID != *device })
	if s.need, err = b.lacking(targets, peer, addr.User); s.need != nil || err != nil {
		return s, err
	}
	for _, t := range targets {
		has, err := b.hasSession(peer, t.Device.ID)
		if err != nil {
			return s, err
		}
		if !has {
			continue // the device has no keys for now
		}
		cipher, err := e.keys.Seal(tx, t.Target, ratchet.ClassOnline, id, plain, e.keyTime())
		if err != nil {
			return s, err
		}
		s.out = append(s.out, &wire.Outgoing{
			MessageId: id[:], Class: wire.Class_CLASS_ONLINE, Recipient: addr.User, Device: t.Device.ID[:],
			ManifestVersion: t.version, ExpiresMs: e.profileTime().Add(callSignalLife).UnixMilli(), Ciphertext: cipher,
		})
		s.to = append(s.to, t.Device.ID)
	}
	s.steps, err = tx.Steps(e.account)
	return s, err
}

func callDevices(e *Engine, peer store.PeerID, to trust.Target) []sealTarget {
	var out []sealTarget
	for _, d := range to.Devices {
		out = append(out, sealTarget{Target: keyring.Target{Account: e.account, Peer: peer, Address: to.Address, Device: d}, version: to.Version})
	}
	return out
}

// askNow asks the server the question of a signal, while the caller waits. It uses
// the answer only in the term in which the question was asked.
func (e *Engine) askNow(ctx context.Context, t *term, n need) error {
	use := func(answer func() error) error {
		return e.do(ctx, func() error {
			if t != e.term {
				return errTermEnded
			}
			return answer()
		})
	}
	if n.lookUp {
		a, err := e.link.Account(ctx, n.user)
		if err != nil {
			return askError(err, n.user)
		}
		return use(func() error { return e.learn(n.user, a.Chain, [][]byte{a.Manifest}) })
	}
	b, err := e.link.Bundles(ctx, n.user, n.bundles)
	if err != nil {
		return askError(err, n.user)
	}
	return use(func() error {
		if err := e.learn(n.user, b.Chain, [][]byte{b.Manifest}); err != nil {
			return err
		}
		return e.startSessions(n, b, nil)
	})
}

// askError explains why the server did not answer the question of a call.
func askError(err error, user string) error {
	switch wire.CodeOf(err) {
	case wire.CodeNotFound:
		return local.Errorf(local.CodeNotFound, "account %s does not exist", user)
	case wire.CodeForbidden:
		return local.Errorf(local.CodeRefused, "%s does not accept calls from you", user)
	}
	if w := link.Wait(err); w > 0 {
		out := local.Errorf(local.CodeRateLimited, "too many calls to new devices of %s", user)
		out.RetryAfter = w.Seconds()
		return out
	}
	if out := codes.Server(err); out != nil {
		return out
	}
	return err
}
