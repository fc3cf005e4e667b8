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
	box      Box // nil while locked
	writable bool
	whole    bool // parts are not undone alone; see UpdateParts
	failed   bool // a part of a whole one failed: it must not be committed
	known    *known
	epoch    uint64 // of known, when box was looked at
	hooks    []func()
	undos    []func()
	depth    int // of nested Sub calls
	counters []counter
	sessions []sessionSet
	memo     memo
}

// OnCommit runs fn after the transaction committed, in the order of the calls
// and of the commits. fn must be quick and must not use the store.
func (tx *Tx) OnCommit(fn func()) { tx.hooks = append(tx.hooks, fn) }

// OnUndo runs fn when what was done since is undone: the part of the transaction
// that called it, or all of it. It takes back what had to change at once, such as
// a count that the rest of the same transaction must see. What is undone later
// was done earlier. fn must be quick and must not use the store.
func (tx *Tx) OnUndo(fn func()) { tx.undos = append(tx.undos, fn) }

// undone runs what OnUndo was given since there were from of them.
func (tx *Tx) undone(from int) {
	for _, fn := range slices.Backward(tx.undos[from:]) {
		fn()
	}
	clear(tx.undos[from:])
	tx.undos = tx.undos[:from]
}

// keep runs fn when what was read is sure to be committed: at once in a
// snapshot, else after the commit.
func (tx *Tx) keep(fn func()) {
	if tx.writable {
		tx.OnCommit(fn)
		return
	}
	fn()
}

// unlocked reports whether what is remembered of sealed values may be told:
// there was a key when the transaction began, and it was not taken since.
func (tx *Tx) unlocked() bool { return tx.box != nil && tx.known.now() == tx.epoch }

// ProfileTime is the clock of lifetimes; see Store.ProfileTime.
func (tx *Tx) ProfileTime() time.Time { return tx.now() }

// Locked reports whether sealed columns cannot be used.
func (tx *Tx) Locked() bool { return tx.box == nil }

// PanicError is a panic of a function that Sub ran.
type PanicError struct {
	Value any
	Stack []byte
}

// Error names the value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Sub runs fn as a part of the transaction that is undone alone when fn
// returns an error or panics; a panic is returned as a *PanicError, so that
// one bad item does not take the others with it. In the first try of
// UpdateParts the error is ErrAgain.
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

// part is Sub in a transaction that is undone whole.
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

// execN runs a statement and returns how many rows it changed.
func (tx *Tx) execN(query string, args ...any) (int64, error) {
	res, err := tx.q.exec(tx.ctx, query, args...)
	if err != nil {
		return 0, mapError(verb(query), err)
	}
	n, err := res.RowsAffected()
	return n, mapError(verb(query), err)
}

// get scans the one row of a query; no row is ErrNotFound.
func (tx *Tx) get(query string, args []any, dest ...any) error {
	return mapError(verb(query), tx.q.row(tx.ctx, query, args, dest...))
}

// each calls fn for every row. fn must not run statements, since the
// connection is busy: collect first.
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

// verb is the start of a statement, enough to find it in an error's text.
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

// open opens a value of its place. A value that does not authenticate is a *ValueError.
func (tx *Tx) open(table, column, row string, sealed []byte) ([]byte, error) {
	if tx.box == nil {
		return nil, fmt.Errorf("open %s.%s: %w", table, column, ErrLocked)
	}
	b, err := tx.box.Open(table, column, row, sealed)
	if errors.Is(err, ErrLocked) { // meanwhile
		return nil, fmt.Errorf("open %s.%s: %w", table, column, err)
	}
	if err != nil {
		return nil, &ValueError{Table: table, Column: column, Err: err}
	}
	return b, nil
}

// tag is the keyed hash of a sealed value, for an index.
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
