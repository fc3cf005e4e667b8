package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// shut runs the program in a shell with redirections such as >&-, on a new profile, and
// returns its exit code and standard error.
func shut(t *testing.T, bin, home, redirect string, args ...string) (int, string) {
	t.Helper()
	code, stderr, err := tryShut(t, bin, home, redirect, args...)
	if err != nil {
		t.Fatal(err)
	}
	return code, stderr
}

// tryShut is shut for goroutines, which must not end a test.
func tryShut(t *testing.T, bin, home, redirect string, args ...string) (int, string, error) {
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", `exec "$0" "$@" ` + redirect, bin, "--home", home}, args...)...)
	var stderr strings.Builder
	cmd.Stderr, cmd.Stdout = &stderr, os.Stdout
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return 0, "", fmt.Errorf("run a shell: %w", err)
	}
	return cmd.ProcessState.ExitCode(), stderr.String(), nil
}

// TestNoStdout: with standard output closed, every command exits 3 before it does
// anything. It creates no profile and starts no daemon.
func TestNoStdout(t *testing.T) {
	t.Parallel()
	if (closedAtStart() != stdfds{}) || !exactStdfds {
		t.Skip("a build without cgo cannot tell for certain")
	}
	bin, home := secmsgBinary(t), filepath.Join(t.TempDir(), "home")
	var walk func(c *cobra.Command, path []string)
	n := 0
	var tries errgroup.Group // of processes that share nothing
	tries.SetLimit(4)
	walk = func(c *cobra.Command, path []string) {
		for _, sub := range c.Commands() {
			walk(sub, append(append([]string(nil), path...), sub.Name()))
		}
		tries.Go(func() error {
			code, stderr, err := tryShut(t, bin, home, ">&-", path...)
			if err != nil || code != 3 || !strings.Contains(stderr, "standard output is closed") {
				t.Errorf("%v: exit %d, %s, %v", path, code, stderr, err)
			}
			return nil
		})
		n++
	}
	walk(newRootCommand(newApp(nil, os.Stdin, os.Stdout, os.Stderr)), nil)
	_ = tries.Wait()
	if n < 60 {
		t.Errorf("only %d commands were tried", n)
	}
	if code, stderr := shut(t, bin, home, ">&-", "inbox", "-o", "json"); code != 3 || !strings.Contains(stderr, `"code":"io"`) {
		t.Errorf("JSON: exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(home); err == nil {
		t.Error("something was begun")
	}
	// Output that is discarded on purpose is no error.
	for _, redirect := range []string{">/dev/null", "1<>/dev/null", "2>&-", "<&-", "<&- 2>&-", ">/dev/null 2>&- <&-"} {
		if code, stderr := shut(t, bin, home, redirect, "version"); code != 0 {
			t.Errorf("version %s: exit %d, %s", redirect, code, stderr)
		}
	}
}

// TestClosedDescriptors: events and messages that nobody could see are neither
// acknowledged nor marked as read, and other closed descriptors do no harm.
func TestClosedDescriptors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	bob := func(redirect string, args ...string) (int, string) {
		return shut(t, w.bin, w.home("bob"), redirect, args...)
	}
	w.must("bob", "", "listen", "--consumer", "bot", "--timeout", "1ms")
	w.must("alice", "", "send", "bob", "seen by nobody", "--wait", "delivered")
	for _, args := range [][]string{{"inbox"}, {"inbox", "-o", "json"}, {"listen", "--consumer", "bot", "--count", "1"}} {
		if code, stderr := bob(">&-", args...); code != 3 {
			t.Errorf("%v >&-: exit %d, %s", args, code, stderr)
		}
	}
	if out := w.must("bob", "", "inbox", "--peek"); !strings.Contains(out, "seen by nobody") {
		t.Errorf("it was marked as read: %q", out)
	}
	if out := w.must("bob", "", "listen", "--consumer", "bot", "--count", "1", "--ack", "manual", "--timeout", "10s"); !strings.Contains(out, "seen by nobody") {
		t.Errorf("it was acknowledged: %q", out)
	}
	// A closed standard input is not an empty one.
	for _, args := range [][]string{{"send", "alice"}, {"send", "alice", "--lines"}, {"file", "send", "alice", "-"}, {"join", "-", "--name", "x"}, {"rpc"}} {
		if code, stderr := bob("<&- >/dev/null", args...); code != 3 && exactStdfds {
			t.Errorf("%v <&-: exit %d, %s", args, code, stderr)
		}
	}
	if code, _ := bob("2>&- <&- >/dev/null", "send", "alice", "without errors"); code != 0 {
		t.Errorf("2>&-: exit %d", code)
	}
	if out := w.must("alice", "", "inbox"); !strings.Contains(out, "without errors") {
		t.Errorf("alice has %q", out)
	}
}

// TestLeftReader: when the reader of a pipe goes away, listen exits 0. file get exits
// with an error, and the file can be fetched again.
func TestLeftReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "")
	w.join("alice")
	w.join("bob")
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(path, []byte(strings.Repeat("0123456789abcde\n", 1<<16)), 0o600); err != nil {
		t.Fatal(err)
	}
	id := strings.Fields(w.must("alice", "", "file", "send", "bob", path))[0]
	w.eventually("bob has the offer", func() bool { return strings.Contains(w.must("bob", "", "file", "list"), id) })
	script := func(s string) (int, string) {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", s, w.bin, w.home("bob"), id)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if code, out := script(`"$0" --home "$1" file get "$2" -O - | head -c 10 >/dev/null; exit ${PIPESTATUS[0]}`); code != 3 {
		t.Errorf("a reader that left a file: exit %d, %s", code, out)
	}
	if code, out := script(`set -o pipefail; "$0" --home "$1" file get "$2" -O - | wc -c`); code != 0 || strings.TrimSpace(out) != fmt.Sprint(1<<20) {
		t.Errorf("fetched again: exit %d, %s", code, out)
	}
	w.must("alice", "", "send", "bob", "one", "--wait", "delivered")
	if code, out := script(`"$0" --home "$1" listen --since 0 --type message | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}`); code != 0 && code != 141 {
		t.Errorf("a reader that left listen: exit %d, %s", code, out)
	}
}
