package store

import (
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// primaryCode masks the extended part of an SQLite result code (sqlite.org/rescode.html).
const primaryCode = 0xff

// mapError adds the operation, and maps driver errors to the sentinels that callers branch on.
func mapError(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	case isCorrupt(err) && !errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%s: %w: %w: %w", op, ErrDisk, ErrCorrupt, err)
	case isDisk(err) && !errors.Is(err, ErrDisk):
		return fmt.Errorf("%s: %w: %w", op, ErrDisk, err)
	default:
		return fmt.Errorf("%s: %w", op, err)
	}
}

// isCorrupt reports whether err means that the database itself is damaged.
func isCorrupt(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	code := e.Code() & primaryCode
	return code == sqlitelib.SQLITE_CORRUPT || code == sqlitelib.SQLITE_NOTADB
}

// isDisk reports whether err means that the storage failed, so that nothing of the running transaction
// is durable.
func isDisk(err error) bool {
	if errors.Is(err, ErrDisk) {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & primaryCode {
	case sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_READONLY,
		sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB,
		sqlitelib.SQLITE_PROTOCOL:
		return true
	}
	return false
}
