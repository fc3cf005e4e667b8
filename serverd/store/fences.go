package store

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"secmsg/crypto/key"
)

// stepsColumn converts a step count to SQLite's signed integer.
func stepsColumn(steps uint64) int64 { return int64(min(steps, math.MaxInt64)) }

// Fence returns a device's fence, or the zero Fence if it has none.
func (s *SQLite) Fence(ctx context.Context, device key.DeviceID) (Fence, error) {
	var f Fence
	var steps int64
	err := s.get(ctx, `SELECT confirmed, issued, steps FROM fences WHERE device = ?`, []any{device[:]}, &f.Confirmed, &f.Issued, &steps)
	if errors.Is(err, sql.ErrNoRows) {
		return Fence{}, nil
	}
	f.Steps = uint64(steps)
	return f, mapError("fence", err)
}

// IssueFence stores issued beside the confirmed value and raises steps. It returns ErrNotFound for an
// unknown or revoked device.
func (s *SQLite) IssueFence(ctx context.Context, device key.DeviceID, issued []byte, steps uint64) error {
	return s.write(ctx, "issue fence", func(t *tx) error {
		if err := t.active(device); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO fences (device, confirmed, issued, steps) VALUES (?, x'', ?, ?)
			ON CONFLICT (device) DO UPDATE SET issued = excluded.issued, steps = max(steps, excluded.steps)`,
			device[:], blob(issued), stepsColumn(steps))
		return err
	})
}

// ConfirmFence makes the issued value the confirmed one.
func (s *SQLite) ConfirmFence(ctx context.Context, device key.DeviceID) error {
	return s.write(ctx, "confirm fence", func(t *tx) error {
		return t.one(`UPDATE fences SET confirmed = issued, issued = x'' WHERE device = ? AND length(issued) > 0`, device[:])
	})
}

// RaiseSteps keeps the higher count for each device that has a fence.
func (s *SQLite) RaiseSteps(ctx context.Context, steps map[key.DeviceID]uint64) error {
	if len(steps) == 0 {
		return nil
	}
	return s.write(ctx, "raise steps", func(t *tx) error {
		for id, n := range steps {
			if _, err := t.exec(`UPDATE fences SET steps = max(steps, ?) WHERE device = ?`, stepsColumn(n), id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}
