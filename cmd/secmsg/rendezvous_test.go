package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"secmsg/rpc/local"
)

// place is the environment of one user in a test: a home directory and, for a
// login shell, a runtime directory. A job of cron has none.
type place struct {
	t         *testing.T
	bin       string
	home, run string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, bin: secmsgBinary(t), home: t.TempDir(), run: filepath.Join(t.TempDir(), "run")}
	p.makeRun()
	t.Cleanup(func() {
		if h := local.ReadHolder(p.lock()); h.PID != 0 {
			_ = syscall.Kill(h.PID, syscall.SIGKILL)
		}
	})
	return p
}

func (p *place) makeRun() {
	p.t.Helper()
	if err := os.Mkdir(p.run, 0o700); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) data() string { return filepath.Join(p.home, ".local/share/secmsg") }
func (p *place) lock() string { return filepath.Join(p.data(), "daemon.lock") }

func (p *place) cron(args ...string) ran {
	p.t.Helper()
	return runBinary(p.t, []string{"HOME=" + p.home, "PATH=" + os.Getenv("PATH"), "SECMSG_NO_MANAGER=1"}, p.bin, args...)
}

func (p *place) login(args ...string) ran {
	p.t.Helper()
	return runBinary(p.t, []string{"HOME=" + p.home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + p.run, "SECMSG_NO_MANAGER=1"}, p.bin, args...)
}

// pid reads the pid from the output of status.
func (p *place) pid(r ran) int {
	p.t.Helper()
	var st struct{ PID int }
	if err := json.Unmarshal([]byte(r.stdout), &st); err != nil || r.code != 0 || st.PID == 0 {
		p.t.Fatalf("status: %+v, %v", r, err)
	}
	return st.PID
}

// spawned counts the daemons that were started, by the lines of the log with
// which each of them ends its start.
func (p *place) spawned() int {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.home, ".local/state/secmsg/daemon.log"))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Count(string(b), `"daemon runs"`) + strings.Count(string(b), `{"error":`)
}

// TestJobAndLoginShareTheDaemon: a cron job and a login shell use the daemon that the other
// one started.
func TestJobAndLoginShareTheDaemon(t *testing.T) {
	t.Parallel()
	for name, starts := range map[string]func(*place, ...string) ran{"cron": (*place).cron, "login": (*place).login} {
		t.Run(name+" starts it", func(t *testing.T) {
			p := newPlace(t)
			pid := p.pid(starts(p, "status", "-o", "json"))
			for _, use := range []func(*place, ...string) ran{(*place).cron, (*place).login} {
				if got := p.pid(use(p, "status", "-o", "json")); got != pid {
					t.Errorf("another daemon: pid %d, not %d", got, pid)
				}
				if r := use(p, "daemon", "status"); r.code != 0 || !strings.Contains(r.stdout, strconv.Itoa(pid)) {
					t.Errorf("daemon status: %+v", r)
				}
			}
			stop := (*place).cron
			if name == "cron" {
				stop = (*place).login
			}
			if r := stop(p, "daemon", "stop"); r.code != 0 {
				t.Errorf("daemon stop: %+v", r)
			}
			if h := local.ReadHolder(p.lock()); h.Held {
				t.Errorf("it runs on: %+v", h)
			}
		})
	}
}

// TestSocketGoes removes the socket of a running daemon, in every way that happens in
// practice: the daemon makes a new one where every client looks.
func TestSocketGoes(t *testing.T) {
	for name, take := range map[string]func(p *place, socket string) error{
		"runtime directory removed": func(p *place, _ string) error { return os.RemoveAll(p.run) },
		"runtime directory made again": func(p *place, _ string) error {
			if err := os.RemoveAll(p.run); err != nil {
				return err
			}
			return os.Mkdir(p.run, 0o700)
		},
		"socket removed": func(_ *place, socket string) error { return os.Remove(socket) },
		"a file in its place": func(_ *place, socket string) error {
			if err := os.Remove(socket); err != nil {
				return err
			}
			return os.WriteFile(socket, []byte("in the way"), 0o600)
		},
		"a dead socket in its place": func(_ *place, socket string) error {
			if err := os.Remove(socket); err != nil {
				return err
			}
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				return err
			}
			ln.SetUnlinkOnClose(false)
			return ln.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			pid := p.pid(p.login("status", "-o", "json"))
			// An open connection continues.
			socket := filepath.Join(p.run, "secmsg", "secmsg.sock")
			c, err := local.Dial(t.Context(), local.Target{Sockets: []string{socket}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := take(p, socket); err != nil {
				t.Fatal(err)
			}
			// The next command runs before the daemon has noticed.
			for _, use := range []func(*place, ...string) ran{(*place).login, (*place).cron} {
				if got := p.pid(use(p, "status", "-o", "json")); got != pid {
					t.Errorf("another daemon: pid %d, not %d", got, pid)
				}
			}
			if st, err := c.Status(t.Context()); err != nil || st.PID != pid {
				t.Errorf("the connection from before: %+v, %v", st, err)
			}
			if n := p.spawned(); n != 1 {
				t.Errorf("%d daemons were started, want 1", n)
			}
			if r := p.cron("daemon", "stop"); r.code != 0 {
				t.Errorf("daemon stop: %+v", r)
			}
		})
	}
}

// TestStoppedDaemon suspends the daemon's process (SIGSTOP). Every command gives up, and
// says which process it is and what to do.
func TestStoppedDaemon(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	pid := p.pid(p.login("status", "-o", "json"))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	check := func(args ...string) {
		t.Helper()
		r := p.login(args...)
		if r.code != 7 || !strings.Contains(r.stderr, fmt.Sprintf("pid %d", pid)) || !strings.Contains(r.stderr, "stop --force") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	for _, args := range [][]string{
		{"status"}, {"status", "--check"}, {"send", "bob", "hello"}, {"inbox"}, {"listen"}, {"listen", "--consumer", "bot"},
		{"rpc"}, {"rpc", "call", "status.get"}, {"file", "list"}, {"call", "status"}, {"daemon", "status"}, {"daemon", "stop"},
		{"--no-autostart", "status"},
	} {
		check(args...)
	}
	// The requests of these commands do no harm.
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := p.pid(p.login("status", "-o", "json")); got != pid {
		t.Errorf("another daemon: pid %d, not %d", got, pid)
	}
	// The same without a socket: only the lock shows that there is a daemon.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(p.run); err != nil {
		t.Fatal(err)
	}
	p.makeRun()
	before := p.spawned()
	for _, args := range [][]string{{"status"}, {"daemon", "status"}, {"daemon", "stop"}} {
		check(args...)
	}
	if n := p.spawned() - before; n != 0 {
		t.Errorf("%d further daemons were started", n)
	}
	if r := p.login("daemon", "stop", "--force"); r.code != 0 {
		t.Fatalf("stop --force: %+v", r)
	}
	if got := p.pid(p.login("status", "-o", "json")); got == pid {
		t.Error("the stopped daemon runs on")
	}
	if r := p.login("daemon", "stop", "--force"); r.code != 0 {
		t.Errorf("stop --force of a daemon that is well: %+v", r)
	}
}

// TestColdRace starts ten commands at once on a new profile, some with and some without a
// runtime directory.
func TestColdRace(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	const commands = 10
	got := make([]ran, commands)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			if i%2 == 0 {
				got[i] = p.cron("status", "-o", "json")
			} else {
				got[i] = p.login("status", "-o", "json")
			}
		})
	}
	wg.Wait()
	pids := map[int]int{}
	for _, r := range got {
		pids[p.pid(r)]++
	}
	if len(pids) != 1 {
		t.Errorf("daemons and how many commands they served: %v", pids)
	}
	if n := p.spawned(); n > commands {
		t.Errorf("%d daemons were started by %d commands", n, commands)
	}
	if r := p.cron("daemon", "stop"); r.code != 0 {
		t.Fatalf("daemon stop: %+v", r)
	}
	if h := local.ReadHolder(p.lock()); h.Held {
		t.Errorf("after the stop a daemon runs: %+v", h)
	}
}

// TestStaleTraces creates the leftovers of an earlier boot: a socket, a pointer and a lock
// that name a running process which is not a daemon.
func TestStaleTraces(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := os.MkdirAll(p.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(p.data(), "secmsg.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
	}()
	for name, text := range map[string]string{
		"socket": filepath.Join(p.run, "nothing") + "\n", "daemon.lock": fmt.Sprintf("%d\n", sleep.Process.Pid),
		"daemon.lock.state": fmt.Sprintf("%d running\n", sleep.Process.Pid),
	} {
		if err := os.WriteFile(filepath.Join(p.data(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"daemon", "status"}, {"daemon", "stop"}, {"daemon", "stop", "--force"}} {
		if r := p.cron(args...); r.code != 7 || !strings.Contains(r.stderr, "not running") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	p.pid(p.login("status", "-o", "json"))
	if err := sleep.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process that the old lock named: %v", err)
	}
}

// TestCopiedProfile copies a profile while its daemon runs, so that both share a runtime
// directory: each is served by its own daemon.
func TestCopiedProfile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	first := p.pid(p.login("status", "-o", "json"))
	q := &place{t: t, bin: p.bin, home: t.TempDir(), run: p.run}
	t.Cleanup(func() { q.login("daemon", "stop") })
	for _, name := range []string{"socket", "daemon.lock"} {
		b, err := os.ReadFile(filepath.Join(p.data(), name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(q.data(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(q.data(), name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := q.login("daemon", "stop"); r.code != 7 {
		t.Errorf("daemon stop of the copy: %+v", r)
	}
	second := q.pid(q.login("status", "-o", "json"))
	if first == second {
		t.Fatal("the copy is served by the daemon of the original")
	}
	for range 2 {
		if got := p.pid(p.login("status", "-o", "json")); got != first {
			t.Errorf("the original is served by pid %d, not %d", got, first)
		}
		if got := q.pid(q.login("status", "-o", "json")); got != second {
			t.Errorf("the copy is served by pid %d, not %d", got, second)
		}
	}
}

// TestProfileRemoved removes the directory of a profile under its daemon, which
// must end: the next command makes a new profile with a daemon of its own.
func TestProfileRemoved(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	pid := p.pid(p.login("status", "-o", "json"))
	if err := os.RemoveAll(p.data()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the daemon of the removed profile ends", nil, func() bool { return !alive(pid) || zombie(pid) })
	if _, err := os.Stat(p.data()); err == nil {
		t.Error("it made the directory again")
	} else if !os.IsNotExist(err) {
		t.Error(err)
	}
	if got := p.pid(p.login("status", "-o", "json")); got == pid {
		t.Errorf("pid %d serves the new profile", got)
	}
}

// TestProfileMoved moves a profile, which holds the socket of its running daemon, away and
// back. The daemon must not recreate the directory in between: the profile would be moved
// into it, and could no longer be found.
func TestProfileMoved(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	pid := p.pid(p.cron("status", "-o", "json"))
	away := p.data() + ".away"
	if err := os.Rename(p.data(), away); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the daemon of the moved profile ends", nil, func() bool { return !alive(pid) || zombie(pid) })
	if _, err := os.Stat(p.data()); !os.IsNotExist(err) {
		t.Errorf("the old name: %v", err)
	}
	if err := os.Rename(away, p.data()); err != nil {
		t.Fatal(err)
	}
	if got := p.pid(p.cron("status", "-o", "json")); got == pid {
		t.Errorf("pid %d serves again", got)
	}
}

// TestForeignLock has another program hold the lock: the command exits with that reason,
// and starts at most one daemon.
func TestForeignLock(t *testing.T) {
	t.Parallel()
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("no flock here")
	}
	p := newPlace(t)
	if err := os.MkdirAll(p.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	hold := exec.Command(flock, p.lock(), "sleep", "1000")
	hold.SysProcAttr = ownGroup()
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = endGroup(hold.Process)
		_ = hold.Wait()
	}()
	waitFor(t, "the lock is held", nil, func() bool { return local.ReadHolder(p.lock()).Held })
	// The pid in the file is that of a previous daemon, and now belongs to the daemon of
	// another profile.
	other := newPlace(t)
	neighbour := other.pid(other.login("status", "-o", "json"))
	if err := os.WriteFile(p.lock(), []byte(strconv.Itoa(neighbour)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"daemon", "status"}, {"daemon", "stop"}, {"daemon", "stop", "--force"}} {
		if r := p.login(args...); r.code != 7 || !strings.Contains(r.stderr, "fuser") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if b, err := os.ReadFile(filepath.Join(p.home, ".local/state/secmsg/daemon.log")); err != nil && !os.IsNotExist(err) || len(b) > 0 {
		t.Errorf("a daemon was started: %s, %v", b, err)
	}
	if err := hold.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other program: %v", err)
	}
	if r := other.login("daemon", "status"); r.code != 0 {
		t.Errorf("the other profile's daemon: %+v", r)
	}
}

// TestStatusDoesNotActivate: daemon status and daemon stop must not connect to a service
// manager's socket while no daemon is running.
func TestStatusDoesNotActivate(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := os.MkdirAll(p.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(p.run, "secmsg"), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(p.run, "secmsg", "secmsg.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		if c, err := ln.Accept(); err == nil {
			t.Error("the socket was connected to")
			_ = c.Close()
		}
	}()
	for _, args := range [][]string{{"daemon", "status"}, {"daemon", "stop"}} {
		if r := p.login(args...); r.code != 7 || !strings.Contains(r.stderr, "not running") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	_ = ln.Close()
	<-accepted
	if _, err := os.Stat(filepath.Join(p.data(), "secmsg.db")); !os.IsNotExist(err) && err != fs.ErrNotExist {
		t.Errorf("a daemon was started: %v", err)
	}
}
