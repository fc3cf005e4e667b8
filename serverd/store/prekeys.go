package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"secmsg/crypto/key"
)

// Kinds of prekeys on disk.
const (
	prekeySigned          = 1
	prekeyLastResort      = 2
	prekeyOneTimeExchange = 3
	prekeyOneTimeKEM      = 4
)

// PutPrekeys stores an upload of a device.
func (s *SQLite) PutPrekeys(ctx context.Context, device key.DeviceID, p Prekeys, maxOneTime int, now time.Time) (KeptPrekeys, error) {
	var kept KeptPrekeys
	err := s.write(ctx, "put prekeys", func(t *tx) (err error) {
		kept = KeptPrekeys{}
		if err := t.active(device); err != nil {
			return err
		}
		// Otherwise keys that nobody fetched would block new ones for ever.
		if err := dropExpiredPrekeys(t, device, now); err != nil {
			return err
		}
		for kind, k := range map[int]*Prekey{prekeySigned: p.Signed, prekeyLastResort: p.LastResort} {
			if k == nil {
				continue
			}
			if _, err := t.exec(`DELETE FROM prekeys WHERE device = ? AND kind = ?`, device[:], kind); err != nil {
				return err
			}
			if _, err := insertPrekey(t, device, kind, *k); err != nil {
				return err
			}
		}
		if kept.OneTimeExchange, err = addOneTime(t, device, prekeyOneTimeExchange, p.OneTimeExchange, maxOneTime); err != nil {
			return err
		}
		kept.OneTimeKEM, err = addOneTime(t, device, prekeyOneTimeKEM, p.OneTimeKEM, maxOneTime)
		return err
	})
	return kept, err
}

// active returns ErrNotFound unless the device exists and is not revoked.
func (t *tx) active(device key.DeviceID) error {
	var revoked bool
	err := t.get(`SELECT revoked FROM devices WHERE id = ?`, []any{device[:]}, &revoked)
	if err == nil && revoked {
		err = ErrNotFound
	}
	return err
}

func insertPrekey(t *tx, device key.DeviceID, kind int, k Prekey) (int64, error) {
	return t.exec(`INSERT INTO prekeys (device, kind, id, used, expires, public) VALUES (?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING`,
		device[:], kind, int64(k.ID), toMS(k.Expires), blob(k.Public))
}

// addOneTime adds keys up to the limit and returns which of them the device has in the store. A known
// id keeps its first key: that key may have been handed out, and then the store cannot tell whether the
// new one is the same.
func addOneTime(t *tx, device key.DeviceID, kind int, keys []Prekey, limit int) (kept []uint32, err error) {
	var have int
	if err := t.get(`SELECT count(*) FROM prekeys WHERE device = ? AND kind = ? AND used = 0`, []any{device[:], kind}, &have); err != nil {
		return nil, err
	}
	for _, k := range keys {
		var used bool
		var public []byte
		err := t.get(`SELECT used, public FROM prekeys WHERE device = ? AND kind = ? AND id = ?`, []any{device[:], kind, int64(k.ID)}, &used, &public)
		switch {
		case err == nil:
			if used || bytes.Equal(public, k.Public) {
				kept = append(kept, k.ID)
			}
			continue
		case !errors.Is(err, sql.ErrNoRows):
			return nil, err
		case have >= limit:
			continue
		}
		if _, err := insertPrekey(t, device, kind, k); err != nil {
			return nil, err
		}
		have++
		kept = append(kept, k.ID)
	}
	return kept, nil
}

// TakeBundles hands out one bundle for each device that has a valid signed prekey and KEM key. The
// one-time keys in it are used up.
func (s *SQLite) TakeBundles(ctx context.Context, devices []key.DeviceID, now time.Time) ([]Bundle, error) {
	var out []Bundle
	err := s.write(ctx, "take bundles", func(t *tx) error {
		out = out[:0]
		for _, id := range devices {
			if err := dropExpiredPrekeys(t, id, now); err != nil {
				return err
			}
			b, err := takeBundle(t, id)
			if err != nil {
				return err
			}
			if b != nil {
				out = append(out, *b)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// dropExpiredPrekeys deletes keys that no requester would accept any longer, including used ones.
func dropExpiredPrekeys(t *tx, device key.DeviceID, now time.Time) error {
	_, err := t.exec(`DELETE FROM prekeys WHERE device = ? AND expires > 0 AND expires <= ?`, device[:], toMS(now))
	return err
}

// takeBundle returns nil for a device without a valid bundle.
func takeBundle(t *tx, device key.DeviceID) (*Bundle, error) {
	signed, _, err := oldestPrekey(t, device, prekeySigned)
	if err != nil || signed == nil {
		return nil, err
	}
	kem, err := takeOneTime(t, device, prekeyOneTimeKEM)
	if err != nil {
		return nil, err
	}
	if kem == nil {
		if kem, _, err = oldestPrekey(t, device, prekeyLastResort); err != nil || kem == nil {
			return nil, err
		}
	}
	exchange, err := takeOneTime(t, device, prekeyOneTimeExchange)
	if err != nil {
		return nil, err
	}
	return &Bundle{Device: device, Signed: signed, KEM: kem, OneTimeExchange: exchange}, nil
}

func takeOneTime(t *tx, device key.DeviceID, kind int) (*Prekey, error) {
	k, row, err := oldestPrekey(t, device, kind)
	if err != nil || k == nil {
		return nil, err
	}
	_, err = t.exec(`UPDATE prekeys SET used = 1, public = x'' WHERE row = ?`, row)
	return k, err
}

// oldestPrekey returns nil if the device has none of that kind.
func oldestPrekey(t *tx, device key.DeviceID, kind int) (*Prekey, int64, error) {
	var k Prekey
	var id, row int64
	err := t.get(`SELECT row, id, expires, public FROM prekeys WHERE device = ? AND kind = ? AND used = 0 ORDER BY row LIMIT 1`,
		[]any{device[:], kind}, &row, &id, timeColumn{&k.Expires}, &k.Public)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	k.ID = uint32(id)
	return &k, row, nil
}

// CountPrekeys returns a device's stock of keys that are valid at now.
func (s *SQLite) CountPrekeys(ctx context.Context, device key.DeviceID, now time.Time) (PrekeyCount, error) {
	var c PrekeyCount
	err := s.list(ctx, `SELECT kind, count(*), max(expires) FROM prekeys WHERE device = ? AND used = 0 AND (expires = 0 OR expires > ?) GROUP BY kind`,
		[]any{device[:], toMS(now)}, func(row scan) error {
			var kind, n int
			var expires time.Time
			if err := row(&kind, &n, timeColumn{&expires}); err != nil {
				return err
			}
			switch kind {
			case prekeySigned:
				c.SignedExpires = expires
			case prekeyLastResort:
				c.LastResortExpires = expires
			case prekeyOneTimeExchange:
				c.OneTimeExchange = n
			case prekeyOneTimeKEM:
				c.OneTimeKEM = n
			}
			return nil
		})
	return c, mapError("count prekeys", err)
}
