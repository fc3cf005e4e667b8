package store

import "fmt"

// Phases of an outbox row. Numbers stand on disk.
const (
	PhaseQueued   = 1 // not sealed yet
	PhaseSealed   = 2 // sealed; some envelope is not answered
	PhaseAccepted = 3 // every envelope is answered, one accepted; kept until delivered, for devices that are added
	PhaseHeld     = 4 // waits for a decision, see Reason
)

// Outgoing is one row of the outbox: a content for one recipient account.
// Times are Unix milliseconds of profile time, but for SentMS.
type Outgoing struct {
	Account   AccountID
	ID        MessageID
	Ord       int64 // order of queueing; set by InsertOutgoing
	Peer      PeerID
	Device    []byte // 16 bytes: only for this device; empty: for every device of the peer
	Kind      int32
	Control   bool // no n, no states, no receipts
	Phase     int
	Reason    string
	N         uint64 // 0 until it is first sealed
	Verified  bool   // the sender demanded a verified recipient
	CreatedMS int64
	ExpiresMS int64
	SentMS    int64 // wall clock, goes into the content
	Body      []byte
	Damaged   error // in lists: Body could not be opened, and is empty
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

// SetPhase moves a row to a phase.
func (tx *Tx) SetPhase(account AccountID, id MessageID, phase int, reason string) error {
	return tx.exec(`UPDATE outbox SET phase = ?, reason = ? WHERE account = ? AND id = ?`, phase, reason, account, id[:])
}

// SetSealed moves a row to PhaseSealed with the counter that its message has.
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

// DropOutgoing removes a row but keeps those of its envelopes that are not
// answered yet, for devices that have not got it.
func (tx *Tx) DropOutgoing(account AccountID, id MessageID) error {
	if err := tx.exec(`DELETE FROM outbox WHERE account = ? AND id = ?`, account, id[:]); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ? AND status <> ?`, account, id[:], EnvelopePending)
}

// AckOutgoing ends a message that a device of its recipient has acknowledged.
// What further devices have not acknowledged stays: on its way, or to be asked for.
func (tx *Tx) AckOutgoing(account AccountID, id MessageID, device [16]byte) error {
	if err := tx.exec(`DELETE FROM outbox WHERE account = ? AND id = ?`, account, id[:]); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ? AND (status = 3 OR device = ?)`, account, id[:], device[:])
}

// ForgetRejected removes what is left of a message that is done, but for the
// envelopes that a device has or may still get.
func (tx *Tx) ForgetRejected(account AccountID, id MessageID) error {
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND id = ? AND status = 3`, account, id[:])
}

// queuedQuery steps from peer to peer by the index and takes the head of each
// one's queue, so that what it reads does not grow with the queues.
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

// Queued returns up to limit queued rows in order, at most perPeer of each
// peer, so that a long queue to one does not delay the others. Peers in except
// are passed over.
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

// OutgoingList returns all rows that are not accepted yet and are no control content, in order.
func (tx *Tx) OutgoingList(account AccountID) ([]Outgoing, error) {
	return tx.outgoing(`SELECT `+outgoingColumns+` FROM outbox WHERE account = ? AND control = 0 AND phase <> 3 ORDER BY ord`, account)
}

// OutgoingExpired returns up to limit rows whose time is over.
func (tx *Tx) OutgoingExpired(account AccountID, ms int64, limit int) ([]Outgoing, error) {
	return tx.outgoing(`SELECT `+outgoingColumns+` FROM outbox WHERE account = ? AND expires_ms <= ? ORDER BY ord LIMIT ?`, account, ms, limit)
}

// NextExpiry returns the earliest expiry in the outbox, 0 if it is empty.
func (tx *Tx) NextExpiry(account AccountID) (int64, error) {
	var ms int64
	err := tx.get(`SELECT coalesce(min(expires_ms), 0) FROM outbox WHERE account = ?`, []any{account}, &ms)
	return ms, err
}

// HeldPeers returns the peers that have held messages.
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

// HeldCount returns how many messages to a peer are held.
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
		if err := spoiled(o.Damaged); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Unseal drops all pending envelopes of an account and queues their messages
// again: a stale copy of a device must never send what it sealed.
func (tx *Tx) Unseal(account AccountID) error {
	if err := tx.exec(`UPDATE outbox SET phase = 1, reason = '' WHERE account = ?1 AND phase IN (2, 3) AND id IN
		(SELECT id FROM envelopes WHERE account = ?1 AND status = 1)`, account); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM envelopes WHERE account = ? AND status = 1`, account)
}

// Restart is Unseal for a device that takes the place of another: it queues
// every message again that is not delivered, also what the server has, since
// recipients may refuse what the old device sealed. Each gets a counter of the
// new device when it is sealed; recipients know those that they have by their id.
// Accepted control content stays as it is, and can be asked for.
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
