package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openSQLite(t testing.TB, dir string) *SQLite {
	t.Helper()
	s, err := Open(context.Background(), filepath.Join(dir, "server.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSQLite(t *testing.T) {
	testStore(t, func(t *testing.T, dir string) Store { return openSQLite(t, dir) })
}

// frozen contains the SHA-256 of every released migration; these never change.
var frozen = map[string]string{
	"0001_init.sql":    "dcb4c26d3f43c869f52c5dce428cbeacfc66681f93bc7b70b146780d27914773",
	"0002_clock.sql":   "972ac2c043aa770bf2db6aede786ba947f9f1dd97a829b637158b600fac4b6a9",
	"0003_blobs.sql":   "f2b0e80479a2c3d364371b84ffd57753ee0506dfff1611881acd1f3523781185",
	"0004_counts.sql":  "9fa3fa251aef536897bbc878aadc60d87b2b7777e195e1241d3b14a2bd7ef66e",
	"0005_dropped.sql": "f3e6ce6393df030137aeb42793d7a3dd104ddb91542b5d0710327ec5e57cb17b",
}

func TestMigrationsAreFrozen(t *testing.T) {
	entries, err := migrations.ReadDir("migrations")
	must(t, err)
	equal(t, "migrations", len(entries), len(frozen))
	for _, e := range entries {
		b, err := migrations.ReadFile("migrations/" + e.Name())
		must(t, err)
		sum := sha256.Sum256(b)
		equal(t, e.Name(), hex.EncodeToString(sum[:]), frozen[e.Name()])
	}
}

func TestNewerSchemaIsRefusedUnchanged(t *testing.T) {
	dir := t.TempDir()
	s := openSQLite(t, dir)
	account(t, s, "alice")
	must(t, s.Close())
	path := filepath.Join(dir, "server.db")
	db, err := sql.Open("sqlite", dataSource(path, url.Values{}))
	must(t, err)
	_, err = db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
	must(t, err)
	must(t, db.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	_, err = Open(t.Context(), path, Options{})
	want(t, err, ErrTooNew)
	after, err := os.ReadFile(path)
	must(t, err)
	equal(t, "file", sha256.Sum256(after), sha256.Sum256(before))
}

func TestFileMode(t *testing.T) {
	dir := t.TempDir()
	s := openSQLite(t, dir)
	account(t, s, "alice")
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		equal(t, e.Name(), info.Mode().Perm(), 0o600)
	}
}

func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	must(t, os.WriteFile(path, []byte("this is a text file and it is long enough to be looked at as a database header"), 0o600))
	_, err := Open(t.Context(), path, Options{})
	want(t, err, ErrDisk)
	_, err = Open(t.Context(), filepath.Join(t.TempDir(), "no", "dir", "server.db"), Options{})
	want(t, err, ErrDisk)
}

// TestFullDisk bounds the database's pages: a write that does not fit fails with ErrDisk, acknowledged
// writes stay, and work resumes when there is space.
func TestFullDisk(t *testing.T) {
	s := openSQLite(t, t.TempDir())
	alice := account(t, s, "alice")
	ctx := ctxOf(t)
	limit := func(pages int) {
		t.Helper()
		must(t, s.write(ctx, "limit", func(tx *tx) error {
			var n int
			return tx.get(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages), nil, &n)
		}))
	}
	limit(100)
	stored := 0
	var err error
	for stored < 1000 {
		if _, err = s.Append(ctx, []*Mail{mailTo(alice, 1, string(make([]byte, 4000)))}, MailboxLimits{}); err != nil {
			break
		}
		stored++
	}
	want(t, err, ErrDisk)
	// Every caller that shared the transaction gets the correct result.
	n, _, err := s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "stored", n, stored)
	limit(100_000)
	_, err = s.Append(ctx, []*Mail{mailTo(alice, 1, "again")}, MailboxLimits{})
	must(t, err)
}

func TestDisksErrorFailsTheWholeGroup(t *testing.T) {
	s := openSQLite(t, t.TempDir())
	ctx := ctxOf(t)
	alice := account(t, s, "alice")
	block := make(chan struct{})
	started := make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- s.write(ctx, "hold", func(*tx) error { close(started); <-block; return nil })
	}()
	<-started
	results := make(chan error, 2)
	go func() {
		_, err := s.Append(ctx, []*Mail{mailTo(alice, 1, "x")}, MailboxLimits{})
		results <- err
	}()
	go func() { results <- s.write(ctx, "broken", func(*tx) error { return ErrDisk }) }()
	for len(s.writer.queue) < 2 {
		if ctx.Err() != nil {
			t.Fatal("writes are not queued")
		}
		runtime.Gosched()
	}
	close(block)
	must(t, <-first)
	for range 2 {
		want(t, <-results, ErrDisk)
	}
	n, _, err := s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "stored in the failed group", n, 0)
}

// TestPlans: queries that run often, or over mail that grows, use an index and scan nothing.
func TestPlans(t *testing.T) {
	s := openSQLite(t, t.TempDir())
	for _, query := range []string{
		selectNoticed, selectMail, selectExpired, selectAccount,
		`SELECT 1 FROM mails WHERE expires < ? LIMIT 1`,
		queryDropped,
		`DELETE FROM mails WHERE row = ? AND device = ?`,
		`SELECT id FROM devices WHERE account = ? AND revoked = 0`,
		`SELECT relation FROM contacts WHERE owner = ? AND peer = ?`,
		`SELECT message_id FROM requests WHERE sender = ? AND recipient = ?`,
		`SELECT row, account, device FROM revocations WHERE row > ? ORDER BY row LIMIT ?`,
		queryBlobUsage, querySmallPart,
		`SELECT taken FROM blobs WHERE id = ?`,
		`SELECT number, size FROM blob_parts WHERE blob = ? ORDER BY number LIMIT ?`,
		`SELECT id FROM blobs WHERE expires <= ? AND state <> 3 LIMIT ?`,
		`DELETE FROM prekeys WHERE device = ? AND expires > 0 AND expires <= ?`,
		`DELETE FROM request_devices WHERE sender = ? AND device IN (SELECT id FROM devices WHERE account = ? AND revoked = 0)`,
		`SELECT row, id, expires, public FROM prekeys WHERE device = ? AND kind = ? AND used = 0 ORDER BY row LIMIT 1`,
	} {
		must(t, s.write(t.Context(), "plan", func(tx *tx) error {
			return tx.list(`EXPLAIN QUERY PLAN `+query, make([]any, strings.Count(query, "?")), func(row scan) error {
				var id, parent, unused int
				var detail string
				err := row(&id, &parent, &unused, &detail)
				if strings.HasPrefix(detail, "SCAN") && detail != "SCAN CONSTANT ROW" || strings.Contains(detail, "TEMP B-TREE") {
					t.Errorf("%s: %s", query, detail)
				}
				return err
			})
		}))
	}
	// A query for one account's or one blob's rows could still walk over all of them; these use an
	// index that contains only the rows they look for.
	for query, index := range map[string]string{
		queryBlobUsage: "SEARCH blob_usage USING PRIMARY KEY (owner=?)",
		querySmallPart: "blob_parts_size (blob=? AND size<?)",
		`SELECT id FROM blobs WHERE expires <= ? AND state <> 3 LIMIT ?`:                                                        "blobs_due",
		`DELETE FROM prekeys WHERE device = ? AND expires > 0 AND expires <= ?`:                                                 "prekeys_expires (device=? AND expires>? AND expires<?)",
		`SELECT id FROM devices WHERE account = ? AND revoked = 0`:                                                              "devices_active",
		`SELECT count(*) FROM prekeys WHERE device = ? AND kind = ? AND used = 0`:                                               "prekeys_stock (device=? AND kind=? AND used=?)",
		`DELETE FROM request_devices WHERE sender = ? AND device IN (SELECT id FROM devices WHERE account = ? AND revoked = 0)`: "(sender=? AND device=?)",
	} {
		var plan []string
		must(t, s.write(t.Context(), "plan", func(tx *tx) error {
			return tx.list(`EXPLAIN QUERY PLAN `+query, make([]any, strings.Count(query, "?")), func(row scan) error {
				var id, parent, unused int
				var detail string
				err := row(&id, &parent, &unused, &detail)
				plan = append(plan, detail)
				return err
			})
		}))
		if !strings.Contains(strings.Join(plan, "; "), index) {
			t.Errorf("%s: plan %q without %s", query, plan, index)
		}
	}
	// The rows above a number are most of a table; only the index of notices is short.
	must(t, s.write(t.Context(), "plan", func(tx *tx) error {
		return tx.list(`EXPLAIN QUERY PLAN `+selectNoticed, []any{0, 0}, func(row scan) error {
			var id, parent, unused int
			var detail string
			err := row(&id, &parent, &unused, &detail)
			equal(t, "index", strings.Contains(detail, "mails_notice"), true)
			return err
		})
	}))
}

func TestErrorsNameTheOperation(t *testing.T) {
	err := mapError("do it", sql.ErrNoRows)
	want(t, err, ErrNotFound)
	equal(t, "text", err.Error(), "do it: not found")
	if mapError("x", nil) != nil || isDisk(errors.New("x")) {
		t.Fatal("invented error")
	}
}

// BenchmarkMailboxAppend appends envelopes of 1 KiB in groups, each group one durable commit.
func BenchmarkMailboxAppend(b *testing.B) {
	for _, group := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			s := openSQLite(b, b.TempDir())
			devices := make([]Device, 100)
			for i := range devices {
				name := fmt.Sprintf("user%d", i)
				h := hash(name)
				if err := s.CreateInvite(b.Context(), Invite{ID: name, TokenHash: h, Uses: 1, Expires: epoch().Add(1)}); err != nil {
					b.Fatal(err)
				}
				devices[i] = newDevice(name, "d")
				r := registration(h, name, devices[i])
				r.Now = epoch().Add(-1)
				if _, err := s.Register(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
			text := string(make([]byte, 1024))
			b.ResetTimer()
			for n := 0; n < b.N; n += group {
				mails := make([]*Mail, 0, group)
				for i := range group {
					mails = append(mails, mailTo(devices[i%len(devices)], byte(i), text))
				}
				if _, err := s.Append(context.Background(), mails, MailboxLimits{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
