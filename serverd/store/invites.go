package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const inviteColumns = `id, token_hash, uses, used, created, expires, revoked`

func scanInvite(row scan) (Invite, error) {
	var inv Invite
	err := row(&inv.ID, hashColumn{&inv.TokenHash}, &inv.Uses, &inv.Used,
		timeColumn{&inv.Created}, timeColumn{&inv.Expires}, &inv.Revoked)
	return inv, err
}

// CreateInvite stores an invite. It returns ErrConflict if its id or token exists.
func (s *SQLite) CreateInvite(ctx context.Context, inv Invite) error {
	return s.write(ctx, "create invite", func(t *tx) error {
		n, err := t.exec(`INSERT INTO invites (`+inviteColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			inv.ID, inv.TokenHash[:], inv.Uses, inv.Used, toMS(inv.Created), toMS(inv.Expires), inv.Revoked)
		if err == nil && n == 0 {
			err = ErrConflict
		}
		return err
	})
}

// ListInvites lists all invites, newest first.
func (s *SQLite) ListInvites(ctx context.Context) ([]Invite, error) {
	var out []Invite
	err := s.list(ctx, `SELECT `+inviteColumns+` FROM invites ORDER BY created DESC, id`, nil, func(row scan) error {
		inv, err := scanInvite(row)
		out = append(out, inv)
		return err
	})
	return out, mapError("list invites", err)
}

// RevokeInvite makes an invite unusable. It returns ErrNotFound for an unknown invite.
func (s *SQLite) RevokeInvite(ctx context.Context, id string) error {
	return s.write(ctx, "revoke invite", func(t *tx) error {
		n, err := t.exec(`UPDATE invites SET revoked = 1 WHERE id = ?`, id)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		return err
	})
}

const selectInviteByToken = `SELECT ` + inviteColumns + ` FROM invites WHERE token_hash = ?`

// Invite returns the invite with that token hash, even if it can no longer be used, or ErrInvite.
func (s *SQLite) Invite(ctx context.Context, tokenHash [32]byte) (Invite, error) {
	st, err := s.prepared(ctx, selectInviteByToken)
	if err != nil {
		return Invite{}, mapError("invite", err)
	}
	inv, err := scanInvite(st.QueryRowContext(ctx, tokenHash[:]).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Invite{}, fmt.Errorf("invite: %w", ErrInvite)
	}
	return inv, mapError("invite", err)
}

// inviteByToken reads an invite inside a transaction, or returns ErrInvite.
func inviteByToken(t *tx, tokenHash [32]byte) (Invite, error) {
	st, err := t.stmt(selectInviteByToken)
	if err != nil {
		return Invite{}, err
	}
	inv, err := scanInvite(st.QueryRowContext(context.Background(), tokenHash[:]).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Invite{}, ErrInvite
	}
	return inv, err
}
