package store

import "encoding/hex"

// Reasons why an incoming ciphertext is kept. The numbers are stored.
const (
	ParkedUndecryptable = 1 // no session opens it; the sender is asked to send it again
	ParkedChanged       = 2 // the peer's key has changed; waits for the user's decision
	ParkedCrashed       = 3 // it crashed a decoder; kept for diagnosis
)

// Parked is an incoming envelope that could not be opened yet. Times are Unix milliseconds
// of profile time.
type Parked struct {
	Ord        int64
	Account    AccountID
	Peer       PeerID
	Device     [16]byte
	ID         MessageID
	Class      int32
	Reason     int
	AtMS       int64
	AskedMS    int64 // when the sender was last asked; 0: never
	Asks       int
	AcceptedMS int64
	Ciphertext []byte
}

// Seen reports whether a message of a sender account was committed here before.
func (tx *Tx) Seen(account AccountID, peer PeerID, id MessageID) (bool, error) {
	var one int
	err := tx.get(`SELECT 1 FROM dedupe WHERE account = ? AND peer = ? AND id = ?`, []any{account, peer, id[:]}, &one)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// MarkSeen records that a message was committed here. ms is profile time.
func (tx *Tx) MarkSeen(account AccountID, peer PeerID, id MessageID, ms int64) error {
	return tx.exec(`INSERT INTO dedupe (account, peer, id, at_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`, account, peer, id[:], ms)
}

// DeleteSeen forgets ids committed before ms.
func (tx *Tx) DeleteSeen(account AccountID, ms int64) (int64, error) {
	return tx.execN(`DELETE FROM dedupe WHERE account = ? AND at_ms < ?`, account, ms)
}

// Park stores a ciphertext and reports whether it was new. A second one of the same message
// and device is ignored.
func (tx *Tx) Park(p Parked) (bool, error) {
	if p.Ciphertext == nil {
		p.Ciphertext = []byte{} // nil would become NULL
	}
	n, err := tx.execN(`INSERT INTO parked (account, peer, device, id, class, reason, at_ms, asked_ms, asks, accepted_ms, ciphertext)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		p.Account, p.Peer, p.Device[:], p.ID[:], p.Class, p.Reason, p.AtMS, p.AskedMS, p.Asks, p.AcceptedMS, p.Ciphertext)
	return n > 0, err
}

// ParkedAsked records that the sender was asked for a message.
func (tx *Tx) ParkedAsked(p Parked, ms int64) error {
	return tx.exec(`UPDATE parked SET asked_ms = ?, asks = asks + 1 WHERE ord = ?`, ms, p.Ord)
}

// AskAnew makes parked envelopes of a peer due immediately if they come from an unlisted
// device: another device will be asked.
func (tx *Tx) AskAnew(account AccountID, peer PeerID, listed [][16]byte) error {
	texts := make([]string, len(listed))
	for i, d := range listed {
		texts[i] = hex.EncodeToString(d[:])
	}
	list, err := jsonList(texts)
	if err != nil {
		return err
	}
	return tx.exec(`UPDATE parked SET asked_ms = 0, asks = 0 WHERE account = ? AND peer = ? AND reason = ?
		AND lower(hex(device)) NOT IN (SELECT value FROM json_each(?))`, account, peer, ParkedUndecryptable, list)
}

// Unpark deletes the parked envelopes of a message, from all devices of the peer.
func (tx *Tx) Unpark(account AccountID, peer PeerID, id MessageID) error {
	return tx.exec(`DELETE FROM parked WHERE account = ? AND peer = ? AND id = ?`, account, peer, id[:])
}

// DeleteParked deletes one parked envelope.
func (tx *Tx) DeleteParked(ord int64) error { return tx.exec(`DELETE FROM parked WHERE ord = ?`, ord) }

// CountParked counts a peer's parked envelopes with a reason.
func (tx *Tx) CountParked(account AccountID, peer PeerID, reason int) (int, error) {
	var n int
	err := tx.get(`SELECT count(*) FROM parked WHERE account = ? AND peer = ? AND reason = ?`, []any{account, peer, reason}, &n)
	return n, err
}

// CountAllParked counts the parked envelopes of all peers.
func (tx *Tx) CountAllParked(account AccountID) (int, error) {
	var n int
	err := tx.get(`SELECT count(*) FROM parked WHERE account = ?`, []any{account}, &n)
	return n, err
}

// ParkedOf returns up to limit parked envelopes of a peer (0: of all peers) with a reason,
// in the order of arrival.
func (tx *Tx) ParkedOf(account AccountID, peer PeerID, reason, limit int) ([]Parked, error) {
	var out []Parked
	err := tx.each(`SELECT ord, account, peer, device, id, class, reason, at_ms, asked_ms, asks, accepted_ms, ciphertext FROM parked
		WHERE account = ?1 AND reason = ?3 AND (?2 = 0 OR peer = ?2) ORDER BY ord LIMIT ?4`,
		[]any{account, peer, reason, limit}, func(scan func(...any) error) error {
			var p Parked
			var id, device []byte
			if err := scan(&p.Ord, &p.Account, &p.Peer, &device, &id, &p.Class, &p.Reason, &p.AtMS, &p.AskedMS, &p.Asks,
				&p.AcceptedMS, &p.Ciphertext); err != nil {
				return err
			}
			copy(p.ID[:], id)
			copy(p.Device[:], device)
			out = append(out, p)
			return nil
		})
	return out, err
}

// ParkedPeers returns the peers with parked envelopes for a reason, in the order of their
// oldest one.
func (tx *Tx) ParkedPeers(account AccountID, reason int) ([]PeerID, error) {
	var out []PeerID
	err := tx.each(`SELECT peer FROM parked WHERE account = ? AND reason = ? GROUP BY peer ORDER BY min(ord)`,
		[]any{account, reason}, func(scan func(...any) error) error {
			var p PeerID
			if err := scan(&p); err != nil {
				return err
			}
			out = append(out, p)
			return nil
		})
	return out, err
}

// ParkedToAsk returns envelopes that could not be opened, without their ciphertext: up to
// perPeer of each peer, starting with those asked for longest ago or never. The limit keeps
// a peer that floods garbage from delaying others.
func (tx *Tx) ParkedToAsk(account AccountID, perPeer int) ([]Parked, error) {
	var out []Parked
	err := tx.each(`SELECT ord, peer, device, id, class, at_ms, asked_ms, asks, accepted_ms FROM
		(SELECT *, row_number() OVER (PARTITION BY peer ORDER BY asked_ms, ord) AS place FROM parked WHERE account = ? AND reason = ?)
		WHERE place <= ? ORDER BY ord`,
		[]any{account, ParkedUndecryptable, perPeer}, func(scan func(...any) error) error {
			p := Parked{Account: account, Reason: ParkedUndecryptable}
			var id, device []byte
			if err := scan(&p.Ord, &p.Peer, &device, &id, &p.Class, &p.AtMS, &p.AskedMS, &p.Asks, &p.AcceptedMS); err != nil {
				return err
			}
			copy(p.ID[:], id)
			copy(p.Device[:], device)
			out = append(out, p)
			return nil
		})
	return out, err
}

// ExpireParked deletes the envelopes parked before ms and returns the number for each peer.
func (tx *Tx) ExpireParked(account AccountID, ms int64) (map[PeerID]int, error) {
	out := make(map[PeerID]int)
	err := tx.each(`DELETE FROM parked WHERE account = ? AND at_ms < ? RETURNING peer`, []any{account, ms}, func(scan func(...any) error) error {
		var p PeerID
		if err := scan(&p); err != nil {
			return err
		}
		out[p]++
		return nil
	})
	return out, err
}

// Rebuilt returns when the session with a device was last rebuilt; 0: never.
func (tx *Tx) Rebuilt(account AccountID, peer PeerID, device [16]byte) (int64, error) {
	var ms int64
	err := tx.get(`SELECT at_ms FROM rebuilds WHERE account = ? AND peer = ? AND device = ?`, []any{account, peer, device[:]}, &ms)
	if isNotFound(err) {
		return 0, nil
	}
	return ms, err
}

// SetRebuilt records that the session with a device was rebuilt at ms.
func (tx *Tx) SetRebuilt(account AccountID, peer PeerID, device [16]byte, ms int64) error {
	return tx.exec(`INSERT INTO rebuilds (account, peer, device, at_ms) VALUES (?, ?, ?, ?)
		ON CONFLICT (account, peer, device) DO UPDATE SET at_ms = excluded.at_ms`, account, peer, device[:], ms)
}
