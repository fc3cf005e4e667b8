package store

// stranger is the condition that nothing is known about the peer p except a server's
// statements: no message of it was ever opened, it is not and never was a contact, and the user
// has not compared its safety number.
const stranger = `NOT EXISTS (SELECT 1 FROM contacts c WHERE c.account = p.account AND c.peer = p.id
		AND (c.relation <> 0 OR c.request <> 0 OR c.trust = 2 OR c.change <> 0 OR c.nick_tag IS NOT NULL))
	AND NOT EXISTS (SELECT 1 FROM dedupe d WHERE d.account = p.account AND d.peer = p.id)
	AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.account = p.account AND m.peer = p.id)`

// Stranger reports whether nothing is known about a peer except a server's statements.
func (tx *Tx) Stranger(account AccountID, peer PeerID) (bool, error) {
	var n int
	err := tx.get(`SELECT count(*) FROM peers p WHERE p.account = ? AND p.id = ? AND `+stranger, []any{account, peer}, &n)
	return n > 0, err
}

// CountParkedOfStrangers counts the parked envelopes of all strangers.
func (tx *Tx) CountParkedOfStrangers(account AccountID) (int, error) {
	var n int
	err := tx.get(`SELECT count(*) FROM parked k JOIN peers p ON p.id = k.peer WHERE k.account = ? AND `+stranger, []any{account}, &n)
	return n, err
}

// ForgetStrangers deletes up to limit strangers without any stored or waiting data; self is
// the account itself. A stranger that was looked up stays: the user may have seen its
// pinned key.
func (tx *Tx) ForgetStrangers(account AccountID, self PeerID, limit int) error {
	var gone []PeerID
	err := tx.each(`SELECT p.id FROM peers p WHERE p.account = ? AND p.id <> ? AND `+stranger+`
		AND NOT EXISTS (SELECT 1 FROM contacts x WHERE x.account = p.account AND x.peer = p.id)
		AND NOT EXISTS (SELECT 1 FROM parked x WHERE x.account = p.account AND x.peer = p.id)
		AND NOT EXISTS (SELECT 1 FROM outbox x WHERE x.account = p.account AND x.peer = p.id)
		AND NOT EXISTS (SELECT 1 FROM sessions x WHERE x.account = p.account AND x.peer = p.id)
		AND NOT EXISTS (SELECT 1 FROM envelopes x WHERE x.account = p.account AND x.peer = p.id)
		AND NOT EXISTS (SELECT 1 FROM files x WHERE x.account = p.account AND x.peer = p.id)
		LIMIT ?`, []any{account, self, limit}, func(scan func(...any) error) error {
		var id PeerID
		err := scan(&id)
		gone = append(gone, id)
		return err
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	for _, id := range gone {
		for _, query := range []string{
			`DELETE FROM rebuilds WHERE account = ? AND peer = ?`, `DELETE FROM sent_n WHERE account = ? AND peer = ?`,
			`DELETE FROM seen_n WHERE account = ? AND peer = ?`, `DELETE FROM gaps WHERE account = ? AND peer = ?`,
			`DELETE FROM receipts WHERE account = ? AND peer = ?`, `DELETE FROM removed WHERE account = ? AND peer = ?`,
			`DELETE FROM peers WHERE account = ? AND id = ?`,
		} {
			if err := tx.exec(query, account, id); err != nil {
				return err
			}
		}
	}
	tx.OnCommit(tx.known.clear)
	return nil
}
