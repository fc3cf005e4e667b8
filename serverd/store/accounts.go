package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"
)

const accountColumns = `name, identity, chain, created, suspended, manifest_version, manifest_hash, manifest`

const selectAccount = `SELECT ` + accountColumns + ` FROM accounts WHERE name = ?`

func scanAccount(row scan) (Account, error) {
	var a Account
	var chain []byte
	var version int64
	err := row(&a.Name, &a.Identity, &chain, timeColumn{&a.Created}, &a.Suspended,
		&version, hashColumn{&a.ManifestHash}, &a.Manifest)
	if err != nil {
		return Account{}, err
	}
	a.ManifestVersion = uint64(version)
	a.Chain, err = decodeChain(chain)
	return a, err
}

// Register consumes one use of the invite and creates account, device and manifest. Repeating it with
// the same token, name, identity and manifest returns the account.
func (s *SQLite) Register(ctx context.Context, r Registration) (Account, error) {
	var a Account
	err := s.write(ctx, "register", func(t *tx) error {
		inv, err := inviteByToken(t, r.TokenHash)
		if err != nil {
			return err
		}
		existing, same, err := registered(t, r)
		switch {
		case err != nil:
			return err
		case same:
			a = existing
			return nil
		case inv.Revoked || inv.Used >= inv.Uses || !r.Now.Before(inv.Expires):
			return ErrInvite
		case existing.Name != "":
			return ErrNameTaken
		}
		if _, err := t.exec(`UPDATE invites SET used = used + 1 WHERE id = ?`, inv.ID); err != nil {
			return err
		}
		m := r.Manifest
		if _, err := t.exec(`INSERT INTO accounts (`+accountColumns+`, token_hash, first_hash) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)`,
			r.Name, blob(r.Identity), encodeChain(r.Chain), toMS(r.Now),
			int64(m.Version), m.Hash[:], blob(m.Signed), r.TokenHash[:], m.Hash[:]); err != nil {
			return err
		}
		if err := insertManifest(t, r.Name, m); err != nil {
			return err
		}
		if err := insertDevices(t, r.Name, m.Devices); err != nil {
			return err
		}
		a = Account{
			Name: r.Name, Identity: r.Identity, Chain: r.Chain, Created: fromMS(toMS(r.Now)),
			ManifestVersion: m.Version, ManifestHash: m.Hash, Manifest: m.Signed,
		}
		return nil
	})
	return a, err
}

// registered returns the account of that name, if any, and whether r created it.
func registered(t *tx, r Registration) (Account, bool, error) {
	var token, first [32]byte
	err := t.get(`SELECT token_hash, first_hash FROM accounts WHERE name = ?`, []any{r.Name},
		hashColumn{&token}, hashColumn{&first})
	if errors.Is(err, sql.ErrNoRows) {
		return Account{}, false, nil
	}
	if err != nil {
		return Account{}, false, err
	}
	a, err := accountIn(t, r.Name)
	same := token == r.TokenHash && first == r.Manifest.Hash && bytes.Equal(a.Identity, r.Identity)
	return a, same, err
}

func accountIn(t *tx, name string) (Account, error) {
	st, err := t.stmt(selectAccount)
	if err != nil {
		return Account{}, err
	}
	return scanAccount(st.QueryRowContext(context.Background(), name).Scan)
}

// Account returns an account or ErrNotFound.
func (s *SQLite) Account(ctx context.Context, name string) (Account, error) {
	st, err := s.prepared(ctx, selectAccount)
	if err != nil {
		return Account{}, mapError("account", err)
	}
	a, err := scanAccount(st.QueryRowContext(ctx, name).Scan)
	return a, mapError("account", err)
}

// ListAccounts lists up to limit accounts by name, starting after the given name.
func (s *SQLite) ListAccounts(ctx context.Context, after string, limit int) ([]Account, error) {
	var out []Account
	err := s.list(ctx, `SELECT `+accountColumns+` FROM accounts WHERE name > ? ORDER BY name LIMIT ?`, []any{after, limit}, func(row scan) error {
		a, err := scanAccount(row)
		out = append(out, a)
		return err
	})
	return out, mapError("list accounts", err)
}

// SetSuspended suspends an account or ends its suspension. It returns ErrNotFound for an unknown
// account.
func (s *SQLite) SetSuspended(ctx context.Context, name string, suspended bool) error {
	return s.write(ctx, "suspend account", func(t *tx) error {
		return t.one(`UPDATE accounts SET suspended = ? WHERE name = ?`, suspended, name)
	})
}

// SetChain stores a reissued certificate chain. It returns ErrNotFound for an unknown account.
func (s *SQLite) SetChain(ctx context.Context, name string, chain [][]byte) error {
	return s.write(ctx, "set chain", func(t *tx) error {
		return t.one(`UPDATE accounts SET chain = ? WHERE name = ?`, encodeChain(chain), name)
	})
}

// one runs a statement that must change a row; otherwise it returns ErrNotFound.
func (t *tx) one(query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// DeleteAccount removes an account and all its data, notifies the senders of its waiting mail, and
// lists its devices as revoked. It returns ErrNotFound for an unknown account.
func (s *SQLite) DeleteAccount(ctx context.Context, name string) error {
	now := time.Now()
	return s.write(ctx, "delete account", func(t *tx) error {
		if _, err := accountIn(t, name); err != nil {
			return err
		}
		active, err := activeDevices(t, name)
		if err != nil {
			return err
		}
		for _, id := range active {
			if err := revokeDevice(t, name, id, now); err != nil {
				return err
			}
		}
		if err := dropBlobsOf(t, name); err != nil {
			return err
		}
		for _, q := range []string{
			`DELETE FROM devices WHERE account = ?`,
			`DELETE FROM manifests WHERE account = ?`,
			`DELETE FROM contacts WHERE owner = ?`,
			`DELETE FROM contacts WHERE peer = ?`,
			`DELETE FROM requests WHERE sender = ?`,
			`DELETE FROM requests WHERE recipient = ?`,
			`DELETE FROM request_devices WHERE sender = ?`,
			`DELETE FROM accounts WHERE name = ?`,
		} {
			if _, err := t.exec(q, name); err != nil {
				return err
			}
		}
		return nil
	})
}
