package history

import (
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// OwnMessage returns the row of an own message that a caller names.
func (h *History) OwnMessage(tx *store.Tx, text string) (*store.Message, error) {
	id, err := ParseID(text)
	if err != nil {
		return nil, local.Errorf(local.CodeNotFound, "you have sent no message with the id %q", text)
	}
	m, err := tx.MessageHead(h.account, id)
	if isNotFound(err) || err == nil && m.Direction != store.Out {
		return nil, local.Errorf(local.CodeNotFound, "you have sent no message with the id %s", text)
	}
	return m, err
}

// Outbox lists the messages that the server has not accepted yet, oldest first.
// waits says what a queued one waits for.
func (h *History) Outbox(tx *store.Tx, waits func(o *store.Outgoing, peer string) *local.Error) ([]local.SendResult, error) {
	rows, err := tx.OutgoingList(h.account)
	if err != nil {
		return nil, err
	}
	out := make([]local.SendResult, 0, len(rows))
	for _, o := range rows {
		m, err := tx.MessageHead(h.account, o.ID)
		if isNotFound(err) || err == nil && m.State == local.StateAccepted {
			continue // on its way to a further device only
		}
		if err != nil {
			return nil, err
		}
		r, err := h.SendResult(tx, m)
		if err != nil {
			return nil, err
		}
		if r.State == local.StateQueued {
			r.Waiting = waits(&o, r.Peer)
		}
		out = append(out, r)
	}
	return out, nil
}

// States returns the present states of own messages.
func (h *History) States(tx *store.Tx, ids []store.MessageID) ([]string, error) {
	out := make([]string, len(ids))
	for i, id := range ids {
		m, err := h.lastHead(tx, id)
		if err != nil {
			return nil, err
		}
		out[i] = m.State
	}
	return out, nil
}

// Results returns the outcomes of own messages, for the answer of a send.
func (h *History) Results(tx *store.Tx, ids []store.MessageID) ([]local.SendResult, error) {
	out := make([]local.SendResult, 0, len(ids))
	for _, id := range ids {
		m, err := h.lastHead(tx, id)
		if isNotFound(err) {
			return nil, local.Errorf(local.CodeNotFound, "the message was already sent as %s, and its history has been deleted", IDText(id))
		}
		if err != nil {
			return nil, err
		}
		r, err := h.SendResult(tx, m)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// lastHead returns an own message. If its history was deleted and an idempotency
// key still names it, it returns the state that was last known.
func (h *History) lastHead(tx *store.Tx, id store.MessageID) (*store.Message, error) {
	m, err := tx.MessageHead(h.account, id)
	if isNotFound(err) {
		return tx.LastKnown(h.account, id)
	}
	return m, err
}

// SendResult is the line of a message in the answers of send and outbox list.
func (h *History) SendResult(tx *store.Tx, m *store.Message) (local.SendResult, error) {
	peer, err := PeerName(tx, m.Peer)
	if err != nil {
		return local.SendResult{}, err
	}
	r := local.SendResult{
		ID: IDText(m.ID), Peer: peer, State: ShownState(m.State, m.Reason), Time: TimeMS(m.ChangedMS), Error: StateError(m.State, m.Reason, peer),
	}
	return r, addFile(tx, m, &r)
}

// addFile adds to a message's result the facts about its file.
func addFile(tx *store.Tx, m *store.Message, r *local.SendResult) error {
	failed := m.State == local.StateFailed
	if m.Kind != int32(e2e.Kind_KIND_FILE) && !failed {
		return nil
	}
	list, err := tx.FilesOf(m.Account, m.ID)
	if err != nil {
		return err
	}
	for i := range list {
		f := &list[i]
		if m.Kind == int32(e2e.Kind_KIND_FILE) {
			r.File = &local.FileInfo{Name: f.Name, Size: f.Size, Type: f.Type}
		}
		if failed && r.Error != nil && f.Reason != "" {
			r.Error.Message = f.Name + ": " + f.Reason
		}
	}
	return nil
}
