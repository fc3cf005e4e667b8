package store

import (
	"errors"
	"strings"
	"testing"
)

// Parts that fail are undone alone in a second run, as with Update. Without a failure there
// is one run. Hooks of the failed run are not called.
func TestUpdateParts(t *testing.T) {
	s := openTest(t, testPath(t))
	s.twice = false
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
	// An error outside of a part undoes everything, once.
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
	// A failed part whose error fn ignores is not half committed.
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

// With the switch that tests set, every group runs once and is undone before the real run,
// and only the results of the last run are kept. A group that fails as a whole fails
// immediately.
func TestGroupsTwice(t *testing.T) {
	s := openTest(t, testPath(t))
	if !s.twice {
		t.Fatal("the switch is not set in tests")
	}
	bad := errors.New("bad")
	for name, c := range map[string]struct {
		part  error
		group error
		runs  int
	}{
		"good":       {runs: 2},
		"bad part":   {part: bad, runs: 3},
		"bad group":  {group: bad, runs: 1},
		"bad in all": {part: bad, group: bad, runs: 3},
	} {
		runs, told, counted := 0, 0, 0
		err := s.UpdateParts(t.Context(), func(tx *Tx) error {
			runs++
			tx.OnCommit(func() { told++ })
			counted++
			tx.OnUndo(func() { counted-- })
			if err := tx.SetMeta(0, name, []byte{byte(runs)}); err != nil {
				return err
			}
			if err := tx.Sub(func() error { return c.part }); errors.Is(err, ErrAgain) {
				return err
			}
			return c.group
		})
		want := 1
		if c.group != nil {
			want = 0
		}
		if !errors.Is(err, c.group) || runs != c.runs || told != want || counted != want {
			t.Errorf("%s: %v after %d runs, %d hooks, %d counted", name, err, runs, told, counted)
		}
		err = s.View(t.Context(), func(tx *Tx) error {
			b, err := tx.Meta(0, name)
			if err == nil && int(b[0]) != c.runs {
				t.Errorf("%s: the row is of run %d", name, b[0])
			}
			return err
		})
		if (err == nil) != (c.group == nil) {
			t.Errorf("%s: the row: %v", name, err)
		}
	}
}

// A count made immediately is reverted with the part that made it, in reverse order, and
// also if the commit fails.
func TestOnUndo(t *testing.T) {
	s := openTest(t, testPath(t))
	s.twice = false
	bad := errors.New("bad")
	var undone []string
	note := func(tx *Tx, what string) { tx.OnUndo(func() { undone = append(undone, what) }) }
	err := s.Update(t.Context(), func(tx *Tx) error {
		note(tx, "kept")
		err := tx.Sub(func() error {
			note(tx, "1")
			if err := tx.Sub(func() error { note(tx, "inner"); return nil }); err != nil {
				return err
			}
			note(tx, "2")
			return bad
		})
		if !errors.Is(err, bad) {
			t.Errorf("part: %v", err)
		}
		return nil
	})
	if got := strings.Join(undone, " "); err != nil || got != "2 inner 1" {
		t.Errorf("%v, undone %q", err, got)
	}
	undone = nil
	err = s.Update(t.Context(), func(tx *Tx) error {
		note(tx, "all")
		return tx.exec(`COMMIT`) // makes Update's own COMMIT fail
	})
	if err == nil || len(undone) != 1 {
		t.Errorf("a commit that failed: %v, undone %q", err, undone)
	}
	undone = nil
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(t.Context(), func(tx *Tx) error { note(tx, "panic"); panic("bad") })
	}()
	if len(undone) != 1 {
		t.Errorf("after a panic: undone %q", undone)
	}
}
