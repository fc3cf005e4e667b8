package store

import (
	"context"
	"errors"
)

// groupsTwice is the value of groups with which every function passed to UpdateParts runs
// at least twice.
const groupsTwice = "twice"

// groups is empty in the released program. A function that may run twice, but rarely does,
// would hide its faults until a busy day. So tests set it: packages call GroupsTwice, and
// the programs that tests start are linked with
//
//	-ldflags "-X secmsg/daemon/store.groups=twice"
var groups string

// GroupsTwice makes all stores opened later by this process run every function of
// UpdateParts twice. Only TestMain may call it.
func GroupsTwice() { groups = groupsTwice }

// errRehearsed undoes the first of two runs.
var errRehearsed = errors.New("the first of two runs")

// UpdateParts is Update for a transaction with many parts (Tx.Sub) that rarely fail. In the
// first run no part can be undone alone, which saves SQLite a copy of every page that a
// part changes. If a part fails, the whole transaction is undone and fn runs again, with
// parts that can be undone. So fn sees the same rows each time, must not change anything
// outside of the transaction that it reads again, and must leave side effects to OnCommit
// (or undo them with OnUndo).
func (s *Store) UpdateParts(ctx context.Context, fn func(tx *Tx) error) error {
	if s.twice {
		if err := s.rehearse(ctx, fn); err != nil {
			return err
		}
	}
	again := false
	err := s.Update(ctx, func(tx *Tx) error {
		tx.whole = true
		err := fn(tx)
		if again = tx.failed; again && err == nil {
			err = ErrAgain
		}
		return err
	})
	if again {
		return s.Update(ctx, fn)
	}
	return err
}

// rehearse runs fn and undoes it, as if a neighbouring part had failed.
func (s *Store) rehearse(ctx context.Context, fn func(tx *Tx) error) error {
	failed := false
	err := s.Update(ctx, func(tx *Tx) error {
		tx.whole = true
		err := fn(tx)
		if failed = tx.failed; err == nil {
			err = errRehearsed
		}
		return err
	})
	if failed || errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}
