package store

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestDeleteAccountCoversEveryTable compares the statements with the schema.
func TestDeleteAccountCoversEveryTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secmsg.db")
	st, err := Open(context.Background(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT s.name FROM sqlite_schema s JOIN pragma_table_info(s.name) c WHERE s.type = 'table' AND c.name = 'account'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		n++
		if !slices.Contains(deleteAccount(), `DELETE FROM `+table+` WHERE account = ?`) {
			t.Errorf("an account that is removed leaves its rows in %s", table)
		}
	}
	if rows.Err() != nil || n < 20 {
		t.Errorf("%d tables, %v", n, rows.Err())
	}
}

func TestKeyRows(t *testing.T) {
	st := openTest(t, testPath(t))
	var id AccountID
	update := func(fn func(tx *Tx) error) {
		t.Helper()
		if err := st.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx *Tx) (err error) {
		id, err = tx.NewAccount(Account{Address: "alice@chat.example.com", Device: [16]byte{1}})
		return err
	})
	now := time.UnixMilli(1_800_000_000_000)
	update(func(tx *Tx) error {
		// There is no fence at first, then the last one; steps count.
		if v, steps, err := tx.Fence(id); v != nil || steps != 0 || err != nil {
			t.Errorf("fence %x, %d, %v", v, steps, err)
		}
		if err := errors.Join(tx.SetFence(id, []byte("one")), tx.SetFence(id, []byte("two")), tx.Step(id), tx.Step(id)); err != nil {
			return err
		}
		if v, steps, err := tx.Fence(id); string(v) != "two" || steps != 2 || err != nil {
			t.Errorf("fence %q, %d, %v", v, steps, err)
		}
		// Prekey ids are never reused.
		a, err := tx.NextPrekeyIDs(id, 100)
		if err != nil {
			return err
		}
		b, err := tx.NextPrekeyIDs(id, 1)
		if a != 1 || b != 101 || err != nil {
			t.Errorf("prekey ids from %d and %d, %v", a, b, err)
		}
		// A handshake is kept as long as one of its two long-lived keys.
		for kind := uint8(1); kind <= 2; kind++ {
			if err := tx.AddPrekey(id, Prekey{Kind: kind, ID: 7, Created: now, Expires: now, Signed: []byte("s"), Private: []byte("p")}); err != nil {
				return err
			}
			if err := tx.ReplacePrekeys(id, kind, 8, now.Add(time.Duration(kind)*time.Hour)); err != nil {
				return err
			}
		}
		if err := tx.AddHandshake(id, [32]byte{1}, 7, 7); err != nil {
			return err
		}
		for _, x := range []struct {
			at   time.Duration
			kept bool
		}{{time.Hour, true}, {90 * time.Minute, true}, {3 * time.Hour, false}} {
			if err := tx.ExpirePrekeys(id, now.Add(x.at), now); err != nil {
				return err
			}
			if has, err := tx.HasHandshake(id, [32]byte{1}); has != x.kept || err != nil {
				t.Errorf("after %s the handshake is kept: %t, %v", x.at, has, err)
			}
		}
		return nil
	})
	// The device's state is deleted, the account's stays.
	update(func(tx *Tx) error {
		return errors.Join(tx.SetKey(id, KeyIdentity, []byte("seed")), tx.ResetDevice(id))
	})
	update(func(tx *Tx) error {
		v, steps, err := tx.Fence(id)
		if v != nil || steps != 0 {
			t.Errorf("fence %x and %d steps of the former device", v, steps)
		}
		if b, e := tx.Key(id, KeyIdentity); string(b) != "seed" || e != nil {
			t.Errorf("identity key %q, %v", b, e)
		}
		return err
	})
	update(func(tx *Tx) error { return tx.DeleteAccount(id) })
	update(func(tx *Tx) error {
		_, err := tx.FindAccount("alice@chat.example.com")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("found after it was deleted: %v", err)
		}
		return nil
	})
}
