package history

import (
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"secmsg/daemon/store"
)

// NewID makes a message id: a UUIDv7, so that ids sort by time.
func NewID() (store.MessageID, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return store.MessageID{}, fmt.Errorf("message id: %w", err)
	}
	return store.MessageID(u), nil
}

// IDText formats a message id.
func IDText(id store.MessageID) string { return uuid.UUID(id).String() }

// ParseID parses a message id.
func ParseID(s string) (store.MessageID, error) {
	u, err := uuid.Parse(s)
	return store.MessageID(u), err
}

// The sender chooses a message's id, and the server sees it. A server and a
// contact can therefore conspire to deliver the contact's message under the id
// of another sender's message that is still on its way. Such a message is kept
// here under an alias: an id of this device, which receipts replace by the
// sender's.

// aliasVersion marks an alias: UUIDv8 (RFC 9562, section 5.8), so that other ids
// cost no query.
const aliasVersion = 8

// CountCollision is the counter of messages whose id was taken.
const CountCollision = "id collision"

func aliasName(id store.MessageID) string { return "alias/" + hex.EncodeToString(id[:]) }

// FreeID returns the id under which to keep a peer's message: the message's own,
// or an alias if another message has it. It returns the zero id if this very
// message is there already.
func (h *History) FreeID(tx *store.Tx, id store.MessageID, peer store.PeerID, direction int) (store.MessageID, error) {
	m, err := tx.MessageHead(h.account, id)
	if isNotFound(err) {
		return id, nil
	}
	if err != nil || m.Peer == peer && m.Direction == direction {
		return store.MessageID{}, err
	}
	if err := tx.Count(h.account, CountCollision); err != nil {
		return store.MessageID{}, err
	}
	alias, err := NewID()
	if err != nil {
		return store.MessageID{}, err
	}
	alias[6] = aliasVersion<<4 | alias[6]&0x0f
	return alias, tx.SetMeta(h.account, aliasName(alias), id[:])
}

// sendersID returns the id that a message has at its sender.
func (h *History) sendersID(tx *store.Tx, id store.MessageID) (store.MessageID, error) {
	if id[6]>>4 != aliasVersion {
		return id, nil
	}
	b, err := tx.Meta(h.account, aliasName(id))
	if isNotFound(err) || err == nil && len(b) != len(id) {
		return id, nil // the sender itself chose a UUIDv8
	}
	if err != nil {
		return id, err
	}
	return store.MessageID(b), nil
}
