package engine

import (
	"encoding/hex"

	"secmsg/daemon/store"
)

// A message's id is its sender's choice, and the server sees it. So a server and a
// contact together can have a message of the contact arrive under the id of another
// one that is on its way, from another sender. Such a message is kept here under an
// id of this device, in whose place receipts name the sender's.

// aliasVersion is the version of such an id: UUIDv8 (RFC 9562, section 5.8), so that
// other ids need no look.
const aliasVersion = 8

func aliasName(id store.MessageID) string { return "alias/" + hex.EncodeToString(id[:]) }

// freeID returns the id under which a message of a peer is kept: its own, unless
// another's message has it, and zero if the message itself is there already.
func (e *Engine) freeID(tx *store.Tx, id store.MessageID, peer store.PeerID, direction int) (store.MessageID, error) {
	m, err := tx.MessageHead(e.account, id)
	if isNotFound(err) {
		return id, nil
	}
	if err != nil || m.Peer == peer && m.Direction == direction {
		return store.MessageID{}, err
	}
	if err := tx.Count(e.account, countCollision); err != nil {
		return store.MessageID{}, err
	}
	alias, err := newID()
	if err != nil {
		return store.MessageID{}, err
	}
	alias[6] = aliasVersion<<4 | alias[6]&0x0f
	return alias, tx.SetMeta(e.account, aliasName(alias), id[:])
}

// sendersID returns the id that a message has at its sender.
func (e *Engine) sendersID(tx *store.Tx, id store.MessageID) (store.MessageID, error) {
	if id[6]>>4 != aliasVersion {
		return id, nil
	}
	b, err := tx.Meta(e.account, aliasName(id))
	if isNotFound(err) || err == nil && len(b) != len(id) {
		return id, nil // the sender has chosen such an id himself
	}
	if err != nil {
		return id, err
	}
	return store.MessageID(b), nil
}
