//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"secmsg/scripts/lab"
)

// fullPipe returns a full pipe that nobody reads.
func (r *rig) fullPipe() *os.File {
	r.t.Helper()
	var fds [2]int
	r.check(unix.Pipe2(fds[:], unix.O_CLOEXEC))
	r.t.Cleanup(func() { _ = unix.Close(fds[0]) })
	r.check(unix.SetNonblock(fds[1], true))
	for {
		_, err := unix.Write(fds[1], make([]byte, 1))
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		r.check(err)
	}
	r.check(unix.SetNonblock(fds[1], false)) // as a child process would get it
	return os.NewFile(uintptr(fds[1]), "pipe")
}

// child runs the program with its output to a pipe that nobody reads, until the test ends.
func (r *rig) child(args ...string) {
	r.t.Helper()
	pipe := r.fullPipe()
	cmd := exec.Command(r.w.Binary(), args...)
	cmd.Env = append([]string{"HOME=" + r.w.Dir(), "PATH=" + os.Getenv("PATH"), "SECMSG_LOG_LEVEL=debug"}, append(lab.RaisedLimits(), clientEnv()...)...)
	cmd.Stdout, cmd.Stderr = pipe, pipe
	r.check(cmd.Start())
	r.check(pipe.Close())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	r.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		t := time.NewTimer(settleTime)
		defer t.Stop()
		select {
		case err := <-done:
			if err != nil {
				r.t.Errorf("%q with a blocked log: %v", args, err)
			}
		case <-t.C:
			r.t.Errorf("%q does not end by SIGTERM when its log is blocked", args)
			_ = cmd.Process.Kill()
			<-done
		}
	})
}

// Row 20: nobody reads the log of the server or of a daemon, and its pipe is full. Service continues.
func TestFault20LogBlocked(t *testing.T) {
	t.Parallel()
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, options{})
		r.check(r.w.StopServer())
		r.child("serverd", "run", "--data", r.w.ServerDir(), "--listen", r.w.Listen())
		r.connected("alice", "bob")
		r.check(r.w.Join(t.Context(), "carol")) // this is logged
		for i := range 20 {
			r.send("alice", "bob", fmt.Sprintf("message %d", i), "--wait", "delivered", "--timeout", patience)
		}
		r.settle()
	})
	t.Run("daemon", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, options{})
		r.stop("alice")
		r.child("--home", r.w.Home("alice"), "daemon", "run")
		r.eventually("the daemon answers", func() bool {
			return r.run("alice", "", "--no-autostart", "daemon", "status").Code == 0
		})
		for range 3 {
			r.restartServer() // this is logged
			r.connected("alice", "bob")
			r.send("alice", "bob", "there "+fmt.Sprint(r.rng.Uint32()), "--wait", "delivered", "--timeout", patience)
			r.send("bob", "alice", "back "+fmt.Sprint(r.rng.Uint32()), "--wait", "delivered", "--timeout", patience)
		}
		r.settle()
	})
}

// Row 19: several daemons start at the same time on one profile. One wins, the others report it;
// commands that all start a daemon share one.
func TestFault19TwoDaemons(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.stop("alice")
	type end struct {
		code int
		text string
	}
	ends := make(chan end)
	const daemons = 5
	for range daemons {
		go func() {
			res, err := r.w.Run(t.Context(), "alice", "", "daemon", "run")
			if err != nil {
				res.Code, res.Stderr = -1, err.Error()
			}
			ends <- end{res.Code, res.Stderr}
		}()
	}
	var said []end
	for len(said) < daemons-1 {
		said = append(said, <-ends)
	}
	pid, err := r.w.DaemonPID("alice")
	r.check(err)
	for _, e := range said {
		if e.code != 1 || !strings.Contains(e.text, fmt.Sprint(pid)) {
			t.Errorf("a daemon beside %d exits %d: %s", pid, e.code, e.text)
		}
	}
	r.send("alice", "bob", "from the one that won", "--wait", "delivered", "--timeout", patience)
	r.stop("alice")
	if e := <-ends; e.code != 0 {
		t.Errorf("the daemon that won exits %d: %s", e.code, e.text)
	}

	pids := make(chan string)
	for range daemons {
		go func() {
			res, err := r.w.Run(t.Context(), "alice", "", "daemon", "status", "-o", "json")
			if err == nil && res.Code == 7 { // status does not start one
				res, err = r.w.Run(t.Context(), "alice", "", "status", "-o", "json")
			}
			if err != nil || res.Code != 0 {
				pids <- fmt.Sprintf("exit %d: %s, %v", res.Code, res.Stderr, err)
				return
			}
			_, rest, _ := strings.Cut(res.Stdout, `"pid":`)
			one, _, _ := strings.Cut(rest, ",")
			pids <- one
		}()
	}
	first := <-pids
	for range daemons - 1 {
		if next := <-pids; next != first {
			t.Errorf("two commands that started the daemon talked to %s and %s", first, next)
		}
	}
	r.settle()
}

// Row 22: the recipient is offline for longer than the server keeps its mail. The sender is notified,
// and later messages arrive.
func TestFault22RecipientAwayLongerThanRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{serverEnv: []string{"SECMSG_LIMITS_MAILBOX_RETENTION=2s", "SECMSG_LIMITS_SWEEP=200ms"}})
	r.connected("alice", "bob")
	r.stop("bob")
	res := r.run("alice", "too late", "send", "bob", "--wait", "delivered", "--timeout", patience, "-o", "json")
	if res.Code != 8 || !strings.Contains(res.Stdout+res.Stderr, `"expired"`) {
		t.Errorf("send to somebody who stays away: exit %d, want 8 and expired\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if got := r.history("alice", "bob"); !strings.Contains(got, `"state":"expired"`) {
		t.Errorf("alice's history:\n%s", got)
	}
	// The sender is offline, too, when the message expires: it learns of it when it is back.
	r.check(r.run("alice", "told later", "send", "bob", "--wait", "server", "--timeout", patience).Err())
	r.stop("alice")
	r.eventually("the server drops it", func() bool { return r.stats().Counters["relay"]["expired"] == 2 })
	r.start("alice")
	r.eventually("alice is told", func() bool { return strings.Count(r.history("alice", "bob"), `"state":"expired"`) == 2 })
	// A device that is back receives later messages. With so short a retention these may expire, too,
	// on a busy machine.
	r.start("bob")
	r.eventually("something arrives in time", func() bool {
		return r.run("alice", "in time", "send", "bob", "--wait", "delivered", "--timeout", patience).Code == 0
	})
	if got := r.history("bob", "alice"); strings.Contains(got, "late") || !strings.Contains(got, "in time") {
		t.Errorf("bob's history:\n%s", got)
	}
	r.noPanic()
}
