package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"secmsg/scripts/lab"
)

// twoVersions builds the program as an older and as a newer version, once for all tests of
// the package.
var twoVersions = sync.OnceValues(func() (bins [2]string, err error) {
	for i, version := range []string{"v1.0.9", "v1.0.10"} {
		bins[i] = filepath.Join(binaries, version, "secmsg")
		out, err := exec.Command("go", "build", "-ldflags", "-s -w -X secmsg/config.version="+version, "-o", bins[i], ".").CombinedOutput()
		if err != nil {
			return bins, fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	return bins, nil
})

func olderAndNewer(t *testing.T) (older, newer string) {
	t.Helper()
	bins, err := twoVersions()
	if err != nil {
		t.Fatal(err)
	}
	return bins[0], bins[1]
}

// TestNewerCommand: a command that finds a daemon of an older version restarts it if that
// disturbs nobody, and otherwise says what to do.
func TestNewerCommand(t *testing.T) {
	t.Parallel()
	older, newer := olderAndNewer(t)
	home := filepath.Join(t.TempDir(), "p")
	run := func(bin string, args ...string) ran {
		t.Helper()
		return runBinary(t, append(os.Environ(), "HOME="+t.TempDir(), "SECMSG_NO_MANAGER=1"), bin, append([]string{"--home", home}, args...)...)
	}
	t.Cleanup(func() { run(newer, "daemon", "stop", "--force") })
	version := func(want string, r ran) {
		t.Helper()
		if r.code != 0 || !strings.Contains(r.stdout, "version "+want) {
			t.Errorf("want version %s: %+v", want, r)
		}
	}
	version("v1.0.9", run(older, "status"))

	// Another command that a restart would disturb.
	cmd, stdin := startRPC(t, older, home)
	r := run(newer, "status")
	version("v1.0.9", r)
	if !strings.Contains(r.stderr, "older version v1.0.9 and was not restarted: it is serving other commands (1)") || !strings.Contains(r.stderr, "secmsg daemon stop") {
		t.Errorf("stderr: %s", r.stderr)
	}
	if r := run(newer, "-q", "status"); r.stderr != "" {
		t.Errorf("with -q: %s", r.stderr)
	}
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("rpc: %v", err)
	}

	// A command with --no-autostart.
	r = run(newer, "--no-autostart", "status")
	version("v1.0.9", r)
	if !strings.Contains(r.stderr, "older version v1.0.9") {
		t.Errorf("--no-autostart: %s", r.stderr)
	}
	// The daemon notices the end of rpc a moment later.
	waitFor(t, "the restart", nil, func() bool { r = run(newer, "status"); return strings.Contains(r.stdout, "v1.0.10") })
	if !strings.Contains(r.stderr, "restarted the daemon, which had the older version v1.0.9") {
		t.Errorf("stderr: %s", r.stderr)
	}
	version("v1.0.10", run(older, "status"))
	if r := run(older, "status"); r.stderr != "" {
		t.Errorf("an older command: %s", r.stderr)
	}
}

// TestNewerCommandWithAccounts: a listen of the older version continues with the newer
// daemon, and a profile that was unlocked by hand stays unlocked.
func TestNewerCommandWithAccounts(t *testing.T) {
	t.Parallel()
	older, newer := olderAndNewer(t)
	inner, err := lab.New(t.Context(), lab.Options{Dir: t.TempDir(), Binary: older})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: inner, t: t, bin: older, server: inner.ServerDir()}
	t.Cleanup(func() {
		if err := inner.Close(); err != nil {
			t.Error(err)
		}
	})
	w.join("bob")
	file := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(file, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	invite, err := w.Invite(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	w.must("alice", "", "join", invite, "--name", "alice", "--passphrase-file", file)
	if err := w.Befriend(t.Context(), "alice", "bob"); err != nil {
		t.Fatal(err)
	}

	newCommand := func(user string, args ...string) ran {
		t.Helper()
		return runBinary(t, os.Environ(), newer, append([]string{"--home", w.Home(user)}, args...)...)
	}
	r := newCommand("alice", "status")
	if !strings.Contains(r.stdout, "version v1.0.9") || !strings.Contains(r.stderr, "unlocked by hand") {
		t.Errorf("a profile that was unlocked by hand: %+v", r)
	}
	if r := newCommand("alice", "contact", "list"); r.code != 0 {
		t.Errorf("it is locked: %+v", r)
	}

	l := w.listen("bot", "bob", "--since", "0")
	w.must("alice", "", "send", "bob", "before", "--wait", "delivered")
	waitFor(t, "the first message", l.ended, func() bool { return strings.Contains(l.read(l.out), "before") })
	waitFor(t, "the restart", l.ended, func() bool { return strings.Contains(newCommand("bob", "status").stdout, "v1.0.10") })
	w.must("alice", "", "send", "bob", "after", "--wait", "delivered")
	waitFor(t, "the second message", l.ended, func() bool { return strings.Contains(l.read(l.out), "after") })
	if n := strings.Count(l.read(l.out), "before"); n != 1 {
		t.Errorf("the first message was shown %d times", n)
	}
}
