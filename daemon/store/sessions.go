package store

import (
	"encoding/hex"
	"fmt"
	"time"
)

// DeviceRef identifies a peer's device.
type DeviceRef struct {
	Account AccountID
	Peer    PeerID
	Device  [16]byte
}

// Session is a row of a session: its id and its opaque state, which is either encoded or,
// after SaveSession in this transaction, the saved value.
type Session struct {
	ID    [32]byte
	Body  []byte
	State SessionState // or nil
}

// SessionState is an immutable state. It is encoded when it is written: of several states
// in one transaction only the last.
type SessionState interface{ Marshal() []byte }

// Sessions returns the sessions with a device. The caller clears the bodies.
func (tx *Tx) Sessions(d DeviceRef) ([]Session, error) {
	if i := tx.held(d); i >= 0 {
		return tx.sessions[i].clone(), nil
	}
	var list []Session
	err := tx.each(`SELECT session, body FROM sessions WHERE account = ? AND peer = ? AND device = ?`,
		[]any{d.Account, d.Peer, d.Device[:]}, func(scan func(...any) error) error {
			var id []byte
			var s Session
			if err := scan(&id, &s.Body); err != nil {
				return err
			}
			if len(id) != len(s.ID) {
				return fmt.Errorf("session id of %d bytes: %w", len(id), ErrCorrupt)
			}
			s.ID = [32]byte(id)
			list = append(list, s)
			return nil
		})
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Body, err = tx.open("sessions", "body", sessionRow(d, list[i].ID), list[i].Body); err != nil {
			return nil, err
		}
	}
	if !tx.writable {
		return list, nil
	}
	set := sessionSet{device: d, list: list}
	tx.sessions = append(tx.sessions, set)
	return set.clone(), nil
}

// DropDamagedSessions deletes the sessions with a peer that cannot be opened, or that check
// rejects, and returns their number. A new session is better than an unusable one.
func (tx *Tx) DropDamagedSessions(account AccountID, peer PeerID, check func(body []byte) error) (int, error) {
	if err := tx.flush(); err != nil {
		return 0, err
	}
	type row struct {
		device, id, sealed []byte
	}
	var rows []row
	err := tx.each(`SELECT device, session, body FROM sessions WHERE account = ? AND peer = ?`, []any{account, peer},
		func(scan func(...any) error) error {
			var r row
			err := scan(&r.device, &r.id, &r.sealed)
			rows = append(rows, r)
			return err
		})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, r := range rows {
		d := DeviceRef{Account: account, Peer: peer}
		var id [32]byte
		copy(d.Device[:], r.device)
		copy(id[:], r.id)
		body, err := tx.open("sessions", "body", sessionRow(d, id), r.sealed)
		if exceptValueError(err) != nil {
			return n, err
		}
		if err == nil {
			err = check(body)
			clear(body)
		}
		if err == nil {
			continue
		}
		n++
		if err := tx.exec(`DELETE FROM sessions WHERE account = ? AND peer = ? AND device = ? AND session = ?`,
			account, peer, r.device, r.id); err != nil {
			return n, err
		}
	}
	return n, nil
}

// HasSession reports whether there is a session with a device.
func (tx *Tx) HasSession(d DeviceRef) (bool, error) {
	if i := tx.held(d); i >= 0 {
		return len(tx.sessions[i].list) > 0, nil
	}
	var n int
	err := tx.get(`SELECT count(*) FROM sessions WHERE account = ? AND peer = ? AND device = ?`,
		[]any{d.Account, d.Peer, d.Device[:]}, &n)
	return n > 0, err
}

// SessionDevices returns the devices of an account's peers with which there are sessions.
func (tx *Tx) SessionDevices(account AccountID) ([]DeviceRef, error) {
	if err := tx.flush(); err != nil {
		return nil, err
	}
	var list []DeviceRef
	err := tx.each(`SELECT DISTINCT peer, device FROM sessions WHERE account = ?`, []any{account},
		func(scan func(...any) error) error {
			d := DeviceRef{Account: account}
			var device []byte
			if err := scan(&d.Peer, &device); err != nil {
				return err
			}
			if len(device) != len(d.Device) {
				return fmt.Errorf("device id of %d bytes: %w", len(device), ErrCorrupt)
			}
			d.Device = [16]byte(device)
			list = append(list, d)
			return nil
		})
	return list, err
}

// SaveSession saves a session's state, which is written with the commit or earlier.
func (tx *Tx) SaveSession(d DeviceRef, s Session) error {
	i := tx.held(d)
	if i < 0 {
		if _, err := tx.Sessions(d); err != nil {
			return err
		}
		i = tx.held(d)
	}
	tx.sessions[i] = tx.sessions[i].with(s)
	return nil
}

// DeleteSession deletes a session with its message keys.
func (tx *Tx) DeleteSession(d DeviceRef, id [32]byte) error {
	if err := tx.flush(); err != nil {
		return err
	}
	if err := tx.exec(`DELETE FROM skipped WHERE account = ? AND peer = ? AND device = ? AND session = ?`,
		d.Account, d.Peer, d.Device[:], id[:]); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM sessions WHERE account = ? AND peer = ? AND device = ? AND session = ?`,
		d.Account, d.Peer, d.Device[:], id[:])
}

// DeleteSessions deletes all sessions with a removed device.
func (tx *Tx) DeleteSessions(d DeviceRef) error {
	if err := tx.flush(); err != nil {
		return err
	}
	if err := tx.exec(`DELETE FROM skipped WHERE account = ? AND peer = ? AND device = ?`, d.Account, d.Peer, d.Device[:]); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM sessions WHERE account = ? AND peer = ? AND device = ?`, d.Account, d.Peer, d.Device[:])
}

// DeletePeerSessions deletes all sessions with all devices of a peer.
func (tx *Tx) DeletePeerSessions(account AccountID, peer PeerID) error {
	if err := tx.flush(); err != nil {
		return err
	}
	if err := tx.exec(`DELETE FROM skipped WHERE account = ? AND peer = ?`, account, peer); err != nil {
		return err
	}
	return tx.exec(`DELETE FROM sessions WHERE account = ? AND peer = ?`, account, peer)
}

// SkippedRef identifies a stored message key within its session.
type SkippedRef struct {
	Epoch, N uint32
	Stored   time.Time
}

// AddSkipped stores the key of a message that has not arrived yet.
func (tx *Tx) AddSkipped(d DeviceRef, session [32]byte, ref SkippedRef, messageKey []byte) error {
	sealed, err := tx.seal("skipped", "message_key", skippedRow(d, session, ref), messageKey)
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO skipped (account, peer, device, session, epoch, n, stored_ms, message_key)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		d.Account, d.Peer, d.Device[:], session[:], ref.Epoch, ref.N, ref.Stored.UnixMilli(), sealed)
}

// Skipped returns a stored message key, or ErrNotFound. The caller clears it.
func (tx *Tx) Skipped(d DeviceRef, session [32]byte, epoch, n uint32) ([]byte, error) {
	var sealed []byte
	err := tx.get(`SELECT message_key FROM skipped
		WHERE account = ? AND peer = ? AND device = ? AND session = ? AND epoch = ? AND n = ?`,
		[]any{d.Account, d.Peer, d.Device[:], session[:], epoch, n}, &sealed)
	if err != nil {
		return nil, err
	}
	return tx.open("skipped", "message_key", skippedRow(d, session, SkippedRef{Epoch: epoch, N: n}), sealed)
}

// SkippedRefs returns the stored message keys of a session, without the keys.
func (tx *Tx) SkippedRefs(d DeviceRef, session [32]byte) ([]SkippedRef, error) {
	var list []SkippedRef
	err := tx.each(`SELECT epoch, n, stored_ms FROM skipped WHERE account = ? AND peer = ? AND device = ? AND session = ?`,
		[]any{d.Account, d.Peer, d.Device[:], session[:]}, func(scan func(...any) error) error {
			var r SkippedRef
			var ms int64
			if err := scan(&r.Epoch, &r.N, &ms); err != nil {
				return err
			}
			r.Stored = time.UnixMilli(ms)
			list = append(list, r)
			return nil
		})
	return list, err
}

// DeleteSkipped deletes a stored message key.
func (tx *Tx) DeleteSkipped(d DeviceRef, session [32]byte, epoch, n uint32) error {
	return tx.exec(`DELETE FROM skipped WHERE account = ? AND peer = ? AND device = ? AND session = ? AND epoch = ? AND n = ?`,
		d.Account, d.Peer, d.Device[:], session[:], epoch, n)
}

func sessionRow(d DeviceRef, id [32]byte) string {
	return fmt.Sprintf("%d/%d/%s/%s", d.Account, d.Peer, hex.EncodeToString(d.Device[:]), hex.EncodeToString(id[:]))
}

func skippedRow(d DeviceRef, id [32]byte, r SkippedRef) string {
	return fmt.Sprintf("%s/%d/%d", sessionRow(d, id), r.Epoch, r.N)
}
