package engine

import (
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// failDamaged fails a queued message that cannot be read from the disk, or whose
// recipient cannot, and tells the user. The messages after it go on.
func (e *Engine) failDamaged(tx *store.Tx, o *store.Outgoing, cause error) error {
	e.logger.Error("a queued message cannot be read", "message", history.IDText(o.ID), "error", cause)
	name, err := history.PeerName(tx, o.Peer)
	if err != nil {
		return err
	}
	if err := e.history.Fail(tx, o, local.StateFailed, history.ReasonDamaged); err != nil {
		return err
	}
	what := "the message " + history.IDText(o.ID)
	if o.Control {
		what = "a receipt or notice"
	}
	return e.history.System(tx, name, local.System{Text: what + " cannot be sent: its data, or that of its recipient, is damaged on disk"})
}

// repair reacts to a damaged value that sealing met. A damaged session is dropped,
// so that a new one is made. With another damaged value of the recipient the
// message fails. It reports whether the pump can go on with the peer.
func (e *Engine) repair(tx *store.Tx, o *store.Outgoing, cause error) (bool, error) {
	v := store.DamagedValue(cause)
	if v == nil {
		return false, nil
	}
	switch v.Table {
	case "sessions":
		n, err := e.dropSessions(tx, o.Peer)
		return n, err
	case "outbox", "peers", "contacts":
		return true, e.failDamaged(tx, o, cause)
	}
	return false, nil // a value of this account that every message needs
}

// dropSessions drops the damaged sessions with a peer and with the other own
// devices.
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
		name, err := history.PeerName(tx, p)
		if err != nil {
			return false, err
		}
		if err := e.history.System(tx, name, local.System{Text: "a session was damaged on disk and is being replaced"}); err != nil {
			return false, err
		}
	}
	if some {
		tx.OnCommit(func() { e.schedule(taskPump, 0) })
	}
	return some, nil
}
