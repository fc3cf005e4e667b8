package engine

import (
	"errors"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

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

// sync commits what another device of this account did.
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
