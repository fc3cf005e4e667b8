package engine

import (
	"context"
	"errors"
	"fmt"
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

// incoming is one envelope on its way in.
type incoming struct {
	id       store.MessageID
	peer     store.PeerID // 0: the sender is not known yet
	addr     identity.Address
	device   key.DeviceID
	class    wire.Class
	accepted int64 // when the relay accepted it; Unix milliseconds
	cipher   []byte
	opened   keyring.Opened
}

// Deliver implements link.Handler. It commits a batch in one transaction and
// returns the step count after it; then the link acknowledges. Every envelope ends
// committed: shown, kept, or counted. One that crashes a decoder is undone alone
// and kept for diagnosis, and the batch goes on.
func (e *Engine) Deliver(ctx context.Context, envelopes []*wire.Envelope) (steps uint64, err error) {
	err = e.share(func(tx *store.Tx) (err error) {
		if !e.loaded {
			return store.ErrLocked
		}
		for _, env := range envelopes {
			if err := e.receive(tx, env); err != nil {
				return err
			}
		}
		steps, err = tx.Steps(e.account)
		return err
	}, nil)
	if err != nil {
		return 0, fmt.Errorf("deliver: %w", err)
	}
	return steps, nil
}

// receive commits one envelope. Its errors concern the store only.
func (e *Engine) receive(tx *store.Tx, env *wire.Envelope) error {
	if env.GetClass() == wire.Class_CLASS_NOTICE {
		return e.absorb(tx, func() error { return e.notice(tx, env.GetNotice()) })
	}
	in, ok := e.parse(env)
	if !ok {
		return tx.Count(e.account, countMalformed)
	}
	if in.class == wire.Class_CLASS_PROBE {
		return e.absorb(tx, func() error { return e.receiveProbe(tx, in) })
	}
	var err error
	// Nothing is stored about an unknown sender before one of its envelopes opens.
	if in.peer, err = tx.FindPeer(e.account, in.addr.String()); err != nil && !isNotFound(err) {
		return err
	}
	return e.contain(tx, in, func() error { return e.open(tx, in) })
}

// contain runs fn so that its failure undoes only its own changes. An envelope that
// crashes the decoder or meets a damaged row is parked, counted and reported; an
// error of the store ends the batch.
func (e *Engine) contain(tx *store.Tx, in *incoming, fn func() error) error {
	known := in.peer
	err := tx.Sub(fn)
	if err == nil || store.Failed(err) {
		return err
	}
	in.peer = known // a peer that fn added is undone with it
	e.logger.Error("process an envelope", "message", history.IDText(in.id), "error", err)
	if err := tx.Count(e.account, countCrashed); err != nil {
		return err
	}
	if in.class != wire.Class_CLASS_DURABLE {
		return nil
	}
	reason := store.ParkedCrashed
	if v := store.DamagedValue(err); v != nil {
		again := v.Table == "skipped" || v.Table == "prekeys" // only the key of this message is lost
		if v.Table == "sessions" {
			if again, err = e.dropSessions(tx, in.peer); err != nil {
				return err
			}
		}
		if again {
			reason = store.ParkedUndecryptable
		}
	}
	if reason == store.ParkedCrashed {
		if err := e.tellCrashed(tx, in); err != nil {
			return err
		}
	}
	return e.park(tx, in, reason)
}

// tellCrashed tells the user that an envelope of a peer was kept aside. It does so
// once for each peer and day, since a hostile peer can send any number of them.
func (e *Engine) tellCrashed(tx *store.Tx, in *incoming) error {
	n, err := tx.PerDay(e.account, in.peer, "crashed")
	if err != nil || n > 1 {
		return err
	}
	peer := ""
	if in.peer > 0 {
		peer = in.addr.String()
	}
	return e.history.System(tx, peer, local.System{
		Text: "message " + history.IDText(in.id) + " from " + in.addr.String() + " could not be processed and was set aside",
	})
}

// absorb is contain for notices and probes, which are no messages: a failed one is
// counted and forgotten.
func (e *Engine) absorb(tx *store.Tx, fn func() error) error {
	err := tx.Sub(fn)
	if err == nil || store.Failed(err) {
		return err
	}
	e.logger.Error("process a notice or a probe", "error", err)
	return tx.Count(e.account, countCrashed)
}

// parse checks the fields that the relay set.
func (e *Engine) parse(env *wire.Envelope) (*incoming, bool) {
	in := &incoming{class: env.GetClass(), accepted: wire.KnownTime(env.GetAcceptedMs()), cipher: env.GetCiphertext()}
	if len(env.GetMessageId()) != len(in.id) || len(in.cipher) > wire.MaxCiphertext {
		return nil, false
	}
	copy(in.id[:], env.GetMessageId())
	var err error
	if in.device, err = key.DeviceIDFromBytes(env.GetSenderDevice()); err != nil {
		return nil, false
	}
	in.addr = identity.Address{User: env.GetSender(), Domain: e.self.Domain}
	switch in.class {
	case wire.Class_CLASS_DURABLE, wire.Class_CLASS_ONLINE, wire.Class_CLASS_PROBE:
	default:
		return nil, false
	}
	return in, in.addr.Validate() == nil
}

// open opens an envelope and dispatches its content.
func (e *Engine) open(tx *store.Tx, in *incoming) error {
	seen, err := tx.Seen(e.account, in.peer, in.id)
	if err != nil {
		return err
	}
	if seen {
		return e.again(tx, in)
	}
	if in.device == e.device && in.addr == e.self {
		return e.drop(tx, in, countRefused) // the server sent this device's own envelope back
	}
	err = e.checkSender(tx, in)
	checked := err == nil
	if checked {
		err = e.unseal(tx, in)
	}
	switch {
	case err == nil:
		if err := e.history.Passed(tx, in.id, in.peer, in.device, history.StationOpened, ""); err != nil {
			return err
		}
		return e.dispatch(tx, in)
	case store.Failed(err), errors.Is(err, keyring.ErrLocked):
		return err
	case errors.Is(err, trust.ErrChanged) && in.class != wire.Class_CLASS_DURABLE:
		return e.drop(tx, in, countRefused) // only durable envelopes are kept
	case errors.Is(err, trust.ErrChanged):
		return e.quarantine(tx, in)
	case errors.Is(err, keyring.ErrReplay) && in.class != wire.Class_CLASS_DURABLE:
		return e.drop(tx, in, countDuplicate)
	case errors.Is(err, keyring.ErrReplay):
		// The id of every opened message is known, and this one is not: its message
		// key has expired.
		return e.park(tx, in, store.ParkedUndecryptable)
	case errors.Is(err, keyring.ErrMalformed):
		return e.unusable(tx, in, countMalformed)
	case errors.Is(err, keyring.ErrUndecryptable):
		if in.class != wire.Class_CLASS_DURABLE {
			return e.drop(tx, in, countMalformed)
		}
		return e.park(tx, in, store.ParkedUndecryptable)
	case checked && (errors.Is(err, trust.ErrCertificate) || errors.Is(err, trust.ErrManifest) || errors.Is(err, trust.ErrDevice)):
		e.logger.Warn("first message refused", "message", history.IDText(in.id), "error", err)
		return e.unusable(tx, in, countRefused)
	case errors.Is(err, trust.ErrBlocked), errors.Is(err, trust.ErrCertificate), errors.Is(err, trust.ErrManifest),
		errors.Is(err, trust.ErrDevice), errors.Is(err, trust.ErrRealm), errors.Is(err, trust.ErrRevoked):
		e.logger.Warn("sender refused", "message", history.IDText(in.id), "error", err)
		return e.drop(tx, in, countRefused)
	}
	return err
}

// checkSender decides, before an envelope is opened, whether it may come from its
// device.
func (e *Engine) checkSender(tx *store.Tx, in *incoming) error {
	accepted := in.accepted
	if in.class != wire.Class_CLASS_DURABLE {
		accepted = 0 // the relay stores only durable envelopes: this one was sent now
	}
	return e.trust.CheckReceive(tx, e.account, in.peer, in.addr, in.device, accepted)
}

// unseal opens the ciphertext of an envelope.
func (e *Engine) unseal(tx *store.Tx, in *incoming) (err error) {
	in.opened, err = e.keys.Open(tx, keyring.Incoming{
		Account: e.account, Sender: in.addr, Peer: in.peer, SenderDevice: in.device,
		Class: ratchet.Class(in.class), MessageID: in.id, Ciphertext: in.cipher,
	}, verifier{e}, e.keyTime())
	if err == nil && in.peer == 0 {
		in.peer, err = tx.FindPeer(e.account, in.addr.String())
	}
	return err
}

// again handles a message that was committed before. Mostly the bytes are the same
// and do not open again. But a device that replaced another one sends every message
// again that it does not know to be delivered, with a new number. That number is
// noted, so that no gap is reported, and the receipts are owed once more, since
// they may have gone to the former device.
func (e *Engine) again(tx *store.Tx, in *incoming) error {
	if err := tx.Count(e.account, countDuplicate); err != nil || in.class != wire.Class_CLASS_DURABLE || in.addr == e.self {
		return err
	}
	err := e.checkSender(tx, in)
	if err == nil {
		err = e.unseal(tx, in)
	}
	if err != nil {
		if store.Failed(err) || errors.Is(err, keyring.ErrLocked) {
			return err
		}
		return nil
	}
	if err := e.opened(tx, in); err != nil {
		return err
	}
	c, err := e2e.Unmarshal(in.opened.Plaintext)
	if err != nil || !e2e.Durable(c.GetKind()) {
		return nil
	}
	if err := tx.SawAgain(e.account, in.peer, in.device, c.GetN(), e.profileTime().UnixMilli()); err != nil {
		return err
	}
	m, err := tx.Message(e.account, in.id)
	if isNotFound(err) || store.DamagedValue(err) != nil || err == nil && (m.Direction != store.In || m.Peer != in.peer || m.Kind == int32(e2e.Kind_KIND_REQUEST)) {
		return nil
	}
	if err != nil {
		return err
	}
	return e.history.OweIfWhole(tx, m)
}

// verifier gives trust the wall clock, by which certificates are valid; the keyring
// passes on the time that keys are dated by.
type verifier struct{ e *Engine }

// AdmitInitial implements keyring.Verifier.
func (v verifier) AdmitInitial(tx *store.Tx, account store.AccountID, sender identity.Address, device key.DeviceID,
	chain [][]byte, manifest []byte, _ time.Time) (identity.Device, error) {
	return v.e.trust.AdmitInitial(tx, account, sender, device, chain, manifest, v.e.now())
}

// drop counts an envelope and forgets it: it is acknowledged and not shown. Its id
// is not marked as seen, since the sender may seal the message again.
func (e *Engine) drop(tx *store.Tx, in *incoming, what string) error {
	e.logger.Debug("envelope not shown", "message", history.IDText(in.id), "reason", what)
	return tx.Count(e.account, what)
}

// unusable counts an envelope whose header cannot be used. The header is not
// authenticated: the server may have damaged a contact's valid envelope. Such a
// message is therefore requested again, like one that does not open.
func (e *Engine) unusable(tx *store.Tx, in *incoming, reason string) error {
	contact, err := e.trust.IsContact(tx, e.account, in.peer)
	if err != nil {
		return err
	}
	if err := e.drop(tx, in, reason); err != nil || !contact || in.class != wire.Class_CLASS_DURABLE {
		return err
	}
	return e.park(tx, in, store.ParkedUndecryptable)
}
