//go:build unix

package local

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// The lock file contains only the pid, so that a script may use kill $(cat daemon.lock). The state is
// in a separate file, and the state written by an earlier daemon is ignored.
func TestLockFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.lock")
	if err := os.WriteFile(path, []byte("99999999 running, longer than the pid\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stateFile(path), []byte("99999999 running\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := TakeLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	own := strconv.Itoa(os.Getpid())
	holder := func() (int, string) {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return readHolder(f)
	}
	for _, state := range []string{HolderStarting, HolderRunning, HolderStopping} {
		if err := l.SetState(state); err != nil {
			t.Fatal(err)
		}
		if pid, got := holder(); pid != os.Getpid() || got != state {
			t.Errorf("holder %d %q, want %s", pid, got, state)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != own+"\n" {
			t.Errorf("lock file %q, %v", b, err)
		}
	}
	for _, foreign := range []string{"99999999 running\n", "", own, own + "x running\n"} {
		if err := os.WriteFile(stateFile(path), []byte(foreign), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid, got := holder(); pid != os.Getpid() || got == HolderRunning {
			t.Errorf("state file %q: holder %d %q", foreign, pid, got)
		}
	}
}

// A daemon whose profile was moved away does not write the state of the daemon that took its place.
func TestStateOfALostLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.lock")
	l, err := TakeLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := TakeLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Release()
	if err := next.SetState(HolderRunning); err != nil {
		t.Fatal(err)
	}
	if err := l.SetState(HolderStopping); err != nil {
		t.Fatal(err)
	}
	if h := ReadHolder(path); h.State != HolderRunning {
		t.Errorf("%+v", h)
	}
}
