package lab

import (
	"encoding/json"
	"errors"
	"os"
	"syscall"
	"testing"

	"secmsg/rpc/local"
)

// A world of real processes: accounts, a message, a consumer, and every way to end a process. Nothing
// is left at the end.
func TestWorld(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs real processes")
	}
	ctx := t.Context()
	w, err := New(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			t.Log(w.Logs(2000))
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(w.Join(ctx, "alice"))
	check(w.Join(ctx, "bob"))
	check(w.Befriend(ctx, "alice", "bob"))
	check(w.WaitConnected(ctx, "alice"))
	if _, err := w.DaemonPID("nobody"); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("pid of a user without a profile: %v", err)
	}

	c, err := w.Consume("bob", "listen", "--type", "message", "--since", "0", "-o", "json")
	check(err)
	_, err = w.Must(ctx, "alice", "hello", "send", "bob", "--wait", "delivered")
	check(err)
	var e local.Event
	check(json.Unmarshal([]byte(<-c.Lines()), &e))
	if e.Message == nil || e.Message.Text != "hello" {
		t.Errorf("bob's consumer printed %+v", e)
	}
	c.Kill()
	for line := range c.Lines() {
		t.Errorf("one more line: %q", line)
	}

	pid, err := w.DaemonPID("bob")
	check(err)
	if cpu, err := CPU(pid); err != nil || cpu <= 0 {
		t.Errorf("the daemon used %v, %v", cpu, err)
	}
	if rss, err := RSS(pid); err != nil || rss < 1<<20 {
		t.Errorf("the daemon has %d bytes, %v", rss, err)
	}
	check(w.KillDaemon(ctx, "bob"))
	if _, err := w.DaemonPID("bob"); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("pid after the kill: %v", err)
	}
	w.KillServer()
	check(w.StartServer(ctx))
	_, err = w.SignalDaemon("alice", syscall.SIGSTOP) // Close must end it nevertheless
	check(err)
	if r, err := w.Run(ctx, "bob", "", "history", "alice", "-o", "json"); err != nil || r.Code != 0 || r.Stdout == "" {
		t.Errorf("bob's history after the kills: %+v, %v", r, err)
	}
	closed = true
	check(w.Close())
	if _, err := os.Stat(w.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	for _, user := range []string{"alice", "bob"} {
		if pid, err := w.DaemonPID(user); err == nil {
			t.Errorf("the daemon of %s lives, pid %d", user, pid)
		}
	}
}
