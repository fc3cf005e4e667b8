//go:build linux

package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// attachTime bounds how long strace takes to attach to all threads.
const attachTime = time.Minute

// tracer is a strace that is attached to a process.
type tracer struct {
	r    *rig
	cmd  *exec.Cmd
	gone chan struct{} // closed when its standard error has ended
}

// strace attaches to a process with all its threads, or skips the test with the reason where that is
// not possible.
func (r *rig) strace(pid int, args ...string) *tracer {
	r.t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		r.t.Skip("SKIPPED: strace is not installed, so calls of the system cannot be made to fail")
	}
	tr := &tracer{r: r, gone: make(chan struct{})}
	tr.cmd = exec.Command(path, append([]string{"-f", "-p", fmt.Sprint(pid)}, args...)...)
	stderr, err := tr.cmd.StderrPipe()
	r.check(err)
	r.check(tr.cmd.Start())
	attached, said := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(tr.gone)
		first := true
		br := bufio.NewScanner(stderr)
		for br.Scan() {
			if strings.Contains(br.Text(), "attached") && first {
				first = false
				close(attached)
			} else if first {
				select {
				case said <- br.Text():
				default:
				}
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	ctx, cancel := context.WithTimeout(r.t.Context(), attachTime)
	defer cancel()
	select {
	case <-attached:
	case <-tr.gone:
		_ = tr.cmd.Wait()
		select {
		case why := <-said:
			r.t.Skipf("SKIPPED: strace cannot attach here: %s", why)
		default:
			r.t.Skip("SKIPPED: strace cannot attach here")
		}
	case <-ctx.Done():
		tr.detach()
		r.t.Fatal("strace does not attach")
	}
	r.t.Cleanup(tr.detach)
	return tr
}

// detach detaches from the process. It may be called again.
func (t *tracer) detach() {
	if t.cmd.ProcessState != nil {
		return
	}
	_ = t.cmd.Process.Signal(syscall.SIGINT) // strace detaches and ends
	<-t.gone
	_ = t.cmd.Wait() // it ends by the signal
}

// Row 9: syncing the daemon's or the server's files fails. Nothing is acknowledged meanwhile;
// afterwards work resumes without a restart.
func TestFault09FsyncFails(t *testing.T) {
	t.Parallel()
	fail := []string{"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-o", "/dev/null"}
	r := newRig(t, options{})
	r.connected("alice", "bob")
	r.send("alice", "bob", "before", "--wait", "delivered", "--timeout", patience)

	pid, err := r.w.DaemonPID("alice")
	r.check(err)
	tr := r.strace(pid, fail...)
	res := r.try("alice", "bob", "not durable here", "--wait", "queued")
	tr.detach()
	if res.Code != 3 || strings.Contains(res.Stdout, `"state":"queued"`) {
		t.Errorf("send while fsync fails: exit %d, want 3\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	r.send("alice", "bob", "after the daemon's failure", "--wait", "delivered", "--timeout", patience)

	// The recipient is offline, so that accepting means writing.
	r.stop("bob")
	tr = r.strace(r.w.Server().PID(), fail...)
	res = r.try("alice", "bob", "not durable there", "--wait", "server", "--timeout", "3s")
	if res.Code == 0 || strings.Contains(res.Stdout, `"state":"accepted"`) {
		t.Errorf("send while the server's fsync fails: exit %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if st := r.account("alice"); st.Outbox != 1 {
		t.Errorf("the outbox holds %d messages, want 1", st.Outbox)
	}
	tr.detach()
	r.eventually("the server takes it", func() bool { return r.account("alice").Outbox == 0 })
	r.restartServer() // everything reported as durable is durable
	r.start("bob")
	r.send("alice", "bob", "after the server's failure", "--wait", "delivered", "--timeout", patience)
	r.settle()
	r.noPanic()
}
