package store

import (
	"context"
	"database/sql"
	"errors"
)

// ClockState returns the saved time, or the zero ClockState if there is none.
func (s *SQLite) ClockState(ctx context.Context) (ClockState, error) {
	var c ClockState
	err := s.get(ctx, `SELECT at, held FROM clock WHERE id = 1`, nil, timeColumn{&c.At}, &c.Held)
	if errors.Is(err, sql.ErrNoRows) {
		return ClockState{}, nil
	}
	return c, mapError("clock state", err)
}

// SetClockState saves the time.
func (s *SQLite) SetClockState(ctx context.Context, c ClockState) error {
	return s.write(ctx, "set clock state", func(t *tx) error {
		_, err := t.exec(`INSERT INTO clock (id, at, held) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at, held = excluded.held`,
			toMS(c.At), c.Held)
		return err
	})
}
