package engine

import (
	"encoding/binary"
	"errors"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// known returns the ids that an idempotency key stands for, nil if it is new.
func (e *Engine) known(tx *store.Tx, key string, digest []byte) ([]store.MessageID, error) {
	i, err := tx.Idempotent(e.account, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if string(i.Digest) != string(digest) {
		return nil, local.Errorf(local.CodeUsage, "the idempotency key was used for another message")
	}
	return splitIDs(i.IDs), nil
}

// idempotentContent encodes the content that an idempotency key stands for:
// recipients, text and reply, each with its length.
func idempotentContent(p local.SendParams, peers []recipient) []byte {
	var b []byte
	add := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	add(p.Text)
	add(p.ReplyTo)
	for _, r := range peers {
		add(r.addr.String())
	}
	return b
}

func joinIDs(ids []store.MessageID) []byte {
	var b []byte
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return b
}

func splitIDs(b []byte) []store.MessageID {
	var ids []store.MessageID
	for ; len(b) >= len(store.MessageID{}); b = b[len(store.MessageID{}):] {
		ids = append(ids, store.MessageID(b[:len(store.MessageID{})]))
	}
	return ids
}
