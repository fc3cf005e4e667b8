//go:build linux

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"secmsg/scripts/lab"
)

const (
	// filesEnv set to "full" runs tests that take minutes or gigabytes of disk.
	filesEnv = "SECMSG_FILES"
	// hugeFile is larger than 32 bits can count (crypto/ATTACKS.md, D1), in bytes.
	hugeFile = 5 << 30
	// maxMemory is the goal for each process's memory in bytes, for files of any size.
	maxMemory = 100 << 20
)

func fullFiles() bool { return os.Getenv(filesEnv) == "full" }

// D1: 5 GiB, sparse on the sender's disk, arrive unchanged, and no process needs more memory for them
// than for a small file.
func TestFileOfFiveGiB(t *testing.T) {
	if !fullFiles() {
		t.Skipf("SKIPPED: 15 GiB of disk and minutes; %s=full runs it", filesEnv)
	}
	r := newRig(t, options{serverEnv: []string{"SECMSG_LIMITS_BLOBS_SIZE=6GiB", "SECMSG_LIMITS_BLOBS_QUOTA=20GiB"}})
	r.connected("alice", "bob")
	source, to := filepath.Join(t.TempDir(), "sparse"), filepath.Join(filesDir(t), "file")
	f, err := os.Create(source)
	r.check(err)
	// A few bytes on both sides of 2^31, 2^32 and at the end.
	for _, at := range []int64{0, 1<<31 - 2, 1<<32 - 2, hugeFile - 4} {
		_, err := f.WriteAt([]byte("here"), at)
		r.check(err)
	}
	r.check(f.Close())
	peaks := r.sampleMemory()
	start := time.Now()
	id := r.sendPatiently(source)
	t.Logf("sent in %s", time.Since(start))
	start = time.Now()
	get := r.begin("bob", "file", "get", id, "--wait", "-O", to)
	if res := get.wait(10 * time.Minute); res.Code != 0 {
		t.Fatal(res.Err())
	}
	t.Logf("fetched in %s", time.Since(start))
	for who, peak := range peaks() {
		t.Logf("%s: %d MiB", who, peak>>20)
		if peak > maxMemory {
			t.Errorf("%s took %d bytes, over %d", who, peak, maxMemory)
		}
	}
	if digest(t, to) != digest(t, source) {
		t.Error("the received file differs from the sent one")
	}
}

// sendPatiently is sendFile without the lab's time limit for a command.
func (r *rig) sendPatiently(path string, args ...string) string {
	r.t.Helper()
	res := r.begin("alice", append([]string{"file", "send", "bob", path, "-o", "json"}, args...)...).wait(10 * time.Minute)
	if res.Code != 0 {
		r.t.Fatal(res.Err(), res.Stderr)
	}
	return r.firstID(res.Stdout)
}

// sampleMemory observes both daemons and the server. The returned function ends that and returns the
// peak memory of each, by the kernel's count and by the samples.
func (r *rig) sampleMemory() func() map[string]int64 {
	pids := map[string]int{"server": r.w.Server().PID()}
	for _, user := range []string{"alice", "bob"} {
		pid, err := r.w.DaemonPID(user)
		r.check(err)
		pids[user] = pid
	}
	peaks := map[string]int64{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			for who, pid := range pids {
				now, err := lab.PeakRSS(pid)
				if err == nil {
					peaks[who] = max(peaks[who], now)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() map[string]int64 {
		cancel()
		wg.Wait()
		return peaks
	}
}

// Many small files in one command: each arrives, and none is mixed up with another.
func TestManySmallFiles(t *testing.T) {
	t.Parallel()
	n := 200
	if fullFiles() {
		n = 2000
	}
	dir := filepath.Join(t.TempDir(), "downloads")
	r := newRig(t, options{clientEnv: []string{"SECMSG_FILES_DIR=" + dir}})
	r.connected("alice", "bob")
	r.must("bob", "contact", "set", "alice", "auto-accept=1MiB")
	from := t.TempDir()
	args := []string{"file", "send", "bob"}
	for i := range n {
		path := filepath.Join(from, fmt.Sprintf("f%04d", i))
		r.check(os.WriteFile(path, fmt.Appendf(nil, "content of %d %s", i, strings.Repeat("x", i)), 0o600))
		args = append(args, path)
	}
	peaks := r.sampleMemory()
	start := time.Now()
	res := r.begin("alice", append(args, "-o", "json", "--wait", "delivered", "--timeout", "3m")...).wait(5 * time.Minute)
	if res.Code != 0 || strings.Count(res.Stdout, `"state":"delivered"`) != n {
		t.Fatalf("exit %d, %d of %d delivered\n%s", res.Code, strings.Count(res.Stdout, `"state":"delivered"`), n, res.Stderr)
	}
	t.Logf("%d files in %s, %v", n, time.Since(start), peaks())
	came, err := os.ReadDir(dir)
	r.check(err)
	if len(came) != n {
		t.Errorf("%d of %d arrived", len(came), n)
	}
	for _, e := range came {
		got, err := os.ReadFile(filepath.Join(dir, e.Name()))
		r.check(err)
		want, err := os.ReadFile(filepath.Join(from, e.Name()))
		r.check(err)
		if string(got) != string(want) {
			t.Errorf("%s differs from the sent file", e.Name())
		}
	}
}

// must runs a command that must succeed.
func (r *rig) must(user string, args ...string) {
	r.t.Helper()
	_, err := r.w.Must(r.t.Context(), user, "", args...)
	r.check(err)
}
