package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
)

// Errors that callers distinguish.
var (
	// ErrLocked: a sealed value was read or written without a Box.
	ErrLocked = errors.New("the profile is locked")
	// ErrNotFound: the row does not exist.
	ErrNotFound = errors.New("not found")
	// ErrTooNew: a later version of this program wrote the database. It was left unchanged.
	ErrTooNew = errors.New("the database belongs to a newer version of secmsg")
	// ErrCorrupt: SQLite finds the database damaged, or a sealed value does not
	// authenticate.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrDatabase comes with ErrCorrupt if SQLite finds the file damaged, and not just one
	// value in it.
	ErrDatabase = errors.New("SQLite cannot use the file")
	// ErrDiskFull: there is no space left. The transaction was undone.
	ErrDiskFull = errors.New("no space left where the profile lives")
	// ErrAgain: a part failed in a transaction of UpdateParts that cannot undo it alone.
	// The function returns, and runs once more.
	ErrAgain = errors.New("the transaction must run again")
	// ErrDisk: another read, write or fsync failed. The transaction was undone.
	ErrDisk = errors.New("the disk failed")
)

// SQLite's primary result codes (https://www.sqlite.org/rescode.html). The low byte of an
// extended code is its primary code.
const (
	sqlitePrimary  = 0xff
	sqliteReadOnly = 8
	sqliteIOErr    = 10
	sqliteCorrupt  = 11
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteNotADB   = 26
)

// mapError wraps an error of database/sql or SQLite with the sentinel for callers.
func mapError(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: %w", op, ErrDiskFull, err)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & sqlitePrimary {
		case sqliteFull:
			return fmt.Errorf("%s: %w: %w", op, ErrDiskFull, err)
		case sqliteIOErr, sqliteCantOpen, sqliteReadOnly:
			return fmt.Errorf("%s: %w: %w", op, ErrDisk, err)
		case sqliteCorrupt, sqliteNotADB:
			return fmt.Errorf("%s: %w: %w: %w", op, ErrCorrupt, ErrDatabase, err)
		}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// ValueError is a sealed value that does not authenticate: one damaged row. It wraps
// [ErrCorrupt], but the rest of the database is usable.
type ValueError struct {
	Table, Column string
	Err           error // the Box's error
}

// Error names the column but not the row, whose key may identify a peer.
func (e *ValueError) Error() string {
	return fmt.Sprintf("open %s.%s: %v: %v", e.Table, e.Column, ErrCorrupt, e.Err)
}

// Unwrap returns ErrCorrupt and the Box's error.
func (e *ValueError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }

// exceptValueError returns nil for a *ValueError, and any other err unchanged. Lists return
// a row that cannot be opened with a mark, so that the other rows are usable.
func exceptValueError(err error) error {
	if _, ok := errors.AsType[*ValueError](err); ok {
		return nil
	}
	return err
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// DamagedValue returns the ValueError in err, or nil.
func DamagedValue(err error) *ValueError {
	v, _ := errors.AsType[*ValueError](err)
	return v
}

// EndsTx reports whether an error concerns the whole store or transaction, so that nothing
// in the same transaction can be kept.
func EndsTx(err error) bool {
	return errors.Is(err, ErrAgain) || errors.Is(err, ErrDisk) || errors.Is(err, ErrDiskFull) || errors.Is(err, ErrDatabase)
}

// Failed reports whether an error concerns the store and not the present item, so that the
// next item would fail, too. A damaged value is not such an error.
func Failed(err error) bool {
	return EndsTx(err) || errors.Is(err, ErrLocked) || errors.Is(err, context.Canceled)
}
