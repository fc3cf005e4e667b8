package store

import (
	"errors"
	"testing"
)

// Parts that fail are undone alone, as with Update, in a second run; without a
// failure there is one run. What was done outside of a failed run is not told.
func TestUpdateParts(t *testing.T) {
	s := openTest(t, testPath(t))
	bad := errors.New("bad")
	for name, part := range map[string]func(tx *Tx) error{
		"none":   nil,
		"error":  func(*Tx) error { return bad },
		"panic":  func(*Tx) error { panic("bad") },
		"nested": func(tx *Tx) error { return tx.Sub(func() error { return bad }) },
		"hidden": func(tx *Tx) error { _ = tx.Sub(func() error { return bad }); return bad },
	} {
		runs, told := 0, 0
		err := s.UpdateParts(t.Context(), func(tx *Tx) error {
			runs++
			tx.OnCommit(func() { told++ })
			put := func(n string, then func(tx *Tx) error) error {
				return tx.Sub(func() error {
					if err := tx.SetMeta(0, name+n, []byte(n)); err != nil || then == nil {
						return err
					}
					return then(tx)
				})
			}
			if err := put("1", nil); err != nil {
				return err
			}
			err := put("2", part)
			if errors.Is(err, ErrAgain) {
				return err
			}
			if (err != nil) != (part != nil) {
				t.Errorf("%s: part 2: %v", name, err)
			}
			return put("3", nil)
		})
		wantRuns := 1
		if part != nil {
			wantRuns = 2
		}
		if err != nil || runs != wantRuns || told != 1 {
			t.Errorf("%s: %v after %d runs, %d hooks", name, err, runs, told)
		}
		for n, want := range map[string]bool{"1": true, "2": part == nil, "3": true} {
			err := s.View(t.Context(), func(tx *Tx) error { _, err := tx.Meta(0, name+n); return err })
			if (err == nil) != want {
				t.Errorf("%s: part %s: %v", name, n, err)
			}
		}
	}
	// An error that is nobody's part undoes everything, once.
	runs := 0
	err := s.UpdateParts(t.Context(), func(tx *Tx) error {
		runs++
		if err := tx.SetMeta(0, "whole", []byte("x")); err != nil {
			return err
		}
		return bad
	})
	if !errors.Is(err, bad) || runs != 1 {
		t.Errorf("%v after %d runs", err, runs)
	}
	// A failure that fn swallows is not committed half.
	runs = 0
	err = s.UpdateParts(t.Context(), func(tx *Tx) error {
		runs++
		_ = tx.Sub(func() error {
			if err := tx.SetMeta(0, "swallowed", []byte("x")); err != nil {
				return err
			}
			return bad
		})
		return nil
	})
	if err != nil || runs != 2 {
		t.Errorf("%v after %d runs", err, runs)
	}
	err = s.View(t.Context(), func(tx *Tx) error { _, err := tx.Meta(0, "swallowed"); return err })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("a part that failed is kept: %v", err)
	}
}
