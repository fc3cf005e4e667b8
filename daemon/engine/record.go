package engine

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// addOwn adds an own outgoing message to history with its event.
func (e *Engine) addOwn(tx *store.Tx, id store.MessageID, to recipient, text *e2e.Text, state string, device key.DeviceID, sent time.Time) error {
	body, err := proto.Marshal(text)
	if err != nil {
		return fmt.Errorf("encode text: %w", err)
	}
	m := &store.Message{
		Account: e.account, ID: id, Peer: to.id, Direction: store.Out, Kind: int32(e2e.Kind_KIND_TEXT), Device: device[:],
		SentMS: sent.UnixMilli(), ReceivedMS: e.now().UnixMilli(), State: state, ChangedMS: e.now().UnixMilli(), Body: body,
	}
	return e.addMessage(tx, m)
}

// addMessage adds a message to history and its event to the journal.
func (e *Engine) addMessage(tx *store.Tx, m *store.Message) error {
	ev, err := e.messageEvent(tx, m)
	if err != nil {
		return err
	}
	if m.Seq, err = e.journal.Append(tx, e.account, ev); err != nil {
		return err
	}
	if err := tx.InsertMessage(m); err != nil {
		return fmt.Errorf("add message: %w", err)
	}
	return nil
}

// messageEvent shows a message as an event.
func (e *Engine) messageEvent(tx *store.Tx, m *store.Message) (local.Event, error) {
	peer, err := peerName(tx, m.Peer)
	if err != nil {
		return local.Event{}, err
	}
	if m.Damaged != nil {
		return e.damagedEvent(m, peer), nil
	}
	c, err := tx.Contact(e.account, m.Peer)
	if err != nil && damaged(err) == nil { // else its trust is unknown
		return local.Event{}, err
	}
	text := new(e2e.Text)
	if err := proto.Unmarshal(m.Body, text); err != nil {
		return local.Event{}, fmt.Errorf("message %s: %w", idText(m.ID), err)
	}
	ev := local.Event{
		Seq: m.Seq, ID: idText(m.ID), Type: local.TypeMessage, Account: e.self.String(), Peer: peer,
		Direction: local.DirectionIn, Time: localMS(m.SentMS), Received: localMS(m.ReceivedMS),
		Trust:   trust.TrustState(c),
		Message: &local.Message{Text: text.GetText(), State: m.State, Request: m.Request},
	}
	if peer == e.self.String() {
		ev.Trust = local.TrustVerified
	}
	if m.Direction == store.Out {
		ev.Direction = local.DirectionOut
	}
	if d, err := key.DeviceIDFromBytes(m.Device); err == nil {
		ev.Device = d.String()
	}
	if r := text.GetReplyTo(); len(r) == e2e.IDSize {
		s := idText(store.MessageID(r))
		ev.Message.ReplyTo = &s
	}
	return ev, nil
}

// setState moves an own message to a state, if that is a step forward, with
// its receipt event, and tells who waits for it after the commit.
func (e *Engine) setState(tx *store.Tx, id store.MessageID, state, reason string) error {
	m, err := tx.MessageHead(e.account, id)
	if err != nil {
		return err
	}
	return e.advance(tx, m, state, reason)
}

// advance is setState for a message that was just read; it keeps m true.
func (e *Engine) advance(tx *store.Tx, m *store.Message, state, reason string) error {
	if m.Direction != store.Out || !advances(m.State, state) {
		return nil
	}
	now, id := e.now(), m.ID
	m.State, m.Reason = state, reason
	if err := tx.SetMessageState(e.account, id, state, reason, now.UnixMilli()); err != nil {
		return fmt.Errorf("set state: %w", err)
	}
	peer, err := peerName(tx, m.Peer)
	if err != nil {
		return err
	}
	_, err = e.journal.Append(tx, e.account, local.Event{
		Type: local.TypeReceipt, Account: e.self.String(), Peer: peer, Time: local.Time{Time: now}, Received: local.Time{Time: now},
		Receipt: &local.Receipt{MessageID: idText(id), State: state, Error: stateError(state, reason, peer)},
	})
	if err != nil {
		return err
	}
	tx.OnCommit(func() { e.tell(id, stateChange{state: state, reason: reason}) })
	return nil
}

// system appends a system event.
func (e *Engine) system(tx *store.Tx, peer string, s local.System) error {
	now := local.Time{Time: e.now()}
	_, err := e.journal.Append(tx, e.account, local.Event{
		Type: local.TypeSystem, Account: e.self.String(), Peer: peer, Time: now, Received: now, System: &s,
	})
	return err
}

// encodeDraft encodes a content before n and time are known.
func encodeDraft(c *e2e.Content) ([]byte, error) {
	b, err := proto.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode content: %w", err)
	}
	return b, nil
}

// finish decodes a draft and sets n and time.
func finish(o *store.Outgoing) ([]byte, error) {
	c := new(e2e.Content)
	if err := proto.Unmarshal(o.Body, c); err != nil {
		return nil, fmt.Errorf("decode content: %w", err)
	}
	c.N, c.SentMs = o.N, o.SentMS
	return e2e.Marshal(c)
}
