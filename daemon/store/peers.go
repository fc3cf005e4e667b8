package store

import (
	"encoding/hex"
	"strconv"
)

// AccountID identifies an own account in the database.
type AccountID int64

// PeerID identifies a peer (or the account itself) of one account in the database; 0 is
// none.
type PeerID int64

// MessageID is the 16-byte id of a message (UUIDv7, RFC 9562).
type MessageID [16]byte

// peerTag is the domain of the index of addresses.
const peerTag = "peer address"

// Peer returns the id of an address (user@domain) of an account, and creates a row if there
// is none.
func (tx *Tx) Peer(account AccountID, address string) (PeerID, error) {
	id, err := tx.FindPeer(account, address)
	if err == nil || !isNotFound(err) {
		return id, err
	}
	tag, err := tx.tag(peerTag, []byte(address))
	if err != nil {
		return 0, err
	}
	sealed, err := tx.seal("peers", "address", peerRow(account, tag), []byte(address))
	if err != nil {
		return 0, err
	}
	err = tx.get(`INSERT INTO peers (account, tag, address) VALUES (?, ?, ?) RETURNING id`,
		[]any{account, tag, sealed}, &id)
	return id, err
}

// FindPeer returns the id of an address, or ErrNotFound.
func (tx *Tx) FindPeer(account AccountID, address string) (PeerID, error) {
	name := peerName{account, address}
	if id, ok := tx.known.peer(name); ok && tx.unlocked() {
		return id, nil
	}
	tag, err := tx.tag(peerTag, []byte(address))
	if err != nil {
		return 0, err
	}
	var id PeerID
	err = tx.get(`SELECT id FROM peers WHERE account = ? AND tag = ?`, []any{account, tag}, &id)
	if err == nil {
		// a row inserted by this transaction may still be undone
		tx.keep(func() { tx.known.putPeer(id, name, tx.epoch) })
	}
	return id, err
}

// PeerAddress returns the address (user@domain) of a peer.
func (tx *Tx) PeerAddress(id PeerID) (string, error) {
	if n, ok := tx.known.address(id); ok && tx.unlocked() {
		return n.address, nil
	}
	var account AccountID
	var tag, sealed []byte
	if err := tx.get(`SELECT account, tag, address FROM peers WHERE id = ?`, []any{id}, &account, &tag, &sealed); err != nil {
		return "", err
	}
	b, err := tx.open("peers", "address", peerRow(account, tag), sealed)
	if err == nil {
		tx.keep(func() { tx.known.putPeer(id, peerName{account, string(b)}, tx.epoch) })
	}
	return string(b), err
}

// Peers returns the ids of all peers of an account, in the order of creation.
func (tx *Tx) Peers(account AccountID) ([]PeerID, error) {
	var ids []PeerID
	err := tx.each(`SELECT id FROM peers WHERE account = ? ORDER BY id`, []any{account}, func(scan func(...any) error) error {
		var id PeerID
		if err := scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
		return nil
	})
	return ids, err
}

func peerRow(account AccountID, tag []byte) string {
	return strconv.FormatInt(int64(account), 10) + "/" + hex.EncodeToString(tag)
}
