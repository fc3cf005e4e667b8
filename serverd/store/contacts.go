package store

import (
	"context"
	"database/sql"
	"errors"
)

// SetRelation sets owner's relation to peer; RelationNone removes the entry. Making a peer a contact
// removes the request that it left.
func (s *SQLite) SetRelation(ctx context.Context, owner, peer string, r Relation) error {
	return s.write(ctx, "set relation", func(t *tx) error {
		if r == RelationNone {
			_, err := t.exec(`DELETE FROM contacts WHERE owner = ? AND peer = ?`, owner, peer)
			return err
		}
		if _, err := t.exec(`INSERT INTO contacts (owner, peer, relation) VALUES (?, ?, ?) ON CONFLICT (owner, peer) DO UPDATE SET relation = excluded.relation`,
			owner, peer, string(r)); err != nil {
			return err
		}
		if r != RelationContact {
			return nil
		}
		if _, err := t.exec(`DELETE FROM requests WHERE sender = ? AND recipient = ?`, peer, owner); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM request_devices WHERE sender = ? AND device IN (SELECT id FROM devices WHERE account = ? AND revoked = 0)`, peer, owner)
		return err
	})
}

// Relations returns owner's contact and block list.
func (s *SQLite) Relations(ctx context.Context, owner string) (map[string]Relation, error) {
	out := make(map[string]Relation)
	err := s.list(ctx, `SELECT peer, relation FROM contacts WHERE owner = ?`, []any{owner}, func(row scan) error {
		var peer, relation string
		err := row(&peer, &relation)
		out[peer] = Relation(relation)
		return err
	})
	return out, mapError("relations", err)
}

// Relation returns owner's relation to peer, or RelationNone without an entry.
func (s *SQLite) Relation(ctx context.Context, owner, peer string) (Relation, error) {
	var r string
	err := s.get(ctx, `SELECT relation FROM contacts WHERE owner = ? AND peer = ?`, []any{owner, peer}, &r)
	if errors.Is(err, sql.ErrNoRows) {
		return RelationNone, nil
	}
	return Relation(r), mapError("relation", err)
}

// AddRequest records a stranger's request. A flood of refused requests costs only reads.
func (s *SQLite) AddRequest(ctx context.Context, from, to string, messageID [16]byte) (bool, error) {
	const query = `SELECT message_id FROM requests WHERE sender = ? AND recipient = ?`
	args := []any{from, to}
	var have [16]byte
	err := s.get(ctx, query, args, idColumn{&have})
	if err == nil {
		return have == messageID, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return false, mapError("add request", err)
	}
	err = s.write(ctx, "add request", func(t *tx) error {
		if _, err := t.exec(`INSERT INTO requests (sender, recipient, message_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			from, to, messageID[:]); err != nil {
			return err
		}
		return t.get(query, args, idColumn{&have})
	})
	return err == nil && have == messageID, err
}
