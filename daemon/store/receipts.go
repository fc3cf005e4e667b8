package store

// Receipt is a receipt due to a peer.
type Receipt struct {
	Peer  PeerID
	ID    MessageID
	State int32 // 1 delivered, 2 read, as on the wire
}

// OweReceipt records that a receipt is due.
func (tx *Tx) OweReceipt(account AccountID, r Receipt, ms int64) error {
	return tx.exec(`INSERT INTO receipts (account, peer, id, state, at_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		account, r.Peer, r.ID[:], r.State, ms)
}

// Owed returns up to limit receipts that are due to a peer with a state, oldest first.
func (tx *Tx) Owed(account AccountID, peer PeerID, state int32, limit int) ([]MessageID, error) {
	var out []MessageID
	err := tx.each(`SELECT id FROM receipts WHERE account = ? AND peer = ? AND state = ? ORDER BY at_ms, id LIMIT ?`,
		[]any{account, peer, state, limit}, func(scan func(...any) error) error {
			var b []byte
			if err := scan(&b); err != nil {
				return err
			}
			var id MessageID
			copy(id[:], b)
			out = append(out, id)
			return nil
		})
	return out, err
}

// OwedPeers returns the peers to whom receipts are due.
func (tx *Tx) OwedPeers(account AccountID) ([]PeerID, error) {
	var out []PeerID
	err := tx.each(`SELECT DISTINCT peer FROM receipts WHERE account = ? ORDER BY peer`, []any{account}, func(scan func(...any) error) error {
		var p PeerID
		if err := scan(&p); err != nil {
			return err
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// Receipted deletes a receipt that was queued for sending.
func (tx *Tx) Receipted(account AccountID, r Receipt) error {
	return tx.exec(`DELETE FROM receipts WHERE account = ? AND peer = ? AND id = ? AND state = ?`, account, r.Peer, r.ID[:], r.State)
}

// DeleteReceipts deletes receipts that have been due since before ms.
func (tx *Tx) DeleteReceipts(account AccountID, ms int64) (int64, error) {
	return tx.execN(`DELETE FROM receipts WHERE account = ? AND at_ms < ?`, account, ms)
}
