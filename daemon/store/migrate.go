package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

// Migrations are append-only: a released file never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate updates the schema. Each step and its version are one transaction, so a kill
// leaves either the old or the new schema.
func migrate(ctx context.Context, db *sql.DB) error {
	p, err := provider(db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// Closing the provider would close db.
	applied, err := p.Up(ctx)
	if err != nil {
		return mapError("migrate", err)
	}
	if len(applied) > 0 {
		dropParserBuffer()
	}
	return nil
}

// dropParserBuffer frees the 16 MiB buffer that goose's SQL parser keeps in a sync.Pool.
// Until it is freed, the garbage collector lets the heap of an idle daemon grow to twice
// its size. A pool releases its contents at the second collection.
func dropParserBuffer() {
	runtime.GC()
	debug.FreeOSMemory()
}

func provider(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, dir)
}

// newest returns the version of this program's last migration.
func newest() (int64, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, fmt.Errorf("list migrations: %w", err)
	}
	var max int64
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		v, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("migration %s: %w", name, err)
		}
		if v > max {
			max = v
		}
	}
	return max, nil
}

// checkVersion rejects a database of a newer version. It uses a read-only connection,
// before anything else opens the file.
func checkVersion(ctx context.Context, path string) (err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return mapError("open database", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "ro"))
	if err != nil {
		return mapError("open database", err)
	}
	defer func() { err = errors.Join(err, mapError("open database", db.Close())) }()
	var table string
	row := db.QueryRowContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'goose_db_version'`)
	if err := row.Scan(&table); errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return mapError("read schema version", err)
	}
	var have sql.NullInt64
	if err := db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&have); err != nil {
		return mapError("read schema version", err)
	}
	want, err := newest()
	if err != nil {
		return err
	}
	if have.Int64 > want {
		return fmt.Errorf("schema version %d, this program knows %d: %w", have.Int64, want, ErrTooNew)
	}
	return nil
}

// quickCheck detects damaged pages before they cause harm.
func quickCheck(ctx context.Context, db *sql.DB) error {
	var result string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&result); err != nil {
		return mapError("check database", err)
	}
	if result != "ok" {
		return fmt.Errorf("check database: %s: %w", result, ErrCorrupt)
	}
	return nil
}
