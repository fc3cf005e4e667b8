package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ran is the result of a command: its exit code and both streams.
type ran struct {
	code           int
	stdout, stderr string
}

// runBinary runs a command in an environment of its own.
func runBinary(t *testing.T, env []string, bin string, args ...string) ran {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Env = env
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// copyBinary copies the program to a path, as an installation does: the old file
// loses its name, and a process that runs it keeps it.
func copyBinary(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close(), os.Rename(to+".new", to)); err != nil {
		t.Fatal(err)
	}
}

// If no manager is running, an install says so and exits 3, since nothing was enabled. The
// units that it wrote are valid for systemd. An uninstall removes them, and the links that
// an install in a session would have made.
func TestInstallWithoutManager(t *testing.T) {
	t.Parallel()
	bin, dir := secmsgBinary(t), t.TempDir()
	units := filepath.Join(dir, "systemd", "user")
	env := []string{"HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "PATH=/nonexistent"}
	if _, ok := findUserManager(); ok {
		t.Skip("a user manager runs here; it is tried by scripts/test-engines systemd")
	}

	got := runBinary(t, env, bin, "daemon", "install")
	if got.code != 3 || !strings.Contains(got.stderr, "systemd runs no manager") || !strings.Contains(got.stderr, "enable --now") {
		t.Errorf("install: %+v", got)
	}
	if want := filepath.Join(units, serviceName) + "\n" + filepath.Join(units, socketFile) + "\n"; got.stdout != want {
		t.Errorf("install printed %q, want %q", got.stdout, want)
	}
	got = runBinary(t, env, bin, "daemon", "install", "-o", "json")
	var r installResult
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || got.code != 3 || r.Enabled || r.Exec != bin || r.Service != filepath.Join(units, serviceName) {
		t.Errorf("install -o json: %+v, %+v, %v", got, r, err)
	}

	if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
		verify := exec.Command(analyze, "verify", "--user", filepath.Join(units, serviceName), filepath.Join(units, socketFile))
		verify.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		if out, err := verify.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) != 0 {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	}

	wants := filepath.Join(units, "default.target.wants")
	if err := os.Mkdir(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(units, serviceName), filepath.Join(wants, serviceName)); err != nil {
		t.Fatal(err)
	}
	got = runBinary(t, env, bin, "daemon", "uninstall", "-o", "json")
	var u uninstallResult
	if err := json.Unmarshal([]byte(got.stdout), &u); err != nil || got.code != 0 || len(u.Removed) != 3 {
		t.Errorf("uninstall: %+v, %v", got, err)
	}
	if left, err := os.ReadDir(units); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if got := runBinary(t, env, bin, "daemon", "uninstall"); got.code != 0 || !strings.Contains(got.stderr, "not installed") {
		t.Errorf("uninstall of nothing: %+v", got)
	}
}

// Root writes nothing into the HOME of another user, as sudo may leave it. A HOME that is
// not an absolute path is refused.
func TestInstallForeignHome(t *testing.T) {
	t.Parallel()
	bin, dir := secmsgBinary(t), t.TempDir()
	homes := map[string]string{"relative": "relative/path", "none": ""}
	if os.Getuid() == 0 {
		const somebody = 12345
		if err := os.Chown(dir, somebody, somebody); err != nil {
			t.Fatal(err)
		}
		homes["foreign"] = dir
	}
	for name, home := range homes {
		for _, verb := range []string{"install", "uninstall"} {
			cmd := exec.Command(bin, "daemon", verb)
			cmd.Env, cmd.Dir = []string{"HOME=" + home, "PATH=/nonexistent"}, t.TempDir()
			out, err := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != 1 {
				t.Errorf("%s, HOME %s: exit %d (%v), want 1: %s", verb, name, got, err, out)
			}
			if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) != 0 {
				t.Errorf("%s, HOME %s: wrote %v, %v", verb, name, left, err)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("wrote into a foreign HOME: %v, %v", left, err)
	}
}

// If the manager does not respond, an uninstall fails and changes nothing, since the
// service may still be running.
func TestUninstallSilentManager(t *testing.T) {
	t.Parallel()
	bin, dir := secmsgBinary(t), t.TempDir()
	if _, ok := findUserManager(); ok {
		t.Skip("a user manager runs here")
	}
	env := []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "PATH=" + os.Getenv("PATH")}
	if got := runBinary(t, env, bin, "daemon", "install"); got.code != 3 {
		t.Fatalf("install: %+v", got)
	}
	// A socket that a dead manager left behind.
	if err := os.Mkdir(filepath.Join(dir, "systemd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "systemd", "private"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	got := runBinary(t, env, bin, "daemon", "uninstall", "-o", "json")
	if got.code != 3 || got.stdout != "" || !strings.Contains(got.stderr, "nothing was removed") {
		t.Errorf("uninstall: %+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, ".config", "systemd", "user", serviceName)); err != nil {
		t.Errorf("the unit: %v", err)
	}
	if got := runBinary(t, env, bin, "daemon", "install"); got.code != 3 || !strings.Contains(got.stderr, "enable --now") {
		t.Errorf("install: %+v", got)
	}
}

// The unit names the link by which the program was called, but not a different program of
// the same name.
func TestCalledName(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	link, other := filepath.Join(dir, "link"), filepath.Join(dir, "other")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", dir)
	for arg0, want := range map[string]string{
		link: link, "./link": link, "link": link, // by path, relative, by PATH
		own: own, other: own, "other": own, "nosuch": own, "": own,
	} {
		if got, err := calledName(arg0); err != nil || got != want {
			t.Errorf("calledName(%q) = %s, %v; want %s", arg0, got, err, want)
		}
	}
}

var placeholder = regexp.MustCompile(`@[A-Z]+@`)

// The service uses the profile of the command that installed it.
func TestUnitEnvironment(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "relative")
	t.Setenv("XDG_DATA_HOME", `/data 100% "x"`)
	t.Setenv("XDG_STATE_HOME", "")
	u := makeUnits(t.Context(), "/u", "/bin/secmsg", false)
	if !strings.Contains(u.serviceText, "\nEnvironment=\"XDG_DATA_HOME=/data 100%% \\\"x\\\"\"\nRestart=") ||
		strings.Contains(u.serviceText, "XDG_CONFIG_HOME") || strings.Contains(u.serviceText, "XDG_STATE_HOME") {
		t.Errorf("unit:\n%s", u.serviceText)
	}
	if strings.Contains(u.serviceText, "PrivateUsers") || placeholder.MatchString(u.serviceText+u.socketText) {
		t.Errorf("unit without user namespaces:\n%s", u.serviceText)
	}
	if u := makeUnits(t.Context(), "/u", "/bin/secmsg", true); !strings.Contains(u.serviceText, "\nPrivateUsers=yes\n") {
		t.Errorf("unit:\n%s", u.serviceText)
	}
}

// After an upgrade, status says that the daemon still runs the old program.
func TestUpgradedBinaryIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin, home := filepath.Join(dir, "secmsg"), filepath.Join(dir, "home")
	copyBinary(t, secmsgBinary(t), bin)
	env := append(os.Environ(), "HOME="+dir)
	t.Cleanup(func() { runBinary(t, env, bin, "--home", home, "daemon", "stop") })
	const told = "from before an upgrade"
	if got := runBinary(t, env, bin, "--home", home, "status"); got.code != 0 || strings.Contains(got.stdout, told) {
		t.Fatalf("before: %+v", got)
	}
	copyBinary(t, secmsgBinary(t), bin)
	if got := runBinary(t, env, bin, "--home", home, "status"); got.code != 0 || !strings.Contains(got.stdout, told) {
		t.Errorf("after: %+v", got)
	}
	if got := runBinary(t, env, bin, "--home", home, "daemon", "stop"); got.code != 0 {
		t.Fatalf("stop: %+v", got)
	}
	if got := runBinary(t, env, bin, "--home", home, "status"); got.code != 0 || strings.Contains(got.stdout, told) {
		t.Errorf("after a restart: %+v", got)
	}
}

// brokenBehindSocket has systemd's own tool listen for a daemon whose profile other users
// may enter. At the first connection, the process of the tool becomes the daemon.
func brokenBehindSocket(t *testing.T, pass ...string) (home string, server *exec.Cmd) {
	t.Helper()
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("no systemd-socket-activate here")
	}
	bin := secmsgBinary(t)
	home = filepath.Join(t.TempDir(), "h")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o755); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	server = exec.Command(activate, append(pass, "-l", filepath.Join(home, "secmsg.sock"), bin, "--home", home, "daemon", "run")...)
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "Listening on") {
	}
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		_, _ = io.Copy(io.Discard, log)
	}()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM) // it may have ended
		<-rest
		_ = server.Wait()
	})
	return home, server
}

// told checks that a command reports why the daemon does not start.
func told(t *testing.T, got ran) {
	t.Helper()
	if got.code != 1 || !strings.Contains(got.stderr, "is open to other users") || !strings.Contains(got.stderr, "chmod 700") {
		t.Errorf("status: %+v", got)
	}
}

// A daemon that is activated by a command and cannot start reports why to that command,
// and exits.
func TestActivatedDaemonSaysWhy(t *testing.T) {
	t.Parallel()
	home, server := brokenBehindSocket(t)
	told(t, runBinary(t, os.Environ(), secmsgBinary(t), "--home", home, "--no-autostart", "status"))
	if err := server.Wait(); server.ProcessState == nil || server.ProcessState.ExitCode() != 1 {
		t.Errorf("the daemon ended with %v, want exit 1", err)
	}
}

// Under systemd it keeps running, reports the cause to every command and to the manager,
// and serves as soon as the cause is fixed. So there are no failed starts that could reach
// a limit.
func TestActivatedDaemonWaitsForMending(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	home, server := brokenBehindSocket(t, "-E", "NOTIFY_SOCKET", "-E", "HOME")
	bin := secmsgBinary(t)
	for range 5 {
		told(t, runBinary(t, os.Environ(), bin, "--home", home, "--no-autostart", "status"))
	}
	heard := ""
	for !strings.Contains(heard, "READY=1") || !strings.Contains(heard, "STATUS=does not start: directory") {
		b := make([]byte, 512)
		if err := sock.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := sock.Read(b)
		if err != nil {
			t.Fatalf("%v; heard %q", err, heard)
		}
		heard += string(b[:n]) + "\n"
	}
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	got := runBinary(t, os.Environ(), bin, "--home", home, "--no-autostart", "status", "-o", "json")
	var st struct{ PID int }
	if err := json.Unmarshal([]byte(got.stdout), &st); err != nil || got.code != 0 || st.PID != server.Process.Pid {
		t.Errorf("after chmod: %+v, want pid %d", got, server.Process.Pid)
	}
	if got := runBinary(t, os.Environ(), bin, "--home", home, "daemon", "stop"); got.code != 0 {
		t.Errorf("stop: %+v", got)
	}
}
