package store

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// lastKnown is stored for a message with an idempotency key: when the key was used and,
// after the message was deleted from the history, its last state. So a repeated send can
// still be answered.
type lastKnown struct {
	AtMS      int64  `json:"at"`
	Peer      PeerID `json:"peer,omitempty"`
	State     string `json:"state,omitempty"` // empty: the message is in the history
	Reason    string `json:"reason,omitempty"`
	ChangedMS int64  `json:"changed,omitempty"`
}

// keyedPrefix is the prefix of their keys in meta. keyedEnd is the first key after them.
const (
	keyedPrefix = "keyed/"
	keyedEnd    = "keyed0"
)

func keyedName(id MessageID) string { return keyedPrefix + hex.EncodeToString(id[:]) }

func (tx *Tx) setLastKnown(account AccountID, id MessageID, k lastKnown) error {
	b, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode last state: %w", err)
	}
	return tx.SetMeta(account, keyedName(id), b)
}

// LastKnown returns the peer and the last state, without a body, of a message with an
// idempotency key that was deleted from the history, or ErrNotFound.
func (tx *Tx) LastKnown(account AccountID, id MessageID) (*Message, error) {
	b, err := tx.Meta(account, keyedName(id))
	if err != nil {
		return nil, err
	}
	var k lastKnown
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("last state: %w: %w", ErrCorrupt, err)
	}
	if k.State == "" {
		return nil, ErrNotFound
	}
	return &Message{Account: account, ID: id, Peer: k.Peer, Direction: Out, State: k.State, Reason: k.Reason, ChangedMS: k.ChangedMS}, nil
}

// keepLastKnown saves the states of messages with idempotency keys that DeleteHistory is
// about to delete.
func (tx *Tx) keepLastKnown(account AccountID, peer PeerID, ms int64) error {
	type row struct {
		id []byte
		b  []byte
		k  lastKnown
	}
	var rows []row
	err := tx.each(`SELECT m.id, m.state, m.reason, m.changed_ms, meta.value FROM messages m
		JOIN meta ON meta.account = m.account AND meta.key = '`+keyedPrefix+`' || lower(hex(m.id))
		WHERE m.account = ?1 AND m.peer = ?2 AND m.direction = 2 AND m.kept_ms < ?3
		AND m.id NOT IN (SELECT id FROM outbox WHERE account = ?1)`, []any{account, peer, ms},
		func(scan func(...any) error) error {
			var r row
			err := scan(&r.id, &r.k.State, &r.k.Reason, &r.k.ChangedMS, &r.b)
			rows = append(rows, r)
			return err
		})
	if err != nil {
		return err
	}
	for _, r := range rows {
		var was lastKnown
		if err := json.Unmarshal(r.b, &was); err != nil {
			return fmt.Errorf("last state: %w: %w", ErrCorrupt, err)
		}
		r.k.AtMS, r.k.Peer = was.AtMS, peer
		var id MessageID
		copy(id[:], r.id)
		if err := tx.setLastKnown(account, id, r.k); err != nil {
			return err
		}
	}
	return nil
}
