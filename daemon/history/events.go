package history

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// MessageEvent shows a message as an event. If the message cannot be read, a
// system event takes its place, so that a list of messages never fails because
// of one.
func (h *History) MessageEvent(tx *store.Tx, m *store.Message) (local.Event, error) {
	ev, _, err := h.messageEvents(tx, m)
	if err == nil || store.Failed(err) {
		return ev, err
	}
	m.Damaged = err
	ev, _, err = h.messageEvents(tx, m)
	return ev, err
}

// shown shows a list of messages.
func (h *History) shown(tx *store.Tx, list []store.Message) ([]local.Event, error) {
	out := make([]local.Event, 0, len(list))
	for i := range list {
		ev, err := h.MessageEvent(tx, &list[i])
		if err != nil {
			return nil, err
		}
		out = append(out, ev)
	}
	return out, nil
}

// messageEvents shows a message as an event, and each file that is part of it as
// one more. A file that is a message of its own is one event of type file.
func (h *History) messageEvents(tx *store.Tx, m *store.Message) (ev local.Event, files []local.Event, err error) {
	if m.Damaged != nil {
		h.unreadable.Add(1)
		h.logger.Error("a message cannot be read", "message", IDText(m.ID), "error", m.Damaged)
		peer, err := PeerName(tx, m.Peer)
		if err != nil {
			return ev, nil, err
		}
		return h.damagedEvent(m, peer), nil, nil
	}
	if ev, err = h.eventOf(tx, m); err != nil {
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
			return ev, nil, fmt.Errorf("message %s: %w", IDText(m.ID), err)
		}
	}
	ev.Type = local.TypeMessage
	ev.Message = &local.Message{Text: text.GetText(), State: ShownState(m.State, m.Reason), Request: m.Request}
	if r := text.GetReplyTo(); len(r) == e2e.IDSize {
		s := IDText(store.MessageID(r))
		ev.Message.ReplyTo = &s
	}
	if m.Kind != int32(e2e.Kind_KIND_FILE) && len(text.GetFiles()) == 0 {
		return ev, nil, nil
	}
	list, err := tx.FilesOf(h.account, m.ID)
	if err != nil {
		return ev, nil, err
	}
	for i := range list {
		shown := h.showFile(&list[i], m)
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

// eventOf fills in the fields that the events of a message and of its files share.
func (h *History) eventOf(tx *store.Tx, m *store.Message) (local.Event, error) {
	peer, err := PeerName(tx, m.Peer)
	if err != nil {
		return local.Event{}, err
	}
	c, err := tx.Contact(h.account, m.Peer)
	if err != nil && store.DamagedValue(err) == nil { // with a damaged contact the trust is unknown
		return local.Event{}, err
	}
	ev := local.Event{
		Seq: m.Seq, ID: IDText(m.ID), Account: h.self, Peer: peer, Direction: local.DirectionIn,
		Time: TimeMS(m.SentMS), Received: TimeMS(m.ReceivedMS), Trust: trust.TrustState(c),
	}
	if peer == h.self {
		ev.Trust = local.TrustVerified
	}
	if m.Direction == store.Out {
		ev.Direction = local.DirectionOut
	}
	if len(m.Device) == len([16]byte{}) {
		ev.Device = h.deviceText([16]byte(m.Device))
	}
	return ev, nil
}

// damagedEvent takes the place of a message that cannot be read.
func (h *History) damagedEvent(m *store.Message, peer string) local.Event {
	ev := local.Event{
		Seq: m.Seq, ID: IDText(m.ID), Type: local.TypeSystem, Account: h.self, Peer: peer, Direction: local.DirectionIn,
		Time: TimeMS(m.SentMS), Received: TimeMS(m.ReceivedMS),
		System: &local.System{Text: "this message is damaged on disk and cannot be shown"},
	}
	if m.Direction == store.Out {
		ev.Direction = local.DirectionOut
	}
	return ev
}

// PeerName returns a peer's address for display, empty if its row is damaged.
func PeerName(tx *store.Tx, peer store.PeerID) (string, error) {
	name, err := tx.PeerAddress(peer)
	if store.DamagedValue(err) != nil {
		return "", nil
	}
	return name, err
}

// System appends a system event about a peer, or about the account if peer is empty.
func (h *History) System(tx *store.Tx, peer string, s local.System) error {
	return h.happened(tx, local.Event{Type: local.TypeSystem, Peer: peer, System: &s})
}

// Identity appends an identity event of a peer whose trust is state.
func (h *History) Identity(tx *store.Tx, peer, state string, change local.Identity) error {
	return h.happened(tx, local.Event{
		Type: local.TypeIdentity, Peer: peer, Direction: local.DirectionIn, Trust: state, Identity: &change,
	})
}

// Presence appends a presence event of a peer.
func (h *History) Presence(tx *store.Tx, peer string, p local.Presence) error {
	return h.happened(tx, local.Event{Type: local.TypePresence, Peer: peer, Presence: &p})
}

// happened appends an event of this moment.
func (h *History) happened(tx *store.Tx, ev local.Event) error {
	now := local.Time{Time: h.now()}
	ev.Account, ev.Time, ev.Received = h.self, now, now
	_, err := h.journal.Append(tx, h.account, ev)
	return err
}
