package store

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Directions of a message and of its event; 0 is neither.
const (
	In  = 1
	Out = 2
)

// Event is one row of the journal. Body is opaque here.
type Event struct {
	Seq       int64
	Account   AccountID
	ID        string
	Type      string
	Peer      PeerID
	Direction int
	CreatedMS int64 // Unix milliseconds
	Body      []byte
	Damaged   error // in lists: Body could not be opened and is empty
}

// EventFilter selects events. An empty list selects all.
type EventFilter struct {
	After    int64 // seq greater than this
	Accounts []AccountID
	Peers    []PeerID // of any account
	Types    []string
	Outgoing bool // include own outgoing events
	Limit    int
}

// NextSeq draws the seq of the next event. A seq is never reused.
func (tx *Tx) NextSeq() (int64, error) { return tx.next(countEvents) }

// NewestSeq returns the last drawn seq, or 0.
func (tx *Tx) NewestSeq() (int64, error) { return tx.counter(countEvents) }

// InsertEvent stores an event with the seq that NextSeq returned in this transaction.
func (tx *Tx) InsertEvent(e Event) error {
	sealed, err := tx.seal("events", "body", strconv.FormatInt(e.Seq, 10), e.Body)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO events (seq, account, id, type, peer, direction, created_ms, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, e.Seq, e.Account, e.ID, e.Type, e.Peer, e.Direction, e.CreatedMS, sealed)
}

// Events returns the events selected by f, in the order of seq.
func (tx *Tx) Events(f EventFilter) ([]Event, error) {
	accounts, err := jsonList(f.Accounts)
	if err != nil {
		return nil, err
	}
	peers, err := jsonList(f.Peers)
	if err != nil {
		return nil, err
	}
	types, err := jsonList(f.Types)
	if err != nil {
		return nil, err
	}
	var out []Event
	err = tx.each(`SELECT seq, account, id, type, peer, direction, created_ms, body FROM events
		WHERE seq > ?
		AND (? = '[]' OR account IN (SELECT value FROM json_each(?)))
		AND (? = '[]' OR peer IN (SELECT value FROM json_each(?)))
		AND (? = '[]' OR type IN (SELECT value FROM json_each(?)))
		AND (? OR direction <> 2)
		ORDER BY seq LIMIT ?`,
		[]any{f.After, accounts, accounts, peers, peers, types, types, f.Outgoing, f.Limit},
		func(scan func(...any) error) error {
			var e Event
			if err := scan(&e.Seq, &e.Account, &e.ID, &e.Type, &e.Peer, &e.Direction, &e.CreatedMS, &e.Body); err != nil {
				return err
			}
			out = append(out, e)
			return nil
		})
	if err != nil {
		return nil, err
	}
	for i := range out {
		e := &out[i]
		e.Body, e.Damaged = tx.open("events", "body", strconv.FormatInt(e.Seq, 10), e.Body)
		if err := exceptValueError(e.Damaged); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// SeqOfEvent returns the seq for an event id. If several accounts have it (sender and
// recipient are in this profile), it returns the incoming event.
func (tx *Tx) SeqOfEvent(id string) (int64, error) {
	var seq int64
	err := tx.get(`SELECT seq FROM events WHERE id = ? ORDER BY direction = 2, seq LIMIT 1`, []any{id}, &seq)
	return seq, err
}

// SeqBefore returns the seq after which the events from time ms (Unix milliseconds) on
// follow.
func (tx *Tx) SeqBefore(ms int64) (int64, error) {
	var seq int64
	err := tx.get(`SELECT seq - 1 FROM events WHERE created_ms >= ? ORDER BY seq LIMIT 1`, []any{ms}, &seq)
	if isNotFound(err) {
		return tx.NewestSeq()
	}
	return seq, err
}

// OldestSeq returns the seq of the oldest kept event, or 0.
func (tx *Tx) OldestSeq() (int64, error) {
	var seq int64
	err := tx.get(`SELECT coalesce(min(seq), 0) FROM events`, nil, &seq)
	return seq, err
}

// EventID returns the id of an event, or ErrNotFound.
func (tx *Tx) EventID(seq int64) (string, error) {
	var id string
	err := tx.get(`SELECT id FROM events WHERE seq = ?`, []any{seq}, &id)
	return id, err
}

// jsonList encodes a list for json_each, so that statements are constant.
func jsonList[T any](list []T) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("encode list: %w", err)
	}
	return string(b), nil
}
