package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// listening is a listen that runs in the background, its streams in files.
type listening struct {
	t        *testing.T
	name     string
	cmd      *exec.Cmd
	out, err string // paths
	ended    chan struct{}
}

func (w *world) listen(name, user string, args ...string) *listening {
	w.t.Helper()
	dir := w.t.TempDir()
	l := &listening{t: w.t, name: name, out: filepath.Join(dir, "out"), err: filepath.Join(dir, "err"), ended: make(chan struct{})}
	l.cmd = w.Command(w.t.Context(), user, append([]string{"listen", "--type", "message"}, args...)...)
	for path, stream := range map[string]*io.Writer{l.out: &l.cmd.Stdout, l.err: &l.cmd.Stderr} {
		f, err := os.Create(path)
		if err != nil {
			w.t.Fatal(err)
		}
		defer f.Close()
		*stream = f
	}
	if err := l.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(l.ended)
		_ = l.cmd.Wait()
	}()
	w.t.Cleanup(l.stop)
	return l
}

func (l *listening) stop() {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	<-l.ended
	if l.t.Failed() {
		l.t.Logf("%s: %v\n%s%s", l.name, l.cmd.ProcessState, l.read(l.out), l.read(l.err))
	}
}

func (l *listening) read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		l.t.Error(err)
	}
	return string(b)
}

// told waits until standard error has a text n times.
func (l *listening) told(text string, n int) {
	l.t.Helper()
	waitFor(l.t, fmt.Sprintf("%s says %q %d times", l.name, text, n), l.ended, func() bool {
		return strings.Count(l.read(l.err), text) >= n
	})
}

// TestListenOutlivesTheDaemon restarts the daemon, kills it, and kills it between an event
// and its acknowledgement, with every kind of listen. Each continues without losing an
// event or showing one twice.
func TestListenOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	ctx := t.Context()
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(ctx, "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	handled := filepath.Join(t.TempDir(), "handled")
	bots := []*listening{
		w.listen("plain", "bob", "--since", "0"),
		w.listen("consumer", "bob", "--consumer", "one"),
		w.listen("manual", "bob", "--consumer", "two", "--ack", "manual"),
		w.listen("handler", "bob", "--consumer", "three", "--exec",
			`printf "%s\n" "$SECMSG_EVENT_TEXT" >> `+handled+`; `+w.bin+` receipt read alice >/dev/null 2>&1; true`),
	}
	var want []string
	send := func(text string) {
		t.Helper()
		want = append(want, text)
		w.must("alice", "", "send", "bob", text, "--wait", "server")
	}
	texts := func(l *listening) (got []string) {
		if l.name == "handler" {
			b, err := os.ReadFile(handled)
			if err != nil {
				return nil
			}
			return strings.Fields(string(b))
		}
		for line := range strings.Lines(l.read(l.out)) {
			fields := strings.Fields(line)
			got = append(got, fields[len(fields)-1])
		}
		return got
	}
	check := func() {
		t.Helper()
		for _, l := range bots {
			waitFor(t, fmt.Sprintf("%s has %v", l.name, want), l.ended, func() bool { return len(texts(l)) >= len(want) })
			if got := texts(l); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", l.name, got, want)
			}
		}
	}
	// Wait for the subscriptions before the first message.
	for _, l := range bots {
		name := map[string]string{"consumer": "one", "manual": "two", "handler": "three"}[l.name]
		if name == "" {
			continue
		}
		w.eventually("the consumer "+name, func() bool {
			return strings.Contains(w.run("bob", "", "consumer", "list", "-o", "json").stdout, `"name":"`+name+`"`)
		})
	}
	send("first")
	check()

	// A clean stop, with a message while the daemon is down. Only the test starts it
	// again.
	w.must("bob", "", "daemon", "stop")
	for _, l := range bots {
		l.told("waiting until it is started again", 1)
	}
	if _, err := w.DaemonPID("bob"); err == nil {
		t.Error("a listen has started the daemon that was stopped")
	}
	send("second")
	w.must("bob", "", "status")
	for _, l := range bots {
		l.told("the daemon is back", 1)
	}
	check()
	send("third")
	check()

	// A crash: the listeners start the daemon again.
	for i := range 3 {
		if err := w.KillDaemon(ctx, "bob"); err != nil {
			t.Fatal(err)
		}
		send(fmt.Sprintf("crash-%d", i))
		for _, l := range bots {
			l.told("the daemon is back", 2+i)
		}
		check()
	}

	// The server.
	if err := w.StopServer(); err != nil {
		t.Fatal(err)
	}
	for _, l := range bots {
		l.told("lost the connection to the server", 1)
	}
	if err := w.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	for _, l := range bots {
		l.told("reconnected to the server", 1)
	}
	send("last")
	check()

	for _, l := range bots {
		select {
		case <-l.ended:
			t.Errorf("%s ended: %v", l.name, l.cmd.ProcessState)
		default:
		}
	}
}

// TestListenCountsAcrossRestarts: --count and --timeout hold across restarts.
func TestListenCountsAcrossRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	l := w.listen("two", "bob", "--since", "0", "--count", "2")
	w.must("alice", "", "send", "bob", "one", "--wait", "server")
	waitFor(t, "one", l.ended, func() bool { return strings.Contains(l.read(l.out), "one") })
	w.must("bob", "", "daemon", "stop")
	w.must("alice", "", "send", "bob", "two", "--wait", "server")
	w.must("bob", "", "status")
	waitFor(t, "the end", nil, func() bool {
		select {
		case <-l.ended:
			return true
		default:
			return false
		}
	})
	if code := l.cmd.ProcessState.ExitCode(); code != 0 || strings.Count(l.read(l.out), "\n") != 2 {
		t.Errorf("exit %d: %s%s", code, l.read(l.out), l.read(l.err))
	}

	// The timeout keeps running while the daemon is down.
	cmd := w.Command(t.Context(), "bob", "listen", "--count", "1", "--timeout", "3s")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.must("bob", "", "status")
	w.must("bob", "", "daemon", "stop")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 8 {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	if _, err := w.DaemonPID("bob"); err == nil {
		t.Error("a listen has started the daemon that was stopped")
	}
}

// TestListenDoesNotReplaceAProfile moves a profile away during a listen, which waits for
// it and does not create an empty one.
func TestListenDoesNotReplaceAProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	l := w.listen("listen", "bob", "--count", "2", "--since", "0")
	w.must("alice", "", "send", "bob", "one", "--wait", "server")
	waitFor(t, "one", l.ended, func() bool { return strings.Contains(l.read(l.out), "one") })
	pid, err := w.DaemonPID("bob")
	if err != nil {
		t.Fatal(err)
	}
	home := w.Home("bob")
	if err := os.Rename(home, home+".away"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the daemon ends", nil, func() bool { return !alive(pid) || zombie(pid) })
	l.told("the profile is gone", 1)
	if _, err := os.Stat(home); !os.IsNotExist(err) {
		t.Fatalf("the old name: %v", err)
	}
	if err := os.Rename(home+".away", home); err != nil {
		t.Fatal(err)
	}
	l.told("the daemon is back", 1)
	w.must("alice", "", "send", "bob", "hello", "--wait", "server")
	waitFor(t, "the end", nil, func() bool {
		select {
		case <-l.ended:
			return true
		default:
			return false
		}
	})
	if got := l.read(l.out); !strings.Contains(got, "hello") {
		t.Errorf("%q", got)
	}
}

// TestStoppedInTheMiddle suspends a daemon while a command waits for its answer: the
// command gives up.
func TestStoppedInTheMiddle(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells that a process is stopped")
	}
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	w.must("bob", "", "daemon", "stop")
	pid, err := w.DaemonPID("alice")
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.Command(t.Context(), "alice", "send", "bob", "question", "--wait", "read", "--timeout", "1h")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the message is in the outbox", nil, func() bool {
		return strings.Contains(w.must("alice", "", "history", "bob"), "question")
	})
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Error(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != 7 || !strings.Contains(stderr.String(), "SIGSTOP") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}
