package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	GroupsTwice()
	goleak.VerifyTestMain(m)
}

// testBox marks sealed values with their place, to detect values in the wrong place or in
// clear.
type testBox struct{}

func (testBox) Seal(table, column, row string, p []byte) ([]byte, error) {
	return append(testBox{}.Tag(table+column+row, nil), flip(p)...), nil
}

func (testBox) Open(table, column, row string, s []byte) ([]byte, error) {
	if len(s) < 32 || !hmac.Equal(s[:32], testBox{}.Tag(table+column+row, nil)) {
		return nil, errors.New("wrong place")
	}
	return flip(s[32:]), nil
}

func (testBox) Tag(domain string, b []byte) []byte {
	m := hmac.New(sha256.New, []byte(domain))
	m.Write(b)
	return m.Sum(nil)
}

func flip(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

func openTest(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.SetBox(testBox{})
	return s
}

func testPath(t *testing.T) string { return filepath.Join(t.TempDir(), "a b#?%.db") }

func update(t *testing.T, s *Store, fn func(tx *Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestPeerSurvivesReopenAndStandsSealed(t *testing.T) {
	path := testPath(t)
	s := openTest(t, path)
	var id PeerID
	update(t, s, func(tx *Tx) (err error) {
		id, err = tx.Peer(1, "bob@chat.example.com")
		return err
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("permissions %v", info.Mode())
	}
	if containsText(b, "bob@chat") {
		t.Error("the address stands in clear")
	}
	s = openTest(t, path)
	err = s.View(t.Context(), func(tx *Tx) error {
		again, err := tx.FindPeer(1, "bob@chat.example.com")
		if err != nil || again != id {
			t.Errorf("FindPeer = %d, %v, want %d", again, err, id)
		}
		if _, err := tx.FindPeer(2, "bob@chat.example.com"); !errors.Is(err, ErrNotFound) {
			t.Errorf("peer of another account: %v", err)
		}
		a, err := tx.PeerAddress(id)
		if a != "bob@chat.example.com" {
			t.Errorf("address %q", a)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.SetBox(nil)
	err = s.View(t.Context(), func(tx *Tx) error { _, err := tx.PeerAddress(id); return err })
	if !errors.Is(err, ErrLocked) {
		t.Errorf("locked: %v", err)
	}
}

func containsText(b []byte, text string) bool {
	for i := 0; i+len(text) <= len(b); i++ {
		if string(b[i:i+len(text)]) == text {
			return true
		}
	}
	return false
}

func TestUpdateUndoesOnErrorAndPanic(t *testing.T) {
	s := openTest(t, testPath(t))
	fail := errors.New("no")
	hooked := false
	err := s.Update(t.Context(), func(tx *Tx) error {
		tx.OnCommit(func() { hooked = true })
		if _, err := tx.Peer(1, "a@b"); err != nil {
			return err
		}
		return fail
	})
	if !errors.Is(err, fail) || hooked {
		t.Fatalf("err %v, hook ran %v", err, hooked)
	}
	func() {
		defer func() { recover() }()
		_ = s.Update(t.Context(), func(tx *Tx) error {
			if _, err := tx.Peer(1, "a@b"); err != nil {
				return err
			}
			panic("decoder")
		})
	}()
	err = s.View(t.Context(), func(tx *Tx) error { _, err := tx.FindPeer(1, "a@b"); return err })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("kept after panic: %v", err)
	}
	update(t, s, func(tx *Tx) error { tx.OnCommit(func() { hooked = true }); return nil })
	if !hooked {
		t.Error("hook did not run after the commit")
	}
}

func TestSubIsolatesPanic(t *testing.T) {
	s := openTest(t, testPath(t))
	var order []string
	update(t, s, func(tx *Tx) error {
		tx.OnCommit(func() { order = append(order, "outer") })
		err := tx.Sub(func() error {
			tx.OnCommit(func() { order = append(order, "lost") })
			if _, err := tx.Peer(1, "lost@b"); err != nil {
				return err
			}
			panic("decoder")
		})
		if p, ok := errors.AsType[*PanicError](err); !ok || p.Value != "decoder" {
			t.Errorf("Sub = %v", err)
		}
		return tx.Sub(func() error {
			_, err := tx.Peer(1, "kept@b")
			tx.OnCommit(func() { order = append(order, "inner") })
			return err
		})
	})
	if len(order) != 2 || order[0] != "outer" || order[1] != "inner" {
		t.Errorf("hooks %v", order)
	}
	err := s.View(t.Context(), func(tx *Tx) error {
		if _, err := tx.FindPeer(1, "lost@b"); !errors.Is(err, ErrNotFound) {
			t.Errorf("lost: %v", err)
		}
		_, err := tx.FindPeer(1, "kept@b")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestViewCannotWrite(t *testing.T) {
	s := openTest(t, testPath(t))
	if err := s.View(t.Context(), func(tx *Tx) error { _, err := tx.Peer(1, "a@b"); return err }); err == nil {
		t.Error("a view wrote")
	}
}

func TestNewerSchemaIsRefusedAndUnchanged(t *testing.T) {
	path := testPath(t)
	s := openTest(t, path)
	update(t, s, func(tx *Tx) error {
		return tx.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`)
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrTooNew) {
		t.Fatalf("Open = %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the file changed")
	}
}

func TestDamagedPageIsFoundAndSetAside(t *testing.T) {
	path := testPath(t)
	s := openTest(t, path)
	update(t, s, func(tx *Tx) error {
		for i := range 500 {
			if _, err := tx.Peer(AccountID(i), "someone@chat.example.com"); err != nil {
				return err
			}
		}
		return nil
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for i := 3 * page; i < len(b)-page; i++ {
		b[i] = 0xa5
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Open = %v", err)
	}
	to, err := SetAside(path, time.Unix(1700000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(to); err != nil || string(kept) != string(b) {
		t.Errorf("set aside: %v", err)
	}
	openTest(t, path)
}

func TestCancelledContextBeginsNothing(t *testing.T) {
	s := openTest(t, testPath(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, func(tx *Tx) error { t.Error("ran"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// copyFile copies a file without its last cut bytes.
func copyFile(t *testing.T, from, to string, cut int) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b[:max(len(b)-cut, 0)], 0o600); err != nil {
		t.Fatal(err)
	}
}
