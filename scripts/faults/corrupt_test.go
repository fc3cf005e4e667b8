//go:build linux

package faults

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/scripts/lab"
)

// spoil overwrites pages in the middle of a database.
func (r *rig) spoil(path string, pages int) {
	r.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	r.check(err)
	info, err := f.Stat()
	r.check(err)
	const page = 4096
	n := info.Size() / page
	if n < 8 {
		r.t.Fatalf("%s has only %d pages", path, n)
	}
	for range pages {
		_, err = f.WriteAt(bytes.Repeat([]byte{0xA5}, page), page*(1+r.rng.Int64N(n-1)))
		r.check(err)
	}
	r.check(f.Close())
}

// Row 6 at the client: damaged pages are detected, the database is set aside, the user is informed, and
// the next start has an empty profile.
func TestFault06CorruptPageAtTheClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.send("alice", "bob", "before", "--wait", "delivered", "--timeout", patience)
	r.stop("alice")
	r.spoil(filepath.Join(r.w.Home("alice"), "secmsg.db"), 12)
	damaged, err := os.ReadFile(filepath.Join(r.w.Home("alice"), "secmsg.db"))
	r.check(err)
	res := r.run("alice", "", "status", "-o", "json")
	if res.Code != 3 || !strings.Contains(res.Stderr, "damaged") || !strings.Contains(res.Stderr, "set aside") {
		t.Errorf("a command on a damaged profile: exit %d, want 3\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	kept := false
	files, err := filepath.Glob(filepath.Join(r.w.Home("alice"), "secmsg.db*"))
	r.check(err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		r.check(err)
		kept = kept || f != filepath.Join(r.w.Home("alice"), "secmsg.db") && bytes.Equal(b, damaged)
	}
	if !kept {
		t.Errorf("the damaged database was not kept as it was: %v", files)
	}
	st, err := r.w.Status(t.Context(), "alice")
	if err != nil || len(st.Accounts) != 0 {
		t.Errorf("the next start: %+v, %v", st, err)
	}
	r.noPanic()
}

// Row 6 while the daemon runs: reading a page that was damaged meanwhile returns an error to the
// caller, without a panic.
func TestFault06CorruptPageWhileRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for range 3 {
		r.lines("alice", "bob", slicesOf(20, strings.Repeat("x", 3000)))
	}
	r.stop("alice") // checkpoints the WAL into the database
	_, err := r.w.StartDaemon(t.Context(), "alice")
	r.check(err)
	r.spoil(filepath.Join(r.w.Home("alice"), "secmsg.db"), 60)
	for _, args := range [][]string{{"history", "bob", "-n", "100000"}, {"contact", "list"}, {"send", "bob", "hello", "--wait", "queued"}, {"status"}, {"outbox", "list"}} {
		if res := r.run("alice", "", args...); res.Code != 0 && res.Code != 3 && res.Code != 7 {
			t.Errorf("%q on pages that went bad: exit %d\n%s", args, res.Code, res.Stderr)
		}
	}
	r.noPanic()
}

// Row 6 at the server: it reports the damage, changes nothing and does not run.
func TestFault06CorruptPageAtTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.stop("alice", "bob")
	r.check(r.w.StopServer())
	files, err := filepath.Glob(filepath.Join(r.w.ServerDir(), "*.db"))
	r.check(err)
	if len(files) != 1 {
		t.Fatalf("databases of the server: %v", files)
	}
	r.spoil(files[0], 300) // the server reads few pages before it serves
	before, err := os.ReadFile(files[0])
	r.check(err)
	res, err := r.w.Exec(t.Context(), "", "serverd", "run", "--data", r.w.ServerDir(), "--listen", r.w.Listen())
	if err != nil {
		t.Fatalf("the server runs on a damaged database: %v", err)
	}
	if res.Code != 3 || !strings.Contains(res.Stderr, "damaged") {
		t.Errorf("a server with a damaged database: exit %d, want 3 and an error message\n%s", res.Code, lab.Tail(r.w.ServerLog(), 500)+res.Stderr)
	}
	after, err := os.ReadFile(files[0])
	if errors.Is(err, os.ErrNotExist) || !bytes.Equal(before, after) {
		t.Error("the damaged database was changed or is gone")
	}
	r.noPanic()
}

// slicesOf returns n different texts that end with tail.
func slicesOf(n int, tail string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = time.Now().Format(time.RFC3339Nano) + " " + string(rune('a'+i)) + tail
	}
	return out
}
