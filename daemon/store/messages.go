package store

import (
	"fmt"
	"slices"
)

// Message is one row of the history. Times are Unix milliseconds.
type Message struct {
	Account    AccountID
	ID         MessageID
	Peer       PeerID
	Direction  int
	Kind       int32  // of the content
	Device     []byte // sending device, 16 bytes
	N          uint64 // the sender's counter; 0 for own messages that are not sealed yet
	Arrival    int64  // order of arrival here; set by InsertMessage
	Seq        int64  // of its event
	SentMS     int64  // the sender's clock, for display
	ReceivedMS int64  // this machine's clock, for display
	KeptMS     int64  // profile time of storing; retention counts from it
	State      string // of an own message
	Reason     string // why it is held or has failed
	ChangedMS  int64  // time of the last change of State
	Request    bool   // a stranger's first message
	Unread     bool
	Body       []byte // encoded content, sealed in the table
	Damaged    error  // in lists: Body could not be opened and is empty
}

const messageColumns = `account, id, peer, direction, kind, device, n, arrival, seq, sent_ms, received_ms, kept_ms,
	state, reason, changed_ms, request, unread, body`

func bodyRow(account AccountID, id MessageID) string { return fmt.Sprintf("%d/%x", account, id[:]) }

// InsertMessage adds a message to the history and sets its Arrival.
func (tx *Tx) InsertMessage(m *Message) error {
	arrival, err := tx.next(countArrival)
	if err != nil {
		return err
	}
	m.Arrival = arrival
	sealed, err := tx.seal("messages", "body", bodyRow(m.Account, m.ID), m.Body)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO messages (`+messageColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.Account, m.ID[:], m.Peer, m.Direction, m.Kind, m.Device, m.N, m.Arrival, m.Seq, m.SentMS, m.ReceivedMS, m.KeptMS,
		m.State, m.Reason, m.ChangedMS, m.Request, m.Unread, sealed)
}

// Message returns a message of an account, or ErrNotFound.
func (tx *Tx) Message(account AccountID, id MessageID) (*Message, error) {
	list, err := tx.messages(`SELECT `+messageColumns+` FROM messages WHERE account = ? AND id = ?`, account, id[:])
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("message %x: %w", id[:], ErrNotFound)
	}
	return &list[0], list[0].Damaged
}

// MessageHead returns a message without its body, or ErrNotFound.
func (tx *Tx) MessageHead(account AccountID, id MessageID) (*Message, error) {
	m := &Message{Account: account, ID: id}
	err := tx.get(`SELECT peer, direction, kind, n, state, reason, changed_ms FROM messages WHERE account = ? AND id = ?`,
		[]any{account, id[:]}, &m.Peer, &m.Direction, &m.Kind, &m.N, &m.State, &m.Reason, &m.ChangedMS)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// SetMessageState sets the state of an own message.
func (tx *Tx) SetMessageState(account AccountID, id MessageID, state, reason string, ms int64) error {
	return tx.exec(`UPDATE messages SET state = ?, reason = ?, changed_ms = ? WHERE account = ? AND id = ?`,
		state, reason, ms, account, id[:])
}

// SetMessageN records the counter that an own message got when it was sealed, and the
// counting device.
func (tx *Tx) SetMessageN(account AccountID, id MessageID, device [16]byte, n uint64) error {
	return tx.exec(`UPDATE messages SET n = ?, device = ? WHERE account = ? AND id = ?`, n, device[:], account, id[:])
}

// SetMessageVerified records that an own message may only be sent to a verified peer.
func (tx *Tx) SetMessageVerified(account AccountID, id MessageID) error {
	return tx.exec(`UPDATE messages SET verified = 1 WHERE account = ? AND id = ?`, account, id[:])
}

// MessageVerified reports whether an own message may only be sent to a verified peer.
func (tx *Tx) MessageVerified(account AccountID, id MessageID) (bool, error) {
	var v bool
	err := tx.get(`SELECT verified FROM messages WHERE account = ? AND id = ?`, []any{account, id[:]}, &v)
	return v, err
}

// Heard reports whether a peer has written or has received something.
func (tx *Tx) Heard(account AccountID, peer PeerID) (bool, error) {
	var heard bool
	err := tx.get(`SELECT EXISTS (SELECT 1 FROM messages WHERE account = ? AND peer = ?
		AND (direction = 1 OR state IN ('delivered', 'read')))`, []any{account, peer}, &heard)
	return heard, err
}

// DeleteHistory deletes the messages with a peer that were stored before ms (profile time),
// except unread ones and those in the outbox.
func (tx *Tx) DeleteHistory(account AccountID, peer PeerID, ms int64) error {
	if err := tx.keepLastKnown(account, peer, ms); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM messages WHERE account = ?1 AND peer = ?2 AND kept_ms < ?3 AND unread = 0
		AND id NOT IN (SELECT id FROM outbox WHERE account = ?1)`, account, peer, ms)
}

// MarkRead marks one incoming message as read and reports whether it was unread.
func (tx *Tx) MarkRead(account AccountID, id MessageID) (bool, error) {
	n, err := tx.execN(`UPDATE messages SET unread = 0 WHERE account = ? AND id = ? AND unread = 1`, account, id[:])
	return n > 0, err
}

// Unread returns up to limit unread messages, oldest first, of the given peers or of all.
func (tx *Tx) Unread(account AccountID, peers []PeerID, limit int) ([]Message, error) {
	list, err := jsonList(peers)
	if err != nil {
		return nil, err
	}
	return tx.messages(`SELECT `+messageColumns+` FROM messages WHERE account = ? AND unread = 1
		AND (? = '[]' OR peer IN (SELECT value FROM json_each(?))) ORDER BY arrival LIMIT ?`,
		account, list, list, limit)
}

// reorderReach bounds the distance of two messages in the order of arrival that History
// reorders by n: the skip limit of a session (crypto/SPEC.md, "Limits"), since a message
// that is later than that cannot be opened.
const reorderReach = 1000

// History returns the last limit messages with a peer, oldest first. They are in the order
// of arrival, except that the messages of each sending device are sorted by n within the
// places that they occupy. since and before (Unix milliseconds, 0: none) bound the time of
// receipt.
func (tx *Tx) History(account AccountID, peer PeerID, limit int, since, before int64) ([]Message, error) {
	return tx.messages(`WITH base AS (
			SELECT id, direction, device, n, arrival FROM messages
			WHERE account = ?1 AND peer = ?2 AND received_ms >= ?4 AND (?5 = 0 OR received_ms < ?5)
			ORDER BY arrival DESC LIMIT ?3 + ?6),
		place AS (SELECT arrival, direction, device,
			row_number() OVER (PARTITION BY direction, device ORDER BY arrival) AS k FROM base),
		turn AS (SELECT id, direction, device,
			row_number() OVER (PARTITION BY direction, device
				ORDER BY CASE direction WHEN 1 THEN n ELSE 0 END, arrival) AS k FROM base),
		chosen AS (SELECT turn.id AS id, place.arrival AS at FROM place
			JOIN turn USING (direction, device, k) ORDER BY place.arrival DESC LIMIT ?3)
		SELECT m.account, m.id, m.peer, m.direction, m.kind, m.device, m.n, m.arrival, m.seq, m.sent_ms, m.received_ms, m.kept_ms,
			m.state, m.reason, m.changed_ms, m.request, m.unread, m.body
		FROM chosen JOIN messages m ON m.account = ?1 AND m.id = chosen.id ORDER BY chosen.at`,
		account, peer, limit, since, before, reorderReach)
}

// MessagesOfKind returns the newest messages of a kind, of a peer or (0) of all peers,
// oldest first.
func (tx *Tx) MessagesOfKind(account AccountID, kind int32, peer PeerID, limit int) ([]Message, error) {
	list, err := tx.messages(`SELECT `+messageColumns+` FROM messages
		WHERE account = ?1 AND kind = ?2 AND (?3 = 0 OR peer = ?3) ORDER BY arrival DESC LIMIT ?4`, account, kind, peer, limit)
	slices.Reverse(list)
	return list, err
}

// Summary has the counts for the status of an account.
type Summary struct {
	Outbox         int // not accepted yet
	Held           int
	Unread         int
	LastReceivedMS int64 // profile time
}

// Summary returns the account's counts.
func (tx *Tx) Summary(account AccountID) (Summary, error) {
	var s Summary
	err := tx.get(`SELECT
		(SELECT count(*) FROM outbox WHERE account = ?1 AND control = 0 AND phase IN (1, 2, 5)),
		(SELECT count(*) FROM outbox WHERE account = ?1 AND control = 0 AND phase = 4),
		(SELECT count(*) FROM messages WHERE account = ?1 AND unread = 1),
		(SELECT coalesce(max(kept_ms), 0) FROM messages WHERE account = ?1 AND direction = 1)`,
		[]any{account}, &s.Outbox, &s.Held, &s.Unread, &s.LastReceivedMS)
	return s, err
}

// messages runs a query for messageColumns and opens the bodies.
func (tx *Tx) messages(query string, args ...any) ([]Message, error) {
	var out []Message
	err := tx.each(query, args, func(scan func(...any) error) error {
		var m Message
		var id []byte
		if err := scan(&m.Account, &id, &m.Peer, &m.Direction, &m.Kind, &m.Device, &m.N, &m.Arrival, &m.Seq,
			&m.SentMS, &m.ReceivedMS, &m.KeptMS, &m.State, &m.Reason, &m.ChangedMS, &m.Request, &m.Unread, &m.Body); err != nil {
			return err
		}
		copy(m.ID[:], id)
		out = append(out, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out {
		m := &out[i]
		m.Body, m.Damaged = tx.open("messages", "body", bodyRow(m.Account, m.ID), m.Body)
		if err := exceptValueError(m.Damaged); err != nil {
			return nil, err
		}
	}
	return out, nil
}
