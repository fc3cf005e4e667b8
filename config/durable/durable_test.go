package durable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	got, err := missing(deep + "/")
	if want := []string{filepath.Join(dir, "a"), filepath.Join(dir, "a", "b"), deep}; err != nil || !slices.Equal(got, want) {
		t.Errorf("missing: %q, %v; want %q", got, err, want)
	}
	if err := MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := missing(deep); err != nil || len(got) != 0 {
		t.Errorf("missing afterwards: %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(dir, "file", "x"), 0o700); err == nil {
		t.Error("a directory below a file")
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Rename(from, to); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	if err := SyncDir(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there was synced")
	}
}
