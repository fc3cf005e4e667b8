//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// diskSize is the disk size of the profile or server, in bytes.
const diskSize = 24 << 20

// smallDisk mounts a small file system on a directory, or skips the test with the reason.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", diskSize))
	if err != nil {
		t.Skipf("SKIPPED: a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill uses up all space in a directory and returns the file that occupies it.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// Row 8 at the client: new work is refused with a clear error, messages with an id stay, and work
// resumes without a restart when there is space again.
func TestFault08FullDiskAtTheClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	smallDisk(t, filepath.Join(dir, "home-alice"))
	r := newRig(t, options{dir: dir})
	r.connected("alice", "bob")
	r.w.KillServer()
	r.send("alice", "bob", "before", "--wait", "queued")
	filler := fill(t, r.w.Home("alice"))
	refused := 0
	for i := 0; i < 40 && refused < 3; i++ { // the WAL may have room for a few
		res := r.try("alice", "bob", fmt.Sprintf("full %d %s", i, strings.Repeat("x", 30_000)), "--wait", "queued")
		if res.Code == 0 {
			continue
		}
		refused++
		if res.Code != 3 || !strings.Contains(res.Stdout+res.Stderr, `"disk_full"`) {
			t.Errorf("send on a full disk: exit %d, want 3 and disk_full\n%s%s", res.Code, res.Stdout, res.Stderr)
		}
	}
	if refused == 0 {
		t.Error("no send failed on a full disk")
	}
	pid, err := r.w.DaemonPID("alice")
	r.check(err)
	r.history("alice", "bob") // reading still works
	r.check(os.Remove(filler))
	r.send("alice", "bob", "after", "--wait", "queued")
	if now, err := r.w.DaemonPID("alice"); err != nil || now != pid {
		t.Errorf("the daemon is %d (%v), and was %d", now, err, pid)
	}
	r.check(r.w.StartServer(t.Context()))

	// A full disk while receiving: nothing is acknowledged that is not stored.
	r.until("bob", "alice", `"after"`)
	filler = fill(t, r.w.Home("alice"))
	for i := range 8 {
		r.send("bob", "alice", fmt.Sprintf("to a full disk %d %s", i, strings.Repeat("y", 30_000)), "--wait", "queued")
	}
	r.eventually("the server has all", func() bool { return r.account("bob").Outbox == 0 })
	r.check(os.Remove(filler))
	r.settle()
	r.noPanic()
}

// Row 8 at the server: it refuses, loses nothing that it accepted, and accepts the rest when there is
// space again.
func TestFault08FullDiskAtTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	smallDisk(t, filepath.Join(dir, "server"))
	r := newRig(t, options{dir: dir})
	r.connected("alice", "bob")
	r.stop("bob")
	r.send("alice", "bob", "before", "--wait", "server", "--timeout", patience)
	filler := fill(t, r.w.ServerDir())
	const messages = 12
	for i := range messages {
		r.send("alice", "bob", fmt.Sprintf("full %d %s", i, strings.Repeat("x", 60_000)), "--wait", "queued")
	}
	res := r.try("alice", "bob", "last", "--wait", "server", "--timeout", "2s")
	if res.Code == 0 {
		t.Errorf("a server with a full disk accepted everything")
	}
	if n := r.account("alice").Outbox; n == 0 {
		t.Error("the outbox is empty")
	}
	pid := r.w.Server().PID()
	r.check(os.Remove(filler))
	r.eventually("the server takes the rest", func() bool { return r.account("alice").Outbox == 0 })
	if r.w.Server().PID() != pid {
		t.Error("the server was restarted")
	}
	select {
	case <-r.w.Server().Done():
		t.Error("the server ended")
	default:
	}
	r.restartServer() // everything that it accepted is on the disk
	r.start("bob")
	r.settle()
	r.noPanic()
}
