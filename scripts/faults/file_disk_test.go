//go:build linux

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bigger is the size of a file that does not fit on the small disk, in bytes.
const bigger = 2 * diskSize

// Row 8 for files, at the recipient: exit 3 and disk_full, no visible partial file, and the same
// command succeeds once there is space.
func TestFault08FullDiskWhileFetching(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "small")
	smallDisk(t, dir)
	r := newRig(t, options{})
	r.connected("alice", "bob")
	source := filepath.Join(t.TempDir(), "source")
	want := content(t, source, diskSize-4<<20, 1)
	id := r.sendFile(source)
	filler := fill(t, dir)
	res := r.getFile(id, filepath.Join(dir, "file"), "-o", "json")
	if res.Code != 3 || !strings.Contains(res.Stderr, `"disk_full"`) {
		t.Errorf("exit %d, want 3 and disk_full\n%s", res.Code, res.Stderr)
	}
	r.check(os.Remove(filler))
	nothingIn(t, dir)
	r.wantFile(id, filepath.Join(dir, "file"), want)
	r.noPanic()
}

// Row 8 for files, at the sender: a file that does not fit into the spool is refused with disk_full, or
// waits in parts that fit; messages continue, and the file is sent once there is space.
func TestFault08FullDiskWhileSending(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	smallDisk(t, filepath.Join(dir, "home-alice"))
	r := newRig(t, options{dir: dir})
	r.connected("alice", "bob")
	source := filepath.Join(t.TempDir(), "source")
	want := content(t, source, bigger, 2)
	// Without the server nothing leaves the spool, which cannot hold the whole file.
	r.w.KillServer()
	filler := fill(t, r.w.Home("alice"))
	res := r.run("alice", "", "file", "send", "bob", source, "--wait", "queued", "-o", "json", "--timeout", "20s")
	if res.Code != 3 || !strings.Contains(res.Stderr+res.Stdout, `"disk_full"`) {
		t.Errorf("exit %d, want 3 and disk_full\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	r.check(os.Remove(filler))
	r.check(r.w.StartServer(t.Context()))
	r.connected("alice")
	r.send("alice", "bob", "after", "--wait", "delivered", "--timeout", "20s")
	r.run("alice", "", "file", "gc")
	id := r.sendFile(source)
	to := filepath.Join(t.TempDir(), "file")
	r.wantFile(id, to, want)
	r.noPanic()
}

// Row 8 for files, at the server: the sender gets an error or waits, stored parts stay, messages
// continue, and the file is sent once there is space.
func TestFault08FullDiskAtTheServerWhileSending(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	smallDisk(t, filepath.Join(dir, "server"))
	r := newRig(t, options{dir: dir})
	r.connected("alice", "bob")
	files := t.TempDir()
	first, second := filepath.Join(files, "first"), filepath.Join(files, "second")
	wantFirst := content(t, first, 4<<20, 3)
	wantSecond := content(t, second, 8<<20, 4)
	firstID := r.sendFile(first)
	filler := fill(t, r.w.ServerDir())
	res := r.run("alice", "", "file", "send", "bob", second, "-o", "json", "--timeout", "3s")
	if res.Code != 3 && res.Code != 5 && res.Code != 8 {
		t.Errorf("exit %d, want 3, 5 or 8\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if res := r.getFile(firstID, filepath.Join(files, "first.got")); res.Code != 0 {
		t.Errorf("the stored file cannot be fetched: %v", res.Err())
	} else if digest(t, filepath.Join(files, "first.got")) != wantFirst {
		t.Error("the stored file has changed")
	}
	r.check(os.Remove(filler))
	id := r.sendFile(second)
	r.wantFile(id, filepath.Join(files, "second.got"), wantSecond)
	r.noPanic()
}
