package engine

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// addOwn adds an own outgoing message to history with its event.
func (e *Engine) addOwn(tx *store.Tx, id store.MessageID, to recipient, c *e2e.Content, state string, device key.DeviceID, sent time.Time) error {
	body, err := bodyOf(c)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	m := &store.Message{
		Account: e.account, ID: id, Peer: to.id, Direction: store.Out, Kind: int32(c.GetKind()), Device: device[:],
		SentMS: e2e.SentTime(sent.UnixMilli()), ReceivedMS: e.now().UnixMilli(), KeptMS: e.profileTime().UnixMilli(), State: state, ChangedMS: e.now().UnixMilli(), Body: body,
	}
	if err := e.addFiles(tx, m, referencesOf(c), sentElsewhere); err != nil {
		return err
	}
	return e.addMessage(tx, m)
}

// addMessage adds a message to history and its event to the journal, with one
// more for each file that is part of it. The files' rows are there already.
func (e *Engine) addMessage(tx *store.Tx, m *store.Message) error {
	ev, files, err := e.messageEvents(tx, m)
	if err != nil {
		return err
	}
	if m.Seq, err = e.journal.Append(tx, e.account, ev); err != nil {
		return err
	}
	if err := tx.InsertMessage(m); err != nil {
		return fmt.Errorf("add message: %w", err)
	}
	for _, ev := range files {
		if _, err := e.journal.Append(tx, e.account, ev); err != nil {
			return err
		}
	}
	return nil
}

// messageEvent shows a message as an event. In the place of one that cannot be
// read stands a system event, so that it keeps nobody from those beside it.
func (e *Engine) messageEvent(tx *store.Tx, m *store.Message) (local.Event, error) {
	ev, _, err := e.messageEvents(tx, m)
	if err == nil || isDisk(err) {
		return ev, err
	}
	m.Damaged = err
	ev, _, err = e.messageEvents(tx, m)
	return ev, err
}

// messageEvents shows a message as an event, and each file that is part of it
// as one more. A file that is a message of its own is one event of type file.
func (e *Engine) messageEvents(tx *store.Tx, m *store.Message) (ev local.Event, files []local.Event, err error) {
	if m.Damaged != nil {
		e.unreadable.Add(1)
		e.logger.Error("a message cannot be read", "message", idText(m.ID), "error", m.Damaged)
		peer, err := peerName(tx, m.Peer)
		if err != nil {
			return ev, nil, err
		}
		return e.damagedEvent(m, peer), nil, nil
	}
	if ev, err = e.eventOf(tx, m); err != nil {
		return ev, nil, err
	}
	if m.Kind == int32(e2e.Kind_KIND_CALL) {
		ev.Type = local.TypeCall
		ev.Call, err = callOf(m)
		return ev, nil, err
	}
	text := new(e2e.Text)
	if m.Kind != int32(e2e.Kind_KIND_FILE) {
		if err := proto.Unmarshal(m.Body, text); err != nil {
			return ev, nil, fmt.Errorf("message %s: %w", idText(m.ID), err)
		}
	}
	ev.Type = local.TypeMessage
	ev.Message = &local.Message{Text: text.GetText(), State: shownState(m.State, m.Reason), Request: m.Request}
	if r := text.GetReplyTo(); len(r) == e2e.IDSize {
		s := idText(store.MessageID(r))
		ev.Message.ReplyTo = &s
	}
	if m.Kind != int32(e2e.Kind_KIND_FILE) && len(text.GetFiles()) == 0 {
		return ev, nil, nil
	}
	list, err := tx.FilesOf(e.account, m.ID)
	if err != nil {
		return ev, nil, err
	}
	for i := range list {
		shown := e.showFile(&list[i], m)
		one := ev
		one.ID, one.Type, one.Message, one.File = shown.ID, local.TypeFile, nil, &shown
		files = append(files, one)
		ev.Message.Files = append(ev.Message.Files, shown)
	}
	if m.Kind == int32(e2e.Kind_KIND_FILE) && len(files) == 1 {
		return files[0], nil, nil
	}
	return ev, files, nil
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
		Receipt: &local.Receipt{MessageID: idText(id), State: shownState(state, reason), Error: stateError(state, reason, peer)},
	})
	if err != nil {
		return err
	}
	tx.OnCommit(func() { e.tell(id, stateChange{state: state, reason: reason, at: now.UnixMilli()}) })
	switch state {
	case local.StateFailed, local.StateExpired:
		return e.endFiles(tx, id)
	case local.StateDelivered:
		return e.filesArrived(tx, id)
	}
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

// finish decodes a draft and sets n and time. A draft that makes no content is a
// damaged value: it ends the message and nothing else.
func finish(o *store.Outgoing) ([]byte, error) {
	c := new(e2e.Content)
	if err := proto.Unmarshal(o.Body, c); err != nil {
		return nil, &store.ValueError{Table: "outbox", Column: "body", Err: fmt.Errorf("decode content: %w", err)}
	}
	c.N, c.SentMs = o.N, e2e.SentTime(o.SentMS)
	b, err := e2e.Marshal(c)
	if err != nil {
		return nil, &store.ValueError{Table: "outbox", Column: "body", Err: err}
	}
	return b, nil
}
