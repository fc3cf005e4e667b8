package store

import (
	"fmt"
	"math"
	"time"
)

// Kinds of prekeys used by the statements below. They are the numbers in signed prekeys
// (crypto/SPEC.md) and are stored.
const (
	prekeySigned     = 1
	prekeyLastResort = 2
)

// Prekey is the private half of a prekey with its signed public form.
type Prekey struct {
	Kind    uint8
	ID      uint32
	Created time.Time
	Expires time.Time
	Signed  []byte
	Private []byte // nil where a method says so
}

// NextPrekeyIDs draws n consecutive prekey ids and returns the first.
func (tx *Tx) NextPrekeyIDs(account AccountID, n int) (uint32, error) {
	var next int64
	err := tx.get(`UPDATE accounts SET next_prekey = next_prekey + ? WHERE id = ? RETURNING next_prekey`,
		[]any{n, account}, &next)
	if err != nil {
		return 0, err
	}
	if next > math.MaxUint32 {
		return 0, fmt.Errorf("no prekey ids left: %w", ErrCorrupt)
	}
	return uint32(next) - uint32(n), nil
}

// AddPrekey stores a prekey.
func (tx *Tx) AddPrekey(account AccountID, p Prekey) error {
	sealed, err := tx.seal("prekeys", "private", prekeyRow(account, p.Kind, p.ID), p.Private)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO prekeys (account, kind, id, created_ms, expires_ms, replaced_ms, signed, private)
		VALUES (?, ?, ?, ?, ?, 0, ?, ?)`, account, p.Kind, p.ID, p.Created.UnixMilli(), p.Expires.UnixMilli(), p.Signed, sealed)
}

// Prekey returns a prekey with its private half, or ErrNotFound. The caller clears it.
func (tx *Tx) Prekey(account AccountID, kind uint8, id uint32) (Prekey, error) {
	p := Prekey{Kind: kind, ID: id}
	var created, expires int64
	var sealed []byte
	err := tx.get(`SELECT created_ms, expires_ms, signed, private FROM prekeys WHERE account = ? AND kind = ? AND id = ?`,
		[]any{account, kind, id}, &created, &expires, &p.Signed, &sealed)
	if err != nil {
		return Prekey{}, err
	}
	p.Created, p.Expires = time.UnixMilli(created), time.UnixMilli(expires)
	p.Private, err = tx.open("prekeys", "private", prekeyRow(account, kind, id), sealed)
	return p, err
}

// NewestPrekey returns the newest prekey of a kind that was not replaced, without its
// private half, or ErrNotFound.
func (tx *Tx) NewestPrekey(account AccountID, kind uint8) (Prekey, error) {
	p := Prekey{Kind: kind}
	var created, expires int64
	err := tx.get(`SELECT id, created_ms, expires_ms, signed FROM prekeys
		WHERE account = ? AND kind = ? AND replaced_ms = 0 ORDER BY id DESC LIMIT 1`,
		[]any{account, kind}, &p.ID, &created, &expires, &p.Signed)
	p.Created, p.Expires = time.UnixMilli(created), time.UnixMilli(expires)
	return p, err
}

// CountPrekeys returns the number of stored private halves of a kind.
func (tx *Tx) CountPrekeys(account AccountID, kind uint8) (n int, err error) {
	err = tx.get(`SELECT count(*) FROM prekeys WHERE account = ? AND kind = ?`, []any{account, kind}, &n)
	return n, err
}

// ReplacePrekeys marks the prekeys of a kind with an id below newest as replaced.
func (tx *Tx) ReplacePrekeys(account AccountID, kind uint8, newest uint32, now time.Time) error {
	return tx.exec(`UPDATE prekeys SET replaced_ms = ? WHERE account = ? AND kind = ? AND id < ? AND replaced_ms = 0`,
		now.UnixMilli(), account, kind, newest)
}

// DeletePrekey deletes a used one-time prekey.
func (tx *Tx) DeletePrekey(account AccountID, kind uint8, id uint32) error {
	return tx.exec(`DELETE FROM prekeys WHERE account = ? AND kind = ? AND id = ?`, account, kind, id)
}

// TrimPrekeys deletes the oldest prekeys of a kind beyond keep.
func (tx *Tx) TrimPrekeys(account AccountID, kind uint8, keep int) error {
	return tx.exec(`DELETE FROM prekeys WHERE account = ?1 AND kind = ?2 AND id NOT IN
		(SELECT id FROM prekeys WHERE account = ?1 AND kind = ?2 ORDER BY id DESC LIMIT ?3)`, account, kind, keep)
}

// ExpirePrekeys deletes the private halves that were replaced before replaced or, for
// one-time kinds, created before oneTime. Then it deletes the handshakes without any
// private half left, since they cannot be accepted again.
func (tx *Tx) ExpirePrekeys(account AccountID, replaced, oneTime time.Time) error {
	err := tx.exec(`DELETE FROM prekeys WHERE account = ? AND kind IN (?, ?) AND replaced_ms > 0 AND replaced_ms < ?`,
		account, prekeySigned, prekeyLastResort, replaced.UnixMilli())
	if err != nil {
		return err
	}
	err = tx.exec(`DELETE FROM prekeys WHERE account = ? AND kind NOT IN (?, ?) AND created_ms < ?`,
		account, prekeySigned, prekeyLastResort, oneTime.UnixMilli())
	if err != nil {
		return err
	}
	return tx.exec(`DELETE FROM handshakes WHERE account = ?1
		AND NOT EXISTS (SELECT 1 FROM prekeys p WHERE p.account = ?1 AND p.kind = ?2 AND p.id = handshakes.signed_id)
		AND NOT EXISTS (SELECT 1 FROM prekeys p WHERE p.account = ?1 AND p.kind = ?3 AND p.id = handshakes.kem_id)`,
		account, prekeySigned, prekeyLastResort)
}

// AddHandshake remembers an accepted handshake. kemID is 0 if its KEM key was a one-time
// key.
func (tx *Tx) AddHandshake(account AccountID, hash [32]byte, signedID, kemID uint32) error {
	return tx.exec(`INSERT INTO handshakes (account, hash, signed_id, kem_id) VALUES (?, ?, ?, ?)`,
		account, hash[:], signedID, kemID)
}

// HasHandshake reports whether a handshake was accepted before.
func (tx *Tx) HasHandshake(account AccountID, hash [32]byte) (bool, error) {
	var n int
	err := tx.get(`SELECT count(*) FROM handshakes WHERE account = ? AND hash = ?`, []any{account, hash[:]}, &n)
	return n > 0, err
}

func prekeyRow(account AccountID, kind uint8, id uint32) string {
	return fmt.Sprintf("%d/%d/%d", account, kind, id)
}
