package engine

import (
	"errors"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// damaged returns the one value whose damage an error is about, nil if it is
// about something else.
func damaged(err error) *store.ValueError {
	v, _ := errors.AsType[*store.ValueError](err)
	return v
}

// peerName returns a peer's address for display, empty if its row is damaged.
func peerName(tx *store.Tx, peer store.PeerID) (string, error) {
	name, err := tx.PeerAddress(peer)
	if damaged(err) != nil {
		return "", nil
	}
	return name, err
}

// spoil ends a message that cannot be read from the disk, or whose recipient
// cannot, and says so: those behind it go on.
func (e *Engine) spoil(tx *store.Tx, o *store.Outgoing, cause error) error {
	e.logger.Error("a queued message cannot be read", "message", idText(o.ID), "error", cause)
	name, err := peerName(tx, o.Peer)
	if err != nil {
		return err
	}
	if err := e.fail(tx, o, local.StateFailed, reasonDamaged); err != nil {
		return err
	}
	what := "the message " + idText(o.ID)
	if o.Control {
		what = "a receipt or another note"
	}
	return e.system(tx, name, local.System{Text: what + " cannot be sent: what is stored of it, or of its recipient, is damaged on disk"})
}

// mend deals with a damaged value that sealing met: a session is dropped, so
// that a new one is made; with another value of the recipient the message ends.
// It reports whether the pump can go on with the peer.
func (e *Engine) mend(tx *store.Tx, o *store.Outgoing, cause error) (bool, error) {
	v := damaged(cause)
	if v == nil {
		return false, nil
	}
	switch v.Table {
	case "sessions":
		n, err := e.dropSessions(tx, o.Peer)
		return n, err
	case "outbox", "peers", "contacts":
		return true, e.spoil(tx, o, cause)
	}
	return false, nil // it is mine, and not the message's
}

// dropSessions drops the damaged sessions with a peer, and with my own devices.
func (e *Engine) dropSessions(tx *store.Tx, peer store.PeerID) (bool, error) {
	some := false
	for _, p := range []store.PeerID{peer, e.selfPeer} {
		n, err := e.keys.DropDamaged(tx, e.account, p)
		if err != nil {
			return false, err
		}
		if n == 0 {
			continue
		}
		some = true
		name, err := peerName(tx, p)
		if err != nil {
			return false, err
		}
		if err := e.system(tx, name, local.System{Text: "a session is damaged on disk and is made anew"}); err != nil {
			return false, err
		}
	}
	if some {
		tx.OnCommit(func() { e.at(taskPump, 0) })
	}
	return some, nil
}

// damagedEvent stands in history for a message that cannot be read.
func (e *Engine) damagedEvent(m *store.Message, peer string) local.Event {
	ev := local.Event{
		Seq: m.Seq, ID: idText(m.ID), Type: local.TypeSystem, Account: e.self.String(), Peer: peer, Direction: local.DirectionIn,
		Time: localMS(m.SentMS), Received: localMS(m.ReceivedMS),
		System: &local.System{Text: "this message is damaged on disk and cannot be shown"},
	}
	if m.Direction == store.Out {
		ev.Direction = local.DirectionOut
	}
	return ev
}
