package store

import "fmt"

// Phases of an outbox row. The numbers are stored.
const (
	PhaseQueued   = 1 // not sealed yet
	PhaseSealed   = 2 // sealed; not all envelopes are answered
	PhaseAccepted = 3 // all envelopes are answered, at least one was accepted; kept until delivered, for devices that are added
	PhaseHeld     = 4 // waits for a decision, see Reason
)

// Outgoing is one row of the outbox: a content for one recipient account. Times are Unix
// milliseconds of profile time, except SentMS.
type Outgoing struct {
	Account   AccountID
	ID        MessageID
	Ord       int64 // order of queueing; set by InsertOutgoing
	Peer      PeerID
	Device    []byte // 16 bytes: only for this device; empty: for all devices of the peer
	Kind      int32
	Control   bool // control content: no n, no states, no receipts
	Phase     int
	Reason    string
	N         uint64 // 0 until it is sealed for the first time
	Verified  bool   // the sender requires a verified recipient
	CreatedMS int64
	ExpiresMS int64
	SentMS    int64 // wall clock; part of the content
	Body      []byte
	Damaged   error // in lists: Body could not be opened and is empty
}

const outgoingColumns = `account, id, ord, peer, device, kind, control, phase, reason, n, verified, created_ms, expires_ms, sent_ms, body`

// InsertOutgoing adds a row at the end of the outbox.
func (tx *Tx) InsertOutgoing(o *Outgoing) error {
	ord, err := tx.next(countOrder)
	if err != nil {
		return err
	}
	o.Ord = ord
	if o.Device == nil {
		o.Device = []byte{}
	}
	sealed, err := tx.seal("outbox", "body", bodyRow(o.Account, o.ID), o.Body)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO outbox (`+outgoingColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.Account, o.ID[:], o.Ord, o.Peer, o.Device, o.Kind, o.Control, o.Phase, o.Reason, o.N, o.Verified,
		o.CreatedMS, o.ExpiresMS, o.SentMS, sealed)
}

// Outgoing returns a row, or ErrNotFound.
func (tx *Tx) Outgoing(account AccountID, id MessageID) (*Outgoing, error) {
	list, err := tx.outgoing(`SELECT `+outgoingColumns+` FROM outbox WHERE account = ? AND id = ?`, account, id[:])
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("outbox %x: %w", id[:], ErrNotFound)
	}
	return &list[0], list[0].Damaged
}

// OutgoingHead returns a row without its body, or ErrNotFound.
func (tx *Tx) OutgoingHead(account AccountID, id MessageID) (*Outgoing, error) {
	o := &Outgoing{Account: account, ID: id}
	err := tx.get(`SELECT peer, device, kind, control, phase, reason, n FROM outbox WHERE account = ? AND id = ?`,
		[]any{account, id[:]}, &o.Peer, &o.Device, &o.Kind, &o.Control, &o.Phase, &o.Reason, &o.N)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// SetPhase sets the phase of a row.
func (tx *Tx) SetPhase(account AccountID, id MessageID, phase int, reason string) error {
	return tx.exec(`UPDATE outbox SET phase = ?, reason = ? WHERE account = ? AND id = ?`, phase, reason, account, id[:])
}

// SetSealed sets the phase of a row to PhaseSealed, and its message's counter.
func (tx *Tx) SetSealed(account AccountID, id MessageID, n uint64) error {
	return tx.exec(`UPDATE outbox SET phase = 2, reason = '', n = ? WHERE account = ? AND id = ?`, n, account, id[:])
}

// DeleteOutgoing removes a row and its envelopes.
func (tx *Tx) DeleteOutgoing(account AccountID, id MessageID) error {
	if err := tx.exec(`DELETE FROM outbox WHERE account = ? AND id = ?`, account, id[:]); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ?`, account, id[:])
}

// DropOutgoing deletes a row but keeps its unanswered envelopes, for devices that have not
// received it.
func (tx *Tx) DropOutgoing(account AccountID, id MessageID) error {
	if err := tx.exec(`DELETE FROM outbox WHERE account = ? AND id = ?`, account, id[:]); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ? AND status <> ?`, account, id[:], EnvelopePending)
}

// AckOutgoing ends a message that one of the recipient's devices has acknowledged.
// Envelopes for other devices stay, since they are in transit or may be asked for.
func (tx *Tx) AckOutgoing(account AccountID, id MessageID, device [16]byte) error {
	if err := tx.exec(`DELETE FROM outbox WHERE account = ? AND id = ?`, account, id[:]); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ? AND (status = 3 OR device = ?)`, account, id[:], device[:])
}

// ForgetRejected deletes the rejected envelopes of a finished message. Those that a device
// has or may still receive stay.
func (tx *Tx) ForgetRejected(account AccountID, id MessageID) error {
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ? AND status = 3`, account, id[:])
}

// queuedQuery steps from peer to peer by the index and takes the head of each queue, so its
// cost does not grow with the length of the queues.
const queuedQuery = `WITH RECURSIVE waiting (peer) AS (
		SELECT min(peer) FROM outbox WHERE account = ?1 AND phase = 1
		UNION ALL SELECT (SELECT min(peer) FROM outbox WHERE account = ?1 AND phase = 1 AND peer > waiting.peer)
			FROM waiting WHERE waiting.peer IS NOT NULL),
	fair AS (SELECT head.id AS id, head.ord AS ord FROM waiting CROSS JOIN outbox head
		WHERE waiting.peer NOT IN (SELECT value FROM json_each(?2))
			AND head.account = ?1 AND head.phase = 1 AND head.peer = waiting.peer
			AND head.ord <= coalesce((SELECT last.ord FROM outbox last
				WHERE last.account = ?1 AND last.phase = 1 AND last.peer = waiting.peer
				ORDER BY last.ord LIMIT 1 OFFSET ?3 - 1), 9223372036854775807)
		ORDER BY head.ord LIMIT ?4)
	SELECT ` + outgoingColumns + ` FROM outbox WHERE account = ?1 AND id IN (SELECT id FROM fair) ORDER BY ord`

// Queued returns up to limit queued rows in order, at most perPeer for each peer, so that a
// long queue for one peer does not delay the others. It skips the peers in except.
func (tx *Tx) Queued(account AccountID, except []PeerID, perPeer, limit int) ([]Outgoing, error) {
	skip, err := jsonList(except)
	if err != nil {
		return nil, err
	}
	return tx.outgoing(queuedQuery, account, skip, perPeer, limit)
}

// OutgoingOf returns the rows to a peer in one of the phases, in order.
func (tx *Tx) OutgoingOf(account AccountID, peer PeerID, phases ...int) ([]Outgoing, error) {
	list, err := jsonList(phases)
	if err != nil {
		return nil, err
	}
	return tx.outgoing(`SELECT `+outgoingColumns+` FROM outbox WHERE account = ? AND peer = ?
		AND phase IN (SELECT value FROM json_each(?)) ORDER BY ord`, account, peer, list)
}

// OutgoingList returns all rows that are not accepted yet, except control content, in
// order.
func (tx *Tx) OutgoingList(account AccountID) ([]Outgoing, error) {
	return tx.outgoing(`SELECT `+outgoingColumns+` FROM outbox WHERE account = ? AND control = 0 AND phase <> 3 ORDER BY ord`, account)
}

// OutgoingExpired returns up to limit expired rows.
func (tx *Tx) OutgoingExpired(account AccountID, ms int64, limit int) ([]Outgoing, error) {
	return tx.outgoing(`SELECT `+outgoingColumns+` FROM outbox WHERE account = ? AND expires_ms <= ? ORDER BY ord LIMIT ?`, account, ms, limit)
}

// NextExpiry returns the earliest expiry in the outbox, or 0.
func (tx *Tx) NextExpiry(account AccountID) (int64, error) {
	var ms int64
	err := tx.get(`SELECT coalesce(min(expires_ms), 0) FROM outbox WHERE account = ?`, []any{account}, &ms)
	return ms, err
}

// HeldPeers returns the peers with held messages.
func (tx *Tx) HeldPeers(account AccountID) ([]PeerID, error) {
	var out []PeerID
	err := tx.each(`SELECT DISTINCT peer FROM outbox INDEXED BY outbox_held WHERE account = ? AND phase = 4`, []any{account}, func(scan func(...any) error) error {
		var p PeerID
		if err := scan(&p); err != nil {
			return err
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// HasHeld reports whether a message to a peer is held for a reason.
func (tx *Tx) HasHeld(account AccountID, peer PeerID, reason string) (bool, error) {
	var has bool
	err := tx.get(`SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_held
		WHERE account = ? AND peer = ? AND phase = 4 AND reason = ?)`,
		[]any{account, peer, reason}, &has)
	return has, err
}

// HeldCount returns the number of held messages to a peer.
func (tx *Tx) HeldCount(account AccountID, peer PeerID) (int, error) {
	var n int
	err := tx.get(`SELECT count(*) FROM outbox INDEXED BY outbox_held WHERE account = ? AND peer = ? AND phase = 4`, []any{account, peer}, &n)
	return n, err
}

func (tx *Tx) outgoing(query string, args ...any) ([]Outgoing, error) {
	var out []Outgoing
	err := tx.each(query, args, func(scan func(...any) error) error {
		var o Outgoing
		var id []byte
		if err := scan(&o.Account, &id, &o.Ord, &o.Peer, &o.Device, &o.Kind, &o.Control, &o.Phase, &o.Reason, &o.N,
			&o.Verified, &o.CreatedMS, &o.ExpiresMS, &o.SentMS, &o.Body); err != nil {
			return err
		}
		copy(o.ID[:], id)
		out = append(out, o)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		o := &out[i]
		o.Body, o.Damaged = tx.open("outbox", "body", bodyRow(o.Account, o.ID), o.Body)
		if err := exceptValueError(o.Damaged); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Unseal deletes all pending envelopes of an account and queues their messages again: an
// outdated copy of a device must never send its envelopes.
func (tx *Tx) Unseal(account AccountID) error {
	if err := tx.exec(`UPDATE outbox SET phase = 1, reason = '' WHERE account = ?1 AND phase IN (2, 3) AND id IN
		(SELECT id FROM envelopes WHERE account = ?1 AND status = 1)`, account); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND status = 1`, account)
}

// Restart is Unseal for a device that replaces another one. It queues all undelivered
// messages again, including those that the server has, since recipients may reject what the
// old device sealed. Each message gets a new counter of the new device when it is sealed;
// recipients recognize messages that they have by id. Accepted control content is not
// queued again, but can be asked for.
func (tx *Tx) Restart(account AccountID) error {
	for _, statement := range []string{
		`UPDATE messages SET n = 0 WHERE account = ?1 AND id IN
			(SELECT id FROM outbox WHERE account = ?1 AND control = 0 AND phase IN (1, 2, 3, 4))`,
		`UPDATE outbox SET n = 0 WHERE account = ?1 AND control = 0 AND phase IN (1, 2, 3, 4)`,
		`UPDATE outbox SET phase = 1, reason = '' WHERE account = ?1 AND control = 0 AND phase IN (2, 3)`,
		`UPDATE outbox SET phase = 1, reason = '' WHERE account = ?1 AND control = 1 AND phase IN (2, 3) AND id IN
			(SELECT id FROM envelopes WHERE account = ?1 AND status = 1)`,
		`DELETE FROM envelopes WHERE account = ?1 AND id NOT IN (SELECT id FROM outbox WHERE account = ?1 AND phase = 3)`,
	} {
		if err := tx.exec(statement, account); err != nil {
			return err
		}
	}
	return nil
}
