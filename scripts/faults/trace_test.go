//go:build linux

package faults

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fileOp is one system call that changed or synced a file.
type fileOp struct {
	start, end time.Duration // since 1970
	call, path string
	data       []byte
	at         int64 // offset of data, or the size of ftruncate
}

// recording is a trace of every change that a process makes to files, with data and times.
type recording struct {
	tr  *tracer
	out string
}

// record starts to record the changes that a process makes to files.
func (r *rig) record(pid int) *recording {
	r.t.Helper()
	out := filepath.Join(r.t.TempDir(), "trace")
	return &recording{out: out, tr: r.strace(pid, "-y", "-T", "-xx", "-s", "1000000", "--absolute-timestamps=format:unix,precision:ns",
		"-e", "trace=pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat", "-e", "signal=none", "-o", out)}
}

var (
	traceLine  = regexp.MustCompile(`^(\d+) +(\d+)\.(\d{9}) (\w+)\((.*)$`)
	traceAgain = regexp.MustCompile(`^(\d+) +(\d+)\.(\d{9}) <\.\.\. (\w+) resumed>(.*)$`)
	traceEnd   = regexp.MustCompile(`\) += (-?\d+)[^<]*<(\d+)\.(\d+)>$`)
	traceArg   = regexp.MustCompile(`^(?:\d+<([^>]*)>)?(?:, )?(?:"([^"]*)")?(?:, )?(\d+)?(?:, (\d+))?`)
)

// ops ends the recording and returns the operations on files under dir, in the order of their start.
func (rec *recording) ops(dir string) []fileOp {
	t := rec.tr.r.t
	t.Helper()
	rec.tr.detach()
	b, err := os.ReadFile(rec.out)
	rec.tr.r.check(err)
	var ops []fileOp
	open := map[string]string{} // thread → the beginning of its line
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if head, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			open[strings.Fields(line)[0]] = head
			continue
		}
		if m := traceAgain.FindStringSubmatch(line); m != nil {
			line = open[m[1]] + m[5]
			delete(open, m[1])
		}
		m := traceLine.FindStringSubmatch(line)
		end := traceEnd.FindStringSubmatch(line)
		if m == nil || end == nil || strings.HasPrefix(end[1], "-") {
			continue // a failed call, a signal, or a call that never ended
		}
		op := fileOp{call: m[4], start: clock(m[2], m[3])}
		op.end = op.start + clock(end[2], end[3]+strings.Repeat("0", 9-len(end[3])))
		arg := traceArg.FindStringSubmatch(m[5])
		op.path = unhex(arg[1])
		if !strings.HasPrefix(op.path, dir+"/") {
			continue
		}
		op.data = []byte(unhex(arg[2]))
		switch op.call {
		case "pwrite64":
			op.at, err = strconv.ParseInt(arg[4], 10, 64)
			if n, _ := strconv.Atoi(end[1]); err != nil || n != len(op.data) {
				t.Fatalf("trace: %d bytes and offset %q in %.200q", len(op.data), arg[4], line)
			}
		case "ftruncate":
			if op.at, err = strconv.ParseInt(arg[3], 10, 64); err != nil {
				t.Fatalf("trace: %.200q", line)
			}
		case "fsync", "fdatasync":
		default:
			if !strings.HasSuffix(op.path, ".log") {
				t.Fatalf("trace: this test does not know what %s does to %s", op.call, op.path)
			}
			continue
		}
		ops = append(ops, op)
	}
	slices.SortStableFunc(ops, func(a, b fileOp) int { return cmp.Compare(a.start, b.start) })
	return ops
}

func clock(sec, nano string) time.Duration {
	s, _ := strconv.ParseInt(sec, 10, 64)
	n, _ := strconv.ParseInt(nano, 10, 64)
	return time.Duration(s)*time.Second + time.Duration(n)
}

// unhex decodes the \xNN of strace.
func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		return s
	}
	return string(b)
}

// powerCut rebuilds the files as a disk could contain them after a power failure at a moment: all
// synced writes, and of the later ones some, some torn in half, and some not. base is the content at
// the start of the recording.
func powerCut(ops []fileOp, base map[string][]byte, at time.Duration, rng *rand.Rand) (files map[string][]byte, lost int) {
	synced := map[string]time.Duration{} // path → start of the last sync that has ended
	for _, op := range ops {
		if (op.call == "fsync" || op.call == "fdatasync") && op.end <= at {
			synced[op.path] = max(synced[op.path], op.start)
		}
	}
	files = map[string][]byte{}
	for p, b := range base {
		files[p] = bytes.Clone(b)
	}
	for _, op := range ops {
		if op.start > at || op.call == "fsync" || op.call == "fdatasync" {
			continue
		}
		data := op.data
		if op.end > synced[op.path] {
			switch rng.IntN(3) {
			case 0:
				lost++
				continue
			case 1:
				lost++
				if op.call == "pwrite64" {
					data = data[:len(data)/2]
				}
			}
		}
		f := files[op.path]
		if op.call == "ftruncate" {
			size := int(op.at)
			if size <= len(f) {
				f = f[:size]
			} else {
				f = append(f, make([]byte, size-len(f))...)
			}
		} else {
			if need := int(op.at) + len(data); need > len(f) {
				f = append(f, make([]byte, need-len(f))...)
			}
			copy(f[op.at:], data)
		}
		files[op.path] = f
	}
	return files, lost
}

// databases reads the database files of a directory. The index of the WAL is memory, which a power
// failure erases.
func databases(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(dir, "*.db*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if strings.HasSuffix(p, "-shm") {
			continue
		}
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[p] = b
	}
	if len(out) == 0 {
		t.Fatalf("no database in %s", dir)
	}
	return out
}

// acked is a message and the moment at which it was acknowledged.
type acked struct {
	text string
	at   time.Duration
}

func now() time.Duration { return time.Duration(time.Now().UnixNano()) }

// cuts are the moments of the power failure; at most of them a write is in progress.
func cuts(t *testing.T, ops []fileOp, n int, rng *rand.Rand) []time.Duration {
	t.Helper()
	writes := slices.DeleteFunc(slices.Clone(ops), func(op fileOp) bool { return op.call != "pwrite64" })
	if len(writes) < n {
		t.Fatalf("only %d writes were seen", len(writes))
	}
	out := make([]time.Duration, 0, n)
	for i := range n {
		k := (i*len(writes) + rng.IntN(len(writes))) / n // one in each n-th part
		out = append(out, writes[k].end+1)
	}
	return append(out, ops[len(ops)-1].end+time.Hour) // and one after everything
}

// put replaces the databases of a directory.
func (r *rig) put(dir string, files map[string][]byte) {
	r.t.Helper()
	for _, suffix := range []string{"*.db", "*.db-wal", "*.db-shm"} {
		paths, err := filepath.Glob(filepath.Join(dir, suffix))
		r.check(err)
		for _, p := range paths {
			r.check(os.Remove(p))
		}
	}
	for p, b := range files {
		r.check(os.WriteFile(p, b, 0o600))
	}
}

// Row 5 at the client: the power fails while messages are queued. The daemon opens the remaining
// database, which contains every message with an id.
func TestFault05LostWritesOfTheDaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.stop("alice")
	r.w.KillServer() // this test is only about the client's disk
	_, err := r.w.StartDaemon(t.Context(), "alice")
	r.check(err)
	pid, err := r.w.DaemonPID("alice")
	r.check(err)
	home := r.w.Home("alice")
	rec := r.record(pid)
	// An idle daemon has no writes in progress; everything is synced.
	base := databases(t, home)
	var sent []acked
	for i := range 15 {
		text := fmt.Sprintf("message %02d %s", i, strings.Repeat("x", r.rng.IntN(9000)))
		r.send("alice", "bob", text, "--wait", "queued")
		sent = append(sent, acked{text[:10], now()})
	}
	ops := rec.ops(home)
	r.check(r.w.KillDaemon(t.Context(), "alice"))
	torn := 0
	for i, at := range cuts(t, ops, 6, r.rng) {
		files, lost := powerCut(ops, base, at, r.rng)
		torn += lost
		r.put(home, files)
		got := r.history("alice", "bob")
		have := 0
		for _, m := range sent {
			if m.at <= at {
				have++
				if !strings.Contains(got, m.text) {
					t.Errorf("cut %d: %q had an id and is gone", i, m.text)
				}
			}
		}
		t.Logf("cut %d: %d of %d messages had ids, %d writes lost or torn", i, have, len(sent), lost)
		r.check(r.w.KillDaemon(t.Context(), "alice"))
	}
	if torn == 0 {
		t.Error("no write was lost, so nothing was tried")
	}
	r.noPanic()
}

// Row 5 at the server: the power fails while messages for an offline recipient are accepted. The server
// opens the remaining database, and every accepted message reaches the recipient.
func TestFault05LostWritesOfTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.connected("alice", "bob")
	r.stop("bob")
	r.copyTree(r.w.Home("bob"), r.w.Home("bob")+".kept")
	dir := r.w.ServerDir()
	rec := r.record(r.w.Server().PID())
	base := databases(t, dir)
	var sent []acked
	for i := range 15 {
		text := fmt.Sprintf("message %02d %s", i, strings.Repeat("x", r.rng.IntN(9000)))
		r.send("alice", "bob", text, "--wait", "server", "--timeout", patience)
		sent = append(sent, acked{text[:10], now()})
	}
	ops := rec.ops(dir)
	r.check(r.w.KillDaemon(t.Context(), "alice"))
	r.w.KillServer()
	torn := 0
	for i, at := range cuts(t, ops, 4, r.rng) {
		files, lost := powerCut(ops, base, at, r.rng)
		torn += lost
		r.put(dir, files)
		r.check(os.RemoveAll(r.w.Home("bob")))
		r.copyTree(r.w.Home("bob")+".kept", r.w.Home("bob"))
		r.check(r.w.StartServer(t.Context()))
		var want []string
		for _, m := range sent {
			if m.at <= at {
				want = append(want, m.text)
			}
		}
		t.Logf("cut %d: %d of %d messages were accepted, %d writes lost or torn", i, len(want), len(sent), lost)
		r.start("bob")
		got := ""
		r.eventually(fmt.Sprintf("bob has the %d messages", len(want)), func() bool {
			got = r.history("bob", "alice")
			return !slices.ContainsFunc(want, func(text string) bool { return !strings.Contains(got, text) })
		})
		r.check(r.w.KillDaemon(t.Context(), "bob"))
		r.w.KillServer()
	}
	if torn == 0 {
		t.Error("no write was lost, so nothing was tried")
	}
	r.check(r.w.StartServer(t.Context()))
	r.noPanic()
}
