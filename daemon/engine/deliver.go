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

// Names of the counters of envelopes that are not shown; see Counts.
const (
	countUnknownKind = "unknown kind"
	countMalformed   = "malformed"
	countDuplicate   = "duplicate"
	countRefused     = "refused sender"
	countCrashed     = "crashed"
	countSpoofed     = "spoofed sync"
	countDropped     = "quarantine full"
	countProbe       = "stray probe"
	countCallRefused = "call of a stranger"
	countCallLimited = "call signals limited"
	countRetry       = "retry refused"
	countUnreadable  = "rows that cannot be read" // in this run
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
	e.logger.Error("an envelope cannot be handled", "message", history.IDText(in.id), "error", err)
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
	e.logger.Error("a notice or a probe cannot be handled", "error", err)
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

// dispatch commits an opened content: its id, and whatever its kind requires.
func (e *Engine) dispatch(tx *store.Tx, in *incoming) error {
	if err := tx.MarkSeen(e.account, in.peer, in.id, e.profileTime().UnixMilli()); err != nil {
		return err
	}
	if err := tx.Unpark(e.account, in.peer, in.id); err != nil {
		return err
	}
	if err := e.opened(tx, in); err != nil {
		return err
	}
	c, err := e2e.Unmarshal(in.opened.Plaintext)
	switch {
	case errors.Is(err, e2e.ErrUnknownKind):
		return tx.Count(e.account, countUnknownKind)
	case err != nil:
		return tx.Count(e.account, countMalformed)
	}
	if in.addr == e.self {
		switch c.GetKind() {
		case e2e.Kind_KIND_SYNC, e2e.Kind_KIND_SESSION, e2e.Kind_KIND_RETRY, e2e.Kind_KIND_RECEIPT:
		default:
			return tx.Count(e.account, countSpoofed) // own devices send each other no other kinds
		}
	}
	switch c.GetKind() {
	case e2e.Kind_KIND_TEXT, e2e.Kind_KIND_FILE, e2e.Kind_KIND_REQUEST:
		return e.message(tx, in, c)
	case e2e.Kind_KIND_RECEIPT:
		return e.receipt(tx, in, c.GetReceipt())
	case e2e.Kind_KIND_RETRY:
		return e.retryRequested(tx, in, c.GetRetry())
	case e2e.Kind_KIND_SYNC:
		if err := e.sync(tx, in, c); err != nil || in.addr != e.self {
			return err
		}
		return e.history.Owe(tx, in.peer, in.id, e2e.ReceiptState_RECEIPT_STATE_DELIVERED)
	case e2e.Kind_KIND_SESSION:
		return nil
	case e2e.Kind_KIND_CALL:
		return e.receiveCall(tx, in, c)
	}
	return tx.Count(e.account, countUnknownKind)
}

// opened does what every envelope requires that opened, whatever its content.
func (e *Engine) opened(tx *store.Tx, in *incoming) error {
	if in.opened.New {
		tx.OnCommit(e.restock)
	}
	if in.opened.Beside {
		if err := e.sessionReplaced(tx, in); err != nil {
			return err
		}
	}
	return e.compareManifest(tx, in)
}

// sessionReplaced warns the user that the sender's device has begun another session
// although one worked, or has switched to another one for sending.
func (e *Engine) sessionReplaced(tx *store.Tx, in *incoming) error {
	return e.trust.SessionReplaced(tx, e.account, in.peer, in.addr, in.device, e.profileTime())
}

// message commits an incoming message: its row and event, its counter, its files,
// and the receipt that is owed. With files the receipt is owed once they have all
// arrived. A message of a stranger is a request, and gets its receipt when the user
// accepts it.
func (e *Engine) message(tx *store.Tx, in *incoming, c *e2e.Content) error {
	if in.class != wire.Class_CLASS_DURABLE {
		return tx.Count(e.account, countMalformed)
	}
	id, err := e.history.FreeID(tx, in.id, in.peer, store.In)
	if err != nil {
		return err
	}
	if id == (store.MessageID{}) {
		return tx.Count(e.account, history.CountCollision)
	}
	contact, err := e.trust.IsContact(tx, e.account, in.peer)
	if err != nil {
		return err
	}
	request := c.GetKind() == e2e.Kind_KIND_REQUEST
	now := e.profileTime().UnixMilli()
	repeated, err := tx.SawN(e.account, in.peer, in.device, c.GetN(), now)
	if err == nil && repeated {
		err = e.trust.NumberRepeated(tx, e.account, in.peer, in.addr, in.device, c.GetN())
	}
	if err != nil {
		return err
	}
	tx.OnCommit(func() { e.schedule(taskGaps, 0) })
	if request && contact {
		return nil // the request was accepted before
	}
	if !contact {
		if err := e.trust.SetRequest(tx, e.account, in.peer); err != nil {
			return err
		}
	}
	body, err := history.BodyOf(c)
	if err != nil {
		return err
	}
	m := &store.Message{
		Account: e.account, ID: id, Peer: in.peer, Direction: store.In, Kind: int32(c.GetKind()), Device: in.device[:],
		N: c.GetN(), SentMS: c.GetSentMs(), ReceivedMS: e.now().UnixMilli(), KeptMS: now, Request: !contact, Unread: true, Body: body,
	}
	files := history.ReferencesOf(c)
	if err := e.history.AddReceived(tx, m, files, contact); err != nil || request || len(files) > 0 {
		return err
	}
	return e.history.Owe(tx, in.peer, in.id, e2e.ReceiptState_RECEIPT_STATE_DELIVERED)
}

// sync commits a copy of an action of another own device.
func (e *Engine) sync(tx *store.Tx, in *incoming, c *e2e.Content) error {
	s := c.GetSync()
	if in.addr != e.self {
		return tx.Count(e.account, countSpoofed) // only own devices may
	}
	addr, err := identity.ParseAddress(s.GetPeer())
	if err != nil || addr.Domain != e.self.Domain {
		return tx.Count(e.account, countMalformed)
	}
	peer, err := tx.Peer(e.account, addr.String())
	if err != nil {
		return err
	}
	if r := s.GetRead(); r != nil {
		for _, b := range r.GetMessageIds() {
			m, err := tx.Message(e.account, store.MessageID(b))
			if errors.Is(err, store.ErrNotFound) || err == nil && m.Peer != peer {
				continue
			}
			if err != nil {
				return err
			}
			if _, err := tx.MarkRead(e.account, m.ID); err != nil {
				return err
			}
		}
		return nil
	}
	id, err := e.history.FreeID(tx, store.MessageID(s.GetMessageId()), peer, store.Out)
	if err != nil {
		return err
	}
	if id == (store.MessageID{}) {
		return tx.Count(e.account, history.CountCollision)
	}
	if addr != e.self {
		added, err := e.trust.MakeContact(tx, e.account, peer)
		if err != nil {
			return err
		}
		if added {
			tx.OnCommit(e.contactAdded)
		}
	}
	state := ""
	if addr == e.self {
		state = local.StateDelivered
	}
	sent := &e2e.Content{Kind: e2e.Kind_KIND_TEXT, Body: &e2e.Content_Text{Text: s.GetSent()}}
	if f := s.GetSentFile(); f != nil {
		sent = &e2e.Content{Kind: e2e.Kind_KIND_FILE, Body: &e2e.Content_File{File: f}}
	}
	return e.history.AddOwn(tx, id, peer, sent, state, in.device, time.UnixMilli(c.GetSentMs()))
}

// notice records the server's report about an envelope that it had accepted. The
// report is not authenticated, so it never changes delivered or read.
func (e *Engine) notice(tx *store.Tx, n *wire.Notice) error {
	device, err := key.DeviceIDFromBytes(n.GetDevice())
	if err != nil || len(n.GetMessageId()) != e2e.IDSize {
		return tx.Count(e.account, countMalformed)
	}
	switch n.GetReason() {
	case wire.Reason_REASON_EXPIRED, wire.Reason_REASON_DEVICE_GONE:
	default:
		return tx.Count(e.account, countMalformed)
	}
	id := store.MessageID(n.GetMessageId())
	env, err := tx.EnvelopeHead(e.account, id, device)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.RejectEnvelope(e.account, id, device, int32(n.GetReason())); err != nil {
		return err
	}
	if n.GetReason() == wire.Reason_REASON_DEVICE_GONE && !env.Own && env.Status != store.EnvelopeRejected {
		// The device took its mailbox with it; another device may have replaced it.
		tx.OnCommit(func() { e.asking.peer(env.Peer).refresh = true })
		if err := e.queueAgain(tx, id); err != nil {
			return err
		}
	}
	if f := e.window.flights[flightKey{id: id, device: device}]; f != nil {
		tx.OnCommit(func() { e.window.drop(f) })
	}
	return e.settle(tx, id)
}

// Counts returns how many envelopes were counted and not shown, by reason.
func (e *Engine) Counts(ctx context.Context) (map[string]int64, error) {
	out := make(map[string]int64)
	err := e.store.View(ctx, func(tx *store.Tx) error {
		for _, what := range []string{countUnknownKind, countMalformed, countDuplicate, history.CountCollision, countRefused,
			countCrashed, countSpoofed, countDropped, countProbe, countCallRefused, countCallLimited, countRetry} {
			n, err := tx.Counted(e.account, what)
			if err != nil {
				return err
			}
			out[what] = n
		}
		return nil
	})
	out[countUnreadable] = e.history.Unreadable() + e.journal.Unreadable()
	return out, err
}
