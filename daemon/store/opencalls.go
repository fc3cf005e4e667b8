package store

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// OpenCall is a call that has not ended. If the daemon is killed, the next one records the
// call's end from it. It is not secret: the row of a message reveals as much.
type OpenCall struct {
	ID        MessageID `json:"-"`
	Peer      PeerID    `json:"peer"`
	Out       bool      `json:"out,omitempty"`
	Audio     bool      `json:"audio,omitempty"`
	Video     bool      `json:"video,omitempty"`
	Device    []byte    `json:"device,omitempty"` // the peer's device
	BeganMS   int64     `json:"began"`
	Connected bool      `json:"connected,omitempty"`
}

// openCallPrefix is the prefix of their keys in meta. openCallEnd is the first key after
// them.
const (
	openCallPrefix = "call/"
	openCallEnd    = "call0"
)

// SetOpenCall saves a call that has not ended.
func (tx *Tx) SetOpenCall(account AccountID, c OpenCall) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode call: %w", err)
	}
	return tx.SetMeta(account, openCallPrefix+hex.EncodeToString(c.ID[:]), b)
}

// DeleteOpenCall deletes a call that has ended.
func (tx *Tx) DeleteOpenCall(account AccountID, id MessageID) error {
	return tx.exec(`DELETE FROM meta WHERE account = ? AND key = ?`, account, openCallPrefix+hex.EncodeToString(id[:]))
}

// OpenCalls returns the calls of an account that have not ended. It omits unreadable ones.
func (tx *Tx) OpenCalls(account AccountID) ([]OpenCall, error) {
	var out []OpenCall
	err := tx.each(`SELECT key, value FROM meta WHERE account = ? AND key > ? AND key < ? ORDER BY key`,
		[]any{account, openCallPrefix, openCallEnd}, func(scan func(...any) error) error {
			var name string
			var b []byte
			if err := scan(&name, &b); err != nil {
				return err
			}
			var c OpenCall
			id, err := hex.DecodeString(name[len(openCallPrefix):])
			if err != nil || len(id) != len(c.ID) || json.Unmarshal(b, &c) != nil {
				return nil
			}
			c.ID = MessageID(id)
			out = append(out, c)
			return nil
		})
	return out, err
}
