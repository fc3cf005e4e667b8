//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"secmsg/scripts/lab"
)

const (
	// fileKills is how often one transfer is interrupted.
	fileKills = 20
	// killParts is the length of that transfer in parts, enough for every kill to hit it.
	killParts = 24
	// killRate limits each connection, in bytes per second, so that a kill hits a part in transfer.
	killRate = 24 << 20
	// killPatience bounds one complete transfer with kills.
	killPatience = 4 * time.Minute
	// sealedPart is the maximum of one part on the wire; overhead is what TLS, HTTP and messages add in
	// total, in hundredths.
	sealedPart = fileHead + partChunks*sealedChunk
	overhead   = 102
)

// Row 15: the server is killed 20 times during the upload of a file.
func TestFault15KillServerDuringUpload(t *testing.T) {
	t.Parallel()
	killed(t, true, func(r *rig) { r.restartServer() })
}

// Row 15: the sender's daemon is killed 20 times during the upload of a file.
func TestFault15KillSenderDuringUpload(t *testing.T) {
	t.Parallel()
	killed(t, true, func(r *rig) { r.restartDaemon("alice") })
}

// Row 15: the server is killed 20 times during the download of a file.
func TestFault15KillServerDuringDownload(t *testing.T) {
	t.Parallel()
	killed(t, false, func(r *rig) { r.restartServer() })
}

// Row 15: the recipient's daemon is killed 20 times during the download of a file.
func TestFault15KillRecipientDuringDownload(t *testing.T) {
	t.Parallel()
	killed(t, false, func(r *rig) { r.restartDaemon("bob") })
}

// restartDaemon kills a daemon and lets a command start the next one.
func (r *rig) restartDaemon(user string) {
	r.t.Helper()
	r.check(r.w.KillDaemon(r.t.Context(), user))
	_, err := r.w.Status(r.t.Context(), user)
	r.check(err)
}

// killed transfers one file despite all kills, in one direction or the other, and counts the bytes that
// pass the proxy. After each kill at most a part's worth of bytes has to pass before the next one, so a
// transfer that started again each time would never end. At most about one part per kill may be
// transferred twice.
func killed(t *testing.T, up bool, kill func(*rig)) {
	r := newRig(t, options{tcp: true, shallow: true})
	r.connected("alice", "bob")
	dir := t.TempDir()
	source, to := filepath.Join(dir, "source"), filepath.Join(filesDir(t), "file")
	const size = killParts*filePart - 12345
	want := content(t, source, size, 3)
	passed := func() int64 {
		to, from := r.tcp.Passed()
		if up {
			return to
		}
		return from
	}
	var id string
	if up {
		r.tcp.Set(lab.TCPFaults{Rate: killRate})
		start := passed()
		id = r.sendFile(source, "--wait", "queued")
		kills := r.killTransfer(passed, kill, func() bool { return uploaded(r.fileState("alice", id)) })
		r.judgeKills(kills, passed()-start)
		r.tcp.Set(lab.TCPFaults{})
		if res := r.getFile(id, to); res.Code != 0 {
			t.Fatal(res.Err())
		}
	} else {
		id = r.sendFile(source)
		r.eventually("bob knows of the file", func() bool { return r.fileState("bob", id) != "" })
		r.tcp.Set(lab.TCPFaults{Rate: killRate})
		start := passed()
		get := r.getPatiently(id, to)
		kills := r.killTransfer(passed, kill, func() bool {
			if _, err := os.Lstat(to); err == nil && !get.over() {
				if info, err := os.Stat(to); err == nil && info.Size() != size {
					t.Errorf("a file of %d bytes under the final name", info.Size())
				}
			}
			return get.over()
		})
		if err := get.wait(); err != nil {
			t.Fatal(err)
		}
		r.judgeKills(kills, passed()-start)
	}
	if digest(t, to) != want {
		t.Error("the received file differs from the sent one")
	}
	entries, err := os.ReadDir(filepath.Dir(to))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory must contain only the file: %v (%v)", entries, err)
	}
	r.noPanic()
}

// uploaded reports whether the server has the complete file if it has this state.
func uploaded(state string) bool { return state == "accepted" || state == "delivered" }

// killTransfer kills whenever some bytes have passed, until the transfer is over.
func (r *rig) killTransfer(passed func() int64, kill func(*rig), over func() bool) (kills int) {
	r.t.Helper()
	deadline := time.Now().Add(killPatience)
	for kills < fileKills {
		// From a quarter of a part to one.
		goal := passed() + sealedPart/4 + r.rng.Int64N(sealedPart*3/4)
		for passed() < goal {
			if over() {
				return kills
			}
			if time.Now().After(deadline) {
				r.t.Fatalf("after %d kills the transfer makes no progress", kills)
			}
			r.pause(5 * time.Millisecond)
		}
		kill(r)
		kills++
	}
	r.tcp.Set(lab.TCPFaults{})
	for !over() {
		if time.Now().After(deadline) {
			r.t.Fatal("after the last kill the transfer does not end")
		}
		r.pause(20 * time.Millisecond)
	}
	return kills
}

func (r *rig) judgeKills(kills int, bytes int64) {
	r.t.Helper()
	whole := int64(killParts) * sealedPart
	again := bytes - whole*overhead/100
	r.t.Logf("%d kills, %d bytes passed for a file of %d: %.2f parts again for each kill", kills, bytes, whole,
		float64(bytes-whole)/float64(max(kills, 1))/float64(sealedPart))
	if kills < fileKills {
		r.t.Errorf("the transfer was over after %d kills", kills)
	}
	// A kill after a part has passed but before its answer costs that part, plus the bytes that the
	// next connection needs before the first byte of a part.
	const most = sealedPart + sealedPart/4
	if again > int64(kills)*most {
		r.t.Errorf("%d bytes were sent again, more than a part and a quarter for each of %d kills", again, kills)
	}
}

// fetch is a `file get` that is repeated, like in a script, while it fails for a temporary reason.
type fetch struct{ ended chan error }

func (f fetch) over() bool  { return len(f.ended) > 0 }
func (f fetch) wait() error { return <-f.ended }

func (r *rig) getPatiently(id, to string) fetch {
	f := fetch{ended: make(chan error, 1)}
	ctx := r.t.Context()
	go func() {
		for {
			res, err := r.w.Run(ctx, "bob", "", "file", "get", id, "-O", to, "--wait")
			switch {
			case err != nil:
				f.ended <- err
				return
			case res.Code == 0:
				f.ended <- nil
				return
			case res.Code == 3 || res.Code == 7: // the daemon or the server was gone
				continue
			}
			f.ended <- res.Err()
			return
		}
	}()
	return f
}

// If the daemon dies before a whole pipe is in the spool, nothing is sent: exit 3, and no file at the
// recipient.
func TestFileFromAPipeWhoseDaemonDies(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tcp: true})
	r.connected("alice", "bob")
	source := filepath.Join(t.TempDir(), "source")
	content(t, source, 12*filePart, 4) // more than the spool can hold
	in, err := os.Open(source)
	r.check(err)
	defer in.Close()
	r.tcp.Set(lab.TCPFaults{Rate: 4 << 20})
	start, _ := r.tcp.Passed()
	cmd := r.w.Command(t.Context(), "alice", "file", "send", "bob", "-", "--name", "pipe")
	cmd.Stdin = in
	var stderr strings.Builder
	cmd.Stderr = &stderr
	r.check(cmd.Start())
	r.eventually("some of it is on its way", func() bool { now, _ := r.tcp.Passed(); return now > start+1<<20 })
	_, err = r.w.SignalDaemon("alice", syscall.SIGKILL)
	r.check(err)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("%v, want exit 3\n%s", err, stderr.String())
	}
	r.tcp.Set(lab.TCPFaults{})
	r.start("alice")
	r.try("alice", "bob", "after", "--wait", "delivered", "--timeout", "20s")
	if out := r.history("bob", "alice"); strings.Contains(out, `"pipe"`) {
		t.Errorf("bob received a message about the pipe:\n%s", out)
	}
	res := r.run("alice", "", "file", "list", "-o", "json")
	if strings.Contains(res.Stdout, `"state":"sending"`) {
		t.Errorf("it is still sending:\n%s", res.Stdout)
	}
}

// Ctrl-C cancels a file: the server keeps nothing, and the recipient receives nothing.
func TestFileInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tcp: true})
	r.connected("alice", "bob")
	source := filepath.Join(t.TempDir(), "source")
	content(t, source, 6*filePart, 5)
	r.tcp.Set(lab.TCPFaults{Rate: 4 << 20})
	start, _ := r.tcp.Passed()
	cmd := r.w.Command(t.Context(), "alice", "file", "send", "bob", source)
	r.check(cmd.Start())
	r.eventually("some of it is on its way", func() bool { now, _ := r.tcp.Passed(); return now > start+1<<20 })
	r.check(cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("%v, want exit 130", err)
	}
	r.tcp.Set(lab.TCPFaults{})
	r.eventually("alice calls it cancelled", func() bool {
		return strings.Contains(r.run("alice", "", "file", "list", "-o", "json").Stdout, `"state":"cancelled"`)
	})
	r.try("alice", "bob", "after", "--wait", "delivered", "--timeout", "20s")
	if out := r.history("bob", "alice"); strings.Contains(out, `"source"`) {
		t.Errorf("bob received a message about the file:\n%s", out)
	}
	blobs, err := r.w.Blobs()
	if err != nil || len(blobs) != 0 {
		t.Errorf("the server keeps %v (%v)", blobs, err)
	}
}

// A source that changes while its daemon is down is sent again, completely and in its new version.
func TestFileThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{tcp: true})
	r.connected("alice", "bob")
	source, to := filepath.Join(t.TempDir(), "source"), filepath.Join(filesDir(t), "file")
	content(t, source, 24*filePart, 6) // more than the spool can hold
	r.tcp.Set(lab.TCPFaults{Rate: 8 << 20})
	start, _ := r.tcp.Passed()
	id := r.sendFile(source, "--wait", "queued")
	r.eventually("some of it is on its way", func() bool { now, _ := r.tcp.Passed(); return now > start+sealedPart })
	r.check(r.w.KillDaemon(t.Context(), "alice"))
	want := content(t, source, 20*filePart, 7)
	r.tcp.Set(lab.TCPFaults{})
	r.start("alice")
	res := r.getFile(id, to)
	switch {
	case res.Code == 0:
		if digest(t, to) != want {
			t.Error("the received file differs from the current one")
		}
	default:
		t.Error(fmt.Errorf("the file was not received: %w", res.Err()))
	}
}
