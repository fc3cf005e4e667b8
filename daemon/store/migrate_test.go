package store

import (
	"database/sql"
	"os"
	"testing"
)

// TestFirstSchemaMigrates opens a database of the first version of this program.
// testdata/first-schema.sql never changes.
func TestFirstSchemaMigrates(t *testing.T) {
	path := testPath(t)
	dump, err := os.ReadFile("testdata/first-schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(path, "rwc"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), string(dump)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, path)
	update(t, s, func(tx *Tx) error {
		peer, err := tx.FindPeer(1, "bob@chat.example.com")
		if err != nil {
			return err
		}
		m, err := tx.Message(1, MessageID{1})
		if err != nil || string(m.Body) != "kept" || m.Peer != peer {
			t.Errorf("message %+v, %v", m, err)
		}
		o, err := tx.Outgoing(1, MessageID{2})
		if err != nil || string(o.Body) != "waits" || o.ExpiresMS != 8 {
			t.Errorf("outbox %+v, %v", o, err)
		}
		c, err := tx.Consumer("bot")
		if err != nil || c.CreatedMS != 3 {
			t.Errorf("consumer %+v, %v", c, err)
		}
		if list, err := tx.Events(EventFilter{Limit: 10}); err != nil || len(list) != 1 || list[0].ID != "e" {
			t.Errorf("events %+v, %v", list, err)
		}
		seq, err := tx.NextSeq()
		if seq != 2 {
			t.Errorf("next seq %d", seq)
		}
		return err
	})
	// The second time there is nothing to migrate.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, path)
}

// TestKilledMigrationIsOldOrNew stops the migration after every step. The next Open
// continues from there.
func TestKilledMigrationIsOldOrNew(t *testing.T) {
	want, err := newest()
	if err != nil {
		t.Fatal(err)
	}
	for stop := range want {
		path := testPath(t)
		db, err := sql.Open("sqlite", dsn(path, "rwc"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := provider(db)
		if err != nil {
			t.Fatal(err)
		}
		if stop > 0 {
			if _, err := p.UpTo(t.Context(), stop); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, path)
		err = s.View(t.Context(), func(tx *Tx) error {
			var have int64
			if err := tx.get(`SELECT max(version_id) FROM goose_db_version`, nil, &have); err != nil {
				return err
			}
			if have != want {
				t.Errorf("stopped after %d: now %d, want %d", stop, have, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
