package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestSubstitutionDoesNotHang runs the first command of a profile inside $( ), while the
// shell holds a lock on a descriptor: the daemon that the command starts must inherit
// neither the pipe nor the lock.
func TestSubstitutionDoesNotHang(t *testing.T) {
	t.Parallel()
	bin, dir := secmsgBinary(t), t.TempDir()
	home := filepath.Join(dir, "p")
	t.Cleanup(func() { _ = exec.Command(bin, "--home", home, "daemon", "stop").Run() })
	script := `exec 9>"$1/lock"; flock -n 9 || exit 3
out=$("$2" --home "$1/p" status) || exit 4
printf '%s\n' "$out"
exec 9>&-
flock -n "$1/lock" true || exit 5`
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script, "bash", dir, bin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	st, err := exec.Command(bin, "--home", home, "daemon", "status", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ PID int }
	if err := json.Unmarshal(st, &status); err != nil {
		t.Fatal(err)
	}
	checkDetached(t, status.PID)
}

// checkDetached checks the session, environment and descriptors of a daemon from outside.
func checkDetached(t *testing.T, pid int) {
	t.Helper()
	proc := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		t.Skip("no /proc here")
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if f[3] != strconv.Itoa(pid) {
		t.Errorf("session %s, want %d", f[3], pid)
	}
	if link, err := os.Readlink(proc + "/cwd"); err == nil && link != "/" {
		t.Errorf("working directory %s", link)
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return // a process that is not dumpable hides them
	}
	own := "" // the pipe to itself that catches what libraries write to standard error
	if link, err := os.Readlink(proc + "/fd/2"); err == nil && strings.HasPrefix(link, "pipe:") {
		own = link
	}
	ends := 0
	for _, fd := range fds {
		link, err := os.Readlink(proc + "/fd/" + fd.Name())
		switch {
		case err == nil && link == own:
			ends++
		case err == nil && (strings.HasPrefix(link, "pipe:") || strings.HasSuffix(link, "/lock")):
			t.Errorf("descriptor %s is %s", fd.Name(), link)
		}
	}
	if own != "" && ends != 2 {
		t.Errorf("standard error is a pipe of which the daemon has %d ends: it is somebody else's", ends)
	}
}

// TestFirstCommandsRace starts several commands at once on a new profile: one daemon
// serves them all.
func TestFirstCommandsRace(t *testing.T) {
	t.Parallel()
	bin, home := secmsgBinary(t), filepath.Join(t.TempDir(), "p")
	t.Cleanup(func() { _ = exec.Command(bin, "--home", home, "daemon", "stop").Run() })
	const commands = 8
	var wg sync.WaitGroup
	pids := make(chan int, commands)
	for range commands {
		wg.Go(func() {
			cmd := exec.Command(bin, "--home", home, "status", "-o", "json")
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("%v: %s", err, stderrOf(err))
				return
			}
			var st struct{ PID int }
			if err := json.Unmarshal(out, &st); err != nil {
				t.Error(err)
			}
			pids <- st.PID
		})
	}
	wg.Wait()
	close(pids)
	first := <-pids
	for pid := range pids {
		if pid != first {
			t.Errorf("daemons %d and %d", first, pid)
		}
	}
	// After a stop no daemon is left, not even one that was slow to start.
	if out, err := exec.Command(bin, "--home", home, "daemon", "stop").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, pid := range daemonsOf(t, home) {
		t.Errorf("daemon %d runs after the stop", pid)
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
}

// daemonsOf finds the processes whose command line names a profile.
func daemonsOf(t *testing.T, home string) []int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, name := range lines {
		line, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(line, []byte("--home\x00"+home+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func stderrOf(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(exit.Stderr)
	}
	return ""
}

// startRPC starts secmsg rpc and returns once it has answered, so that it is connected
// to the daemon. It runs until its standard input is closed.
func startRPC(t *testing.T, bin, home string) (*exec.Cmd, io.WriteCloser) {
	t.Helper()
	cmd := exec.Command(bin, "--home", home, "rpc")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, `{"jsonrpc":"2.0","id":1,"method":"status.get"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.Contains(line, `"id":1`) {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd, stdin
}

// TestInterrupt sends SIGINT to a command that waits.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	bin, home := secmsgBinary(t), filepath.Join(t.TempDir(), "p")
	t.Cleanup(func() { _ = exec.Command(bin, "--home", home, "daemon", "stop").Run() })
	cmd, _ := startRPC(t, bin, home)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("exit %d (%v), want 130", cmd.ProcessState.ExitCode(), err)
	}
}

// TestStartIsLight counts the allocations of the packages before main starts, which every
// command pays for, to find heavy imports. The runtime's count does not depend on the
// speed of the machine.
func TestStartIsLight(t *testing.T) {
	t.Parallel()
	const (
		maxBytes  = 2 << 20 // today 0.9 MiB
		maxAllocs = 12000   // today 5,800
	)
	cmd := exec.Command(secmsgBinary(t), "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	// init internal/cpu @0.1 ms, 0.002 ms clock, 0 bytes, 0 allocs
	line := regexp.MustCompile(`(?m)^init \S+ @.* (\d+) bytes, (\d+) allocs$`)
	bytes, allocs := 0, 0
	found := line.FindAllStringSubmatch(trace.String(), -1)
	for _, f := range found {
		b, err := strconv.Atoi(f[1])
		n, err2 := strconv.Atoi(f[2])
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		bytes, allocs = bytes+b, allocs+n
	}
	if len(found) == 0 {
		t.Fatalf("no trace:\n%s", trace.String())
	}
	if bytes > maxBytes || allocs > maxAllocs {
		t.Errorf("the packages allocate %d bytes in %d pieces before main:\n%s", bytes, allocs, trace.String())
	}
}

// TestSocketActivation has systemd's own tool make the socket, as the units do. A command
// in the environment of a cron job then finds the daemon through it.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("no systemd-socket-activate here")
	}
	bin, dir := secmsgBinary(t), t.TempDir()
	run := filepath.Join(dir, "run")
	if err := os.MkdirAll(filepath.Join(run, "secmsg"), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(run, "secmsg", "secmsg.sock")
	env := []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	server := exec.Command(activate, "-E", "HOME", "-E", "XDG_RUNTIME_DIR", "-l", socket, bin, "daemon", "run")
	server.Env = append(env, "XDG_RUNTIME_DIR="+run)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	command := func(extra []string, args ...string) error {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(env, extra...)
		return cmd.Run()
	}
	session := []string{"XDG_RUNTIME_DIR=" + run}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for command(session, "--no-autostart", "status") != nil {
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("systemd-socket-activate: %v", err)
		case <-deadline:
			t.Fatal("no answer behind the socket")
		}
	}
	if err := command(nil, "--no-autostart", "status"); err != nil {
		t.Errorf("without XDG_RUNTIME_DIR: %v", err)
	}
	if err := command(session, "daemon", "stop"); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}
