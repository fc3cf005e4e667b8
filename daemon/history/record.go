package history

import (
	"fmt"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// AddOwn adds an own message to a peer, with its files, and its event.
func (h *History) AddOwn(tx *store.Tx, id store.MessageID, to store.PeerID, c *e2e.Content, state string, device [16]byte, sent time.Time) error {
	body, err := BodyOf(c)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	m := &store.Message{
		Account: h.account, ID: id, Peer: to, Direction: store.Out, Kind: int32(c.GetKind()), Device: device[:],
		SentMS: e2e.SentTime(sent.UnixMilli()), ReceivedMS: h.now().UnixMilli(), KeptMS: h.profileTime().UnixMilli(), State: state, ChangedMS: h.now().UnixMilli(), Body: body,
	}
	if err := h.addFiles(tx, m, ReferencesOf(c), sentElsewhere); err != nil {
		return err
	}
	if err := h.AddMessage(tx, m); err != nil {
		return err
	}
	return h.Passed(tx, id, to, [16]byte{}, state, "")
}

// AddReceived adds a message of a peer, with its files, and its event.
func (h *History) AddReceived(tx *store.Tx, m *store.Message, files []*e2e.File, contact bool) error {
	if err := h.addFiles(tx, m, files, h.offered(tx, contact)); err != nil {
		return err
	}
	return h.AddMessage(tx, m)
}

// AddMessage adds a message and its event, and one more event for each file that
// is part of it. The rows of the files must be there already.
func (h *History) AddMessage(tx *store.Tx, m *store.Message) error {
	ev, files, err := h.messageEvents(tx, m)
	if err != nil {
		return err
	}
	if m.Seq, err = h.journal.Append(tx, h.account, ev); err != nil {
		return err
	}
	if err := tx.InsertMessage(m); err != nil {
		return fmt.Errorf("add message: %w", err)
	}
	for _, ev := range files {
		if _, err := h.journal.Append(tx, h.account, ev); err != nil {
			return err
		}
	}
	return nil
}

// SetState moves an own message to a state, if that is a step forward, and
// appends its receipt event.
func (h *History) SetState(tx *store.Tx, id store.MessageID, state, reason string) error {
	m, err := tx.MessageHead(h.account, id)
	if err != nil {
		return err
	}
	return h.Advance(tx, m, state, reason)
}

// Advance is SetState for a row that the caller has just read. It updates m.
func (h *History) Advance(tx *store.Tx, m *store.Message, state, reason string) error {
	if m.Direction != store.Out || !advances(m.State, state) {
		return nil
	}
	now, id := h.now(), m.ID
	m.State, m.Reason = state, reason
	if err := tx.SetMessageState(h.account, id, state, reason, now.UnixMilli()); err != nil {
		return fmt.Errorf("set state: %w", err)
	}
	peer, err := PeerName(tx, m.Peer)
	if err != nil {
		return err
	}
	_, err = h.journal.Append(tx, h.account, local.Event{
		Type: local.TypeReceipt, Account: h.self, Peer: peer, Time: local.Time{Time: now}, Received: local.Time{Time: now},
		Receipt: &local.Receipt{MessageID: IDText(id), State: ShownState(state, reason), Error: StateError(state, reason, peer)},
	})
	if err != nil {
		return err
	}
	if err := h.Passed(tx, id, m.Peer, [16]byte{}, state, reason); err != nil {
		return err
	}
	tx.OnCommit(func() { h.hooks.StateChanged(id, Change{State: state, Reason: reason, At: now.UnixMilli()}) })
	switch state {
	case local.StateFailed, local.StateExpired:
		return h.endFiles(tx, id)
	case local.StateDelivered:
		return h.filesDelivered(tx, id)
	}
	return nil
}

// Fail ends a queued message with a final state and drops it from the outbox.
// Control content has no row here and is only dropped.
func (h *History) Fail(tx *store.Tx, o *store.Outgoing, state, reason string) error {
	if !o.Control {
		if err := h.SetState(tx, o.ID, state, reason); err != nil {
			return err
		}
	}
	return tx.DropOutgoing(h.account, o.ID)
}

// Owe records a receipt that is due to the sender of a message.
func (h *History) Owe(tx *store.Tx, peer store.PeerID, id store.MessageID, state e2e.ReceiptState) error {
	id, err := h.sendersID(tx, id)
	if err != nil {
		return err
	}
	if err := tx.OweReceipt(h.account, store.Receipt{Peer: peer, ID: id, State: int32(state)}, h.profileTime().UnixMilli()); err != nil {
		return err
	}
	tx.OnCommit(h.hooks.ReceiptOwed)
	return nil
}
