package store

import (
	"errors"
	"os"
	"testing"
	"time"

	"secmsg/scripts/poll"
)

func walSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path + "-wal")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func write(t *testing.T, s *Store) {
	t.Helper()
	update(t, s, func(tx *Tx) error { _, err := tx.next("test"); return err })
}

// A reader that blocks a checkpoint is an error, so the WAL is truncated later.
func TestCheckpointTellsOfAReader(t *testing.T) {
	path := testPath(t)
	s := openTest(t, path)
	write(t, s)
	if _, err := s.conn.conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 10"); err != nil {
		t.Fatal(err)
	}
	err := s.View(t.Context(), func(tx *Tx) error {
		if _, err := tx.counter("test"); err != nil { // now it has its snapshot
			return err
		}
		write(t, s)
		if err := s.Checkpoint(t.Context()); !errors.Is(err, errBusy) {
			t.Errorf("checkpoint beside a reader: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if walSize(t, path) == 0 {
		t.Fatal("the reader was in nobody's way")
	}
	if err := s.Checkpoint(t.Context()); err != nil || walSize(t, path) != 0 {
		t.Errorf("checkpoint afterwards: %v, %d bytes", err, walSize(t, path))
	}
}

// A WAL left by a crash is truncated even if nothing is written afterwards.
func TestCrashedWALIsTruncated(t *testing.T) {
	path, crashed := testPath(t), testPath(t)
	s := openTest(t, path)
	write(t, s)
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(crashed+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if walSize(t, crashed) == 0 {
		t.Fatal("no WAL to leave")
	}
	c, err := Open(t.Context(), crashed, Options{Idle: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	poll.Until(t, "the WAL of a crash is still there", func() bool { return walSize(t, crashed) == 0 })
}

// A daemon that never rests truncates its WAL, too.
func TestBusyWALIsTruncated(t *testing.T) {
	path := testPath(t)
	s, err := Open(t.Context(), path, Options{Idle: 150 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	largest := int64(0)
	poll.Until(t, "the WAL grows for ever", func() bool {
		until := time.Now().Add(15 * time.Millisecond)
		for time.Now().Before(until) {
			write(t, s)
			size := walSize(t, path)
			if size < largest {
				return true // SQLite itself never shrinks it
			}
			largest = size
		}
		return false
	})
}
