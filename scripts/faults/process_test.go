//go:build linux

package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"secmsg/rpc/admin"
)

// files counts the open descriptors of a process.
func (r *rig) files(pid int) int {
	r.t.Helper()
	list, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	r.check(err)
	return len(list)
}

func (r *rig) fileLimit(pid int) int {
	r.t.Helper()
	var lim unix.Rlimit
	r.check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &lim))
	return int(lim.Cur)
}

// limitFiles limits a running process to only `more` files in addition to its open ones, and returns a
// function that reverses that.
func (r *rig) limitFiles(pid, more int) (restore func()) {
	r.t.Helper()
	var old unix.Rlimit
	limit := unix.Rlimit{Cur: uint64(r.files(pid) + more)}
	r.check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
	limit.Max = old.Max
	r.check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil))
	return func() { r.check(unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil)) }
}

// stats reads the server's statistics from its admin socket.
func (r *rig) stats() admin.Stats {
	r.t.Helper()
	res, err := r.w.Exec(r.t.Context(), "", "admin", "stats", "--data", r.w.ServerDir(), "-o", "json")
	r.check(err)
	r.check(res.Err())
	var s admin.Stats
	if err := json.Unmarshal([]byte(res.Stdout), &s); err != nil {
		r.t.Fatal(fmt.Errorf("admin stats printed %q: %w", res.Stdout, err))
	}
	return s
}

// sockets counts the WebSockets of the server.
func (r *rig) sockets() int64 {
	r.t.Helper()
	c := r.stats().Counters["relay"]
	return c["contacts"] + c["replicas"]
}
