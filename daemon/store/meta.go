package store

import (
	"encoding/binary"
	"fmt"
)

// Meta returns a small value of an account (0: of the profile), or ErrNotFound. Values in
// meta are not secret.
func (tx *Tx) Meta(account AccountID, key string) ([]byte, error) {
	var v []byte
	err := tx.get(`SELECT value FROM meta WHERE account = ? AND key = ?`, []any{account, key}, &v)
	return v, err
}

// SetMeta stores a small value that is not secret.
func (tx *Tx) SetMeta(account AccountID, key string, value []byte) error {
	return tx.exec(`INSERT INTO meta (account, key, value) VALUES (?, ?, ?)
		ON CONFLICT (account, key) DO UPDATE SET value = excluded.value`, account, key, value)
}

// MetaInt returns a number stored by SetMetaInt, or 0.
func (tx *Tx) MetaInt(account AccountID, key string) (int64, error) {
	b, err := tx.Meta(account, key)
	if isNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("meta %s: %w", key, ErrCorrupt)
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// SetMetaInt stores a number.
func (tx *Tx) SetMetaInt(account AccountID, key string, v int64) error {
	return tx.SetMeta(account, key, binary.BigEndian.AppendUint64(nil, uint64(v)))
}

// Count increments a counter of an account, for diagnosis.
func (tx *Tx) Count(account AccountID, what string) error {
	_, err := tx.next(countName(account, what))
	return err
}

// Counted returns a counter.
func (tx *Tx) Counted(account AccountID, what string) (int64, error) {
	return tx.counter(countName(account, what))
}

func countName(account AccountID, what string) string {
	return fmt.Sprintf("count/%d/%s", account, what)
}

// PerDay counts an occurrence of a kind about a peer (0: the account itself) and returns
// the number of occurrences on this day of profile time. It bounds events that others can
// cause as often as they like.
func (tx *Tx) PerDay(account AccountID, peer PeerID, kind string) (int, error) {
	const day, most = 24 * 60 * 60, 1 << 20
	name := fmt.Sprintf("day/%s/%d", kind, peer)
	v, err := tx.MetaInt(account, name)
	if err != nil {
		return 0, err
	}
	today := tx.ProfileTime().Unix() / day
	n := int64(0)
	if v/most == today {
		n = v % most
	}
	if n = min(n+1, most-1); n > 1 && n == v%most {
		return int(n), nil
	}
	return int(n), tx.SetMetaInt(account, name, today*most+n)
}

// Idempotent is the stored result for an idempotency key.
type Idempotent struct {
	Digest []byte // keyed hash of the content
	IDs    []byte // message ids of 16 bytes each
}

// idempotencyTag is the domain of the index of idempotency keys.
const idempotencyTag = "idempotency key"

// Idempotent returns the stored result for a key, or ErrNotFound.
func (tx *Tx) Idempotent(account AccountID, key string) (Idempotent, error) {
	var i Idempotent
	tag, err := tx.tag(idempotencyTag, []byte(key))
	if err != nil {
		return i, err
	}
	err = tx.get(`SELECT digest, ids FROM idempotency WHERE account = ? AND tag = ?`, []any{account, tag}, &i.Digest, &i.IDs)
	return i, err
}

// SetIdempotent stores the result for a key.
func (tx *Tx) SetIdempotent(account AccountID, key string, i Idempotent, ms int64) error {
	tag, err := tx.tag(idempotencyTag, []byte(key))
	if err != nil {
		return err
	}
	for ids := i.IDs; len(ids) >= len(MessageID{}); ids = ids[len(MessageID{}):] {
		if err := tx.setLastKnown(account, MessageID(ids[:len(MessageID{})]), lastKnown{AtMS: ms}); err != nil {
			return err
		}
	}
	return tx.exec(`INSERT INTO idempotency (account, tag, digest, ids, at_ms) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (account, tag) DO UPDATE SET digest = excluded.digest, ids = excluded.ids, at_ms = excluded.at_ms`,
		account, tag, i.Digest, i.IDs, ms)
}

// DeleteIdempotent deletes keys used before ms.
func (tx *Tx) DeleteIdempotent(account AccountID, ms int64) (int64, error) {
	err := tx.exec(`DELETE FROM meta WHERE account = ? AND key >= ? AND key < ? AND json_extract(value, '$.at') < ?`,
		account, keyedPrefix, keyedEnd, ms)
	if err != nil {
		return 0, err
	}
	return tx.execN(`DELETE FROM idempotency WHERE account = ? AND at_ms < ?`, account, ms)
}

// Digest returns a keyed hash of a content, so that no plain hash of a text is stored.
func (tx *Tx) Digest(b []byte) ([]byte, error) { return tx.tag("content digest", b) }

// LockedSend is a send that was queued while the profile was locked.
type LockedSend struct {
	Ord       int64
	CreatedMS int64
	Sealed    []byte
}

// QueueLocked stores a send, sealed to the queue's public key. It works without a Box.
func (tx *Tx) QueueLocked(account AccountID, sealed []byte, ms int64) error {
	return tx.exec(`INSERT INTO locked_queue (account, created_ms, sealed) VALUES (?, ?, ?)`, account, ms, sealed)
}

// LockedSends returns up to limit sends that were queued while the profile was locked, in
// order.
func (tx *Tx) LockedSends(account AccountID, limit int) ([]LockedSend, error) {
	var out []LockedSend
	err := tx.each(`SELECT ord, created_ms, sealed FROM locked_queue WHERE account = ? ORDER BY ord LIMIT ?`, []any{account, limit},
		func(scan func(...any) error) error {
			var l LockedSend
			if err := scan(&l.Ord, &l.CreatedMS, &l.Sealed); err != nil {
				return err
			}
			out = append(out, l)
			return nil
		})
	return out, err
}

// DeleteLockedSend deletes a send that was moved to the outbox.
func (tx *Tx) DeleteLockedSend(ord int64) error {
	return tx.exec(`DELETE FROM locked_queue WHERE ord = ?`, ord)
}
