package store

import (
	"context"
	"errors"
)

// groupsTwice is the value of groups under which every function that is given
// to UpdateParts runs at least twice.
const groupsTwice = "twice"

// groups is empty in the program that is shipped. Tests set it, because a function
// that must bear being run twice, and seldom is, would hide its faults until a
// busy day: packages call GroupsTwice, and the programs that tests start are linked with
//
//	-ldflags "-X secmsg/daemon/store.groups=twice"
var groups string

// GroupsTwice makes the stores that this process opens from now on run every
// function of UpdateParts twice. Only TestMain may call it.
func GroupsTwice() { groups = groupsTwice }

// errRehearsed undoes the first run of a function that has to run twice.
var errRehearsed = errors.New("the first of two runs")

// UpdateParts is Update for a transaction of many parts (Tx.Sub) that seldom
// fail. At first no part can be undone alone, which saves SQLite a copy of every
// page that a part changes. If one fails all the same, everything is undone and
// fn runs once more, with parts that can be undone. So fn starts from the same
// rows each time, must not change anything outside the transaction that it reads
// again, and leaves its effects to OnCommit (or counts with OnUndo).
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

// rehearse runs fn and undoes it, as if one of its neighbours had failed.
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
