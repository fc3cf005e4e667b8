package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Tx is a transaction. It is valid only inside the function it was passed to.
type Tx struct {
	ctx      context.Context
	now      func() time.Time // profile time
	q        *handle
	box      Box // nil: locked
	writable bool
	whole    bool // parts cannot be undone alone; see UpdateParts
	failed   bool // a part has failed while whole is set: must not be committed
	known    *known
	epoch    uint64 // epoch of known when box was read
	hooks    []func()
	undos    []func()
	depth    int // of nested Sub calls
	counters []counter
	sessions []sessionSet
	memo     memo
}

// OnCommit runs fn after the commit, in the order of the calls and of the commits. fn must
// be quick and must not use the store.
func (tx *Tx) OnCommit(fn func()) { tx.hooks = append(tx.hooks, fn) }

// OnUndo runs fn if the current part of the transaction, or all of it, is undone. It
// reverts a change that had to be made immediately, such as a count that the rest of the
// transaction must see. Functions run in reverse order. fn must be quick and must not use
// the store.
func (tx *Tx) OnUndo(fn func()) { tx.undos = append(tx.undos, fn) }

// undone runs the functions of OnUndo from index from on.
func (tx *Tx) undone(from int) {
	for _, fn := range slices.Backward(tx.undos[from:]) {
		fn()
	}
	clear(tx.undos[from:])
	tx.undos = tx.undos[:from]
}

// keep runs fn when the read data is known to be committed: immediately in a snapshot, else
// after the commit.
func (tx *Tx) keep(fn func()) {
	if tx.writable {
		tx.OnCommit(fn)
		return
	}
	fn()
}

// unlocked reports whether cached values of sealed columns may be returned: there was a Box
// when the transaction began, and the profile was not locked since then.
func (tx *Tx) unlocked() bool { return tx.box != nil && tx.known.now() == tx.epoch }

// ProfileTime returns the time for lifetimes; see Store.ProfileTime.
func (tx *Tx) ProfileTime() time.Time { return tx.now() }

// Locked reports whether sealed columns are inaccessible.
func (tx *Tx) Locked() bool { return tx.box == nil }

// PanicError is a panic of a function run by Sub.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Sub runs fn as a part of the transaction. If fn fails or panics, only this part is
// undone, so one bad item does not affect others. A panic is returned as a *PanicError. In
// the first run of UpdateParts the error is ErrAgain.
func (tx *Tx) Sub(fn func() error) (err error) {
	if tx.whole {
		return tx.part(fn)
	}
	name := fmt.Sprintf("s%d", tx.depth)
	if err := tx.exec("SAVEPOINT " + name); err != nil {
		return err
	}
	tx.depth++
	hooks, undos, counters, sessions := len(tx.hooks), len(tx.undos), slices.Clone(tx.counters), slices.Clone(tx.sessions)
	defer func() {
		tx.depth--
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		if err == nil {
			err = tx.exec("RELEASE " + name)
			return
		}
		tx.undone(undos)
		clear(tx.hooks[hooks:])
		tx.hooks, tx.counters, tx.sessions, tx.memo = tx.hooks[:hooks], counters, sessions, memo{}
		if e := tx.exec("ROLLBACK TO " + name); e != nil {
			err = errors.Join(err, e)
			return
		}
		if e := tx.exec("RELEASE " + name); e != nil {
			err = errors.Join(err, e)
		}
	}()
	return fn()
}

// part is Sub in a transaction whose parts cannot be undone alone.
func (tx *Tx) part(fn func() error) (err error) {
	tx.depth++
	defer func() {
		tx.depth--
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		if err != nil && !errors.Is(err, ErrAgain) {
			tx.failed = true
			err = fmt.Errorf("%w: %w", ErrAgain, err)
		}
	}()
	return fn()
}

// exec runs a statement.
func (tx *Tx) exec(query string, args ...any) error {
	_, err := tx.q.exec(tx.ctx, query, args...)
	return mapError(verb(query), err)
}

// execN runs a statement and returns the number of changed rows.
func (tx *Tx) execN(query string, args ...any) (int64, error) {
	res, err := tx.q.exec(tx.ctx, query, args...)
	if err != nil {
		return 0, mapError(verb(query), err)
	}
	n, err := res.RowsAffected()
	return n, mapError(verb(query), err)
}

// get scans the single row of a query. It fails with ErrNotFound if there is none.
func (tx *Tx) get(query string, args []any, dest ...any) error {
	return mapError(verb(query), tx.q.row(tx.ctx, query, args, dest...))
}

// each calls fn for every row. fn must not run statements, because the connection is busy:
// collect the rows first.
func (tx *Tx) each(query string, args []any, fn func(scan func(dest ...any) error) error) error {
	rows, err := tx.q.query(tx.ctx, query, args...)
	if err != nil {
		return mapError(verb(query), err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return mapError(verb(query), err)
		}
	}
	return mapError(verb(query), rows.Err())
}

// verb returns the start of a statement, to identify it in an error.
func verb(query string) string {
	const length = 40
	if len(query) > length {
		query = query[:length]
	}
	return "sql " + query
}

// seal seals a value for its place.
func (tx *Tx) seal(table, column, row string, plaintext []byte) ([]byte, error) {
	if tx.box == nil {
		return nil, fmt.Errorf("seal %s.%s: %w", table, column, ErrLocked)
	}
	b, err := tx.box.Seal(table, column, row, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s: %w", table, column, err)
	}
	return b, nil
}

// open opens a value from its place. It fails with a *ValueError if the value does not
// authenticate.
func (tx *Tx) open(table, column, row string, sealed []byte) ([]byte, error) {
	if tx.box == nil {
		return nil, fmt.Errorf("open %s.%s: %w", table, column, ErrLocked)
	}
	b, err := tx.box.Open(table, column, row, sealed)
	if errors.Is(err, ErrLocked) { // locked meanwhile
		return nil, fmt.Errorf("open %s.%s: %w", table, column, err)
	}
	if err != nil {
		return nil, &ValueError{Table: table, Column: column, Err: err}
	}
	return b, nil
}

// tag returns the keyed hash of a sealed value, for an index.
func (tx *Tx) tag(domain string, b []byte) ([]byte, error) {
	if tx.box == nil {
		return nil, fmt.Errorf("tag %s: %w", domain, ErrLocked)
	}
	tag := tx.box.Tag(domain, b)
	if tag == nil { // locked meanwhile
		return nil, fmt.Errorf("tag %s: %w", domain, ErrLocked)
	}
	return tag, nil
}
