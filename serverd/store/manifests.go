package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/key"
)

// revocationsPage bounds one result of Revocations; callers continue from the last row.
const revocationsPage = 10_000

// PutManifest stores m as the newest manifest if the previous one has hash previous.
func (s *SQLite) PutManifest(ctx context.Context, name string, previous [32]byte, m Manifest, now time.Time) error {
	return s.write(ctx, "put manifest", func(t *tx) error {
		a, err := accountIn(t, name)
		switch {
		case err != nil:
			return err
		case a.ManifestHash == m.Hash && a.ManifestVersion == m.Version:
			return nil
		case a.ManifestHash != previous:
			return ErrConflict
		case m.Version <= a.ManifestVersion:
			return fmt.Errorf("version %d after %d: %w", m.Version, a.ManifestVersion, ErrConflict)
		}
		if err := t.one(`UPDATE accounts SET manifest_version = ?, manifest_hash = ?, manifest = ? WHERE name = ?`,
			int64(m.Version), m.Hash[:], blob(m.Signed), name); err != nil {
			return err
		}
		if err := insertManifest(t, name, m); err != nil {
			return err
		}
		return changeDevices(t, name, m.Devices, now)
	})
}

// changeDevices makes listed the account's active devices.
func changeDevices(t *tx, name string, listed []Device, now time.Time) error {
	active, err := activeDevices(t, name)
	if err != nil {
		return err
	}
	var added []Device
	for _, d := range listed {
		if !slices.Contains(active, d.ID) {
			added = append(added, d)
			continue
		}
		if _, err := t.exec(`UPDATE devices SET name = ? WHERE id = ?`, d.Name, d.ID[:]); err != nil {
			return err
		}
	}
	for _, id := range active {
		if slices.ContainsFunc(listed, func(d Device) bool { return d.ID == id }) {
			continue
		}
		if err := revokeDevice(t, name, id, now); err != nil {
			return err
		}
	}
	return insertDevices(t, name, added)
}

// revokeDevice revokes a device: its prekeys, fence and mailbox are deleted, and the senders of waiting
// mail are notified. Mail beyond dropAtOnce is left to DropMail.
func revokeDevice(t *tx, account string, id key.DeviceID, now time.Time) error {
	if _, err := t.exec(`UPDATE devices SET revoked = 1 WHERE id = ?`, id[:]); err != nil {
		return err
	}
	if _, err := t.exec(`INSERT INTO revocations (account, device) VALUES (?, ?)`, account, id[:]); err != nil {
		return err
	}
	more, err := dropMail(t, account, id, now, dropAtOnce)
	if err != nil {
		return err
	}
	if more {
		if _, err := t.exec(`INSERT INTO dropped (device, account) VALUES (?, ?) ON CONFLICT DO NOTHING`, id[:], account); err != nil {
			return err
		}
	}
	for _, q := range []string{
		`DELETE FROM mailboxes WHERE device = ?`,
		`DELETE FROM prekeys WHERE device = ?`,
		`DELETE FROM fences WHERE device = ?`,
		`DELETE FROM request_devices WHERE device = ?`,
	} {
		if _, err := t.exec(q, id[:]); err != nil {
			return err
		}
	}
	return nil
}

func insertManifest(t *tx, name string, m Manifest) error {
	_, err := t.exec(`INSERT INTO manifests (account, version, hash, signed) VALUES (?, ?, ?, ?)`,
		name, int64(m.Version), m.Hash[:], blob(m.Signed))
	return err
}

// insertDevices adds devices. It returns ErrConflict if any account has ever used an id.
func insertDevices(t *tx, name string, devices []Device) error {
	for _, d := range devices {
		n, err := t.exec(`INSERT INTO devices (id, account, signing, name, added, revoked, last_seen) VALUES (?, ?, ?, ?, ?, 0, 0) ON CONFLICT DO NOTHING`,
			d.ID[:], name, blob(d.Signing), d.Name, toMS(d.Added))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("device %s: %w", d.ID, ErrConflict)
		}
	}
	return nil
}

func activeDevices(t *tx, account string) ([]key.DeviceID, error) {
	var ids []key.DeviceID
	err := t.list(`SELECT id FROM devices WHERE account = ? AND revoked = 0`, []any{account}, func(row scan) error {
		var id key.DeviceID
		err := row(deviceColumn{&id})
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// Manifests lists up to limit manifests with versions above after, oldest first, without their devices.
func (s *SQLite) Manifests(ctx context.Context, name string, after uint64, limit int) ([]Manifest, error) {
	var out []Manifest
	err := s.list(ctx, `SELECT version, hash, signed FROM manifests WHERE account = ? AND version > ? ORDER BY version LIMIT ?`,
		[]any{name, int64(min(after, 1<<62)), limit}, func(row scan) error {
			var m Manifest
			var version int64
			err := row(&version, hashColumn{&m.Hash}, &m.Signed)
			m.Version = uint64(version)
			out = append(out, m)
			return err
		})
	return out, mapError("manifests", err)
}

const deviceColumns = `id, account, signing, name, added, revoked, last_seen`

func scanDevice(row scan) (Device, error) {
	var d Device
	err := row(deviceColumn{&d.ID}, &d.Account, &d.Signing, &d.Name, timeColumn{&d.Added}, &d.Revoked, timeColumn{&d.LastSeen})
	return d, err
}

// Device returns a device, including a revoked one, or ErrNotFound.
func (s *SQLite) Device(ctx context.Context, id key.DeviceID) (Device, error) {
	st, err := s.prepared(ctx, `SELECT `+deviceColumns+` FROM devices WHERE id = ?`)
	if err != nil {
		return Device{}, mapError("device", err)
	}
	d, err := scanDevice(st.QueryRowContext(ctx, id[:]).Scan)
	return d, mapError("device", err)
}

// Devices lists an account's devices, including revoked ones, in the order in which they were added.
func (s *SQLite) Devices(ctx context.Context, account string) ([]Device, error) {
	var out []Device
	err := s.list(ctx, `SELECT `+deviceColumns+` FROM devices WHERE account = ? ORDER BY added, id`, []any{account}, func(row scan) error {
		d, err := scanDevice(row)
		out = append(out, d)
		return err
	})
	return out, mapError("devices", err)
}

// SetLastSeen stores when devices were last seen. An earlier time does not replace a later one.
func (s *SQLite) SetLastSeen(ctx context.Context, seen map[key.DeviceID]time.Time) error {
	if len(seen) == 0 {
		return nil
	}
	return s.write(ctx, "set last seen", func(t *tx) error {
		for id, at := range seen {
			if _, err := t.exec(`UPDATE devices SET last_seen = max(last_seen, ?) WHERE id = ?`, toMS(at), id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Revocations lists up to 10,000 revocations with Row > after, oldest first.
func (s *SQLite) Revocations(ctx context.Context, after int64) ([]Revocation, error) {
	var out []Revocation
	err := s.list(ctx, `SELECT row, account, device FROM revocations WHERE row > ? ORDER BY row LIMIT ?`, []any{after, revocationsPage}, func(row scan) error {
		var r Revocation
		err := row(&r.Row, &r.Account, deviceColumn{&r.Device})
		out = append(out, r)
		return err
	})
	return out, mapError("revocations", err)
}
