package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
)

// Errors that callers branch on. What is behind them is in the text.
var (
	// ErrLocked is a sealed value asked for or written while there is no Box.
	ErrLocked = errors.New("the profile is locked")
	// ErrNotFound is a row that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrTooNew is a database of a later version of this program; it was left unchanged.
	ErrTooNew = errors.New("the database belongs to a newer version of secmsg")
	// ErrCorrupt is a database that SQLite finds damaged, or a sealed value that does not authenticate.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrDatabase comes with ErrCorrupt when it is the file that SQLite finds
	// damaged, and not one value in it.
	ErrDatabase = errors.New("SQLite cannot use the file")
	// ErrDiskFull is a write that found no space; nothing of the transaction is kept.
	ErrDiskFull = errors.New("no space left where the profile lives")
	// ErrAgain is a part that failed in a transaction of UpdateParts that cannot
	// undo it alone; the caller gives up, and all is tried once more.
	ErrAgain = errors.New("the transaction is tried again")
	// ErrDisk is another failed read, write or fsync; nothing of the transaction is kept.
	ErrDisk = errors.New("the disk failed")
)

// Primary result codes of SQLite (https://www.sqlite.org/rescode.html). The
// low byte of an extended code is its primary code.
const (
	sqlitePrimary  = 0xff
	sqliteReadOnly = 8
	sqliteIOErr    = 10
	sqliteCorrupt  = 11
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteNotADB   = 26
)

// mapError gives an error of database/sql or SQLite the sentinel a caller branches on.
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

// ValueError is a sealed value that does not authenticate: one damaged row. It
// is an [ErrCorrupt]; everything else in the database can be used.
type ValueError struct {
	Table, Column string
	Err           error // of the Box
}

// Error names the column and not the row, whose key may name a peer.
func (e *ValueError) Error() string {
	return fmt.Sprintf("open %s.%s: %v: %v", e.Table, e.Column, ErrCorrupt, e.Err)
}

// Unwrap returns ErrCorrupt and what the Box said.
func (e *ValueError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }

// spoiled returns nil if err is about one value, else err: lists keep the rows
// that they cannot open, marked, for the sake of the others.
func spoiled(err error) error {
	if _, ok := errors.AsType[*ValueError](err); ok {
		return nil
	}
	return err
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// DamagedValue returns the one value whose damage err is about, or nil if err has
// another cause.
func DamagedValue(err error) *ValueError {
	v, _ := errors.AsType[*ValueError](err)
	return v
}

// EndsTx reports whether an error concerns the whole store or transaction, so that
// nothing else of the same transaction can be kept.
func EndsTx(err error) bool {
	return errors.Is(err, ErrAgain) || errors.Is(err, ErrDisk) || errors.Is(err, ErrDiskFull) || errors.Is(err, ErrDatabase)
}

// Failed reports whether an error concerns the store and not the item at hand, so
// that the next item would fail, too. The damage of a single value is no such error.
func Failed(err error) bool {
	return EndsTx(err) || errors.Is(err, ErrLocked) || errors.Is(err, context.Canceled)
}
