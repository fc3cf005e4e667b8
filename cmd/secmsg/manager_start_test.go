package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"secmsg/rpc/local"
)

// fakeSystemctl and fakeSystemdRun replace systemd's tools: they record their calls and
// run real daemons. The files unit and environment hold the manager's state; the file
// broken makes the service fail, and silent makes the manager unresponsive.
const fakeSystemctl = `#!/bin/sh
echo "systemctl $*" >> "$FAKE/calls"
[ ! -e "$FAKE/silent" ] || { echo "Failed to connect to bus" >&2; exit 1; }
shift
case "$1" in
show)
	for last; do :; done
	if [ -e "$FAKE/$last/ended" ]; then
		echo LoadState=loaded; echo ActiveState=deactivating
		rm -r "$FAKE/$last" # forgotten when it is asked for again
	elif [ -d "$FAKE/$last" ]; then
		echo ActiveState=activating
	else
		cat "$FAKE/unit"
	fi
	;;
show-environment) cat "$FAKE/environment" ;;
start)
	[ ! -e "$FAKE/broken" ] || { echo "Job for secmsg.service failed." >&2; exit 1; }
	setsid env -i HOME="$HOME" PATH="$PATH" XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" \
		"$SECMSG" -o json daemon run >> "$FAKE/journal" 2>&1 < /dev/null &
	until grep -q '"daemon runs"' "$FAKE/journal"; do sleep 0.01; done
	;;
esac
`

const fakeSystemdRun = `#!/bin/bash
echo "systemd-run $*" >> "$FAKE/calls"
env=() log=
while [ "$1" != -- ]; do
	case "$1" in
	--unit=*) unit=${1#--unit=} ;;
	--setenv=*) env+=("${1#--setenv=}") ;;
	--property=StandardOutput=append:*) log=${1#--property=StandardOutput=append:} ;;
	esac
	shift
done
shift
mkdir "$FAKE/$unit" 2> /dev/null || { echo "Unit $unit was already loaded" >&2; exit 1; }
touch "$log"
runs=$(grep -c '"daemon runs"' "$log")
(cd / && exec setsid env -i "${env[@]}" "$@" >> "$log" 2>&1 < /dev/null 9>&-) &
until [ $(grep -c '"daemon runs"' "$log") -gt $runs ]; do
	kill -0 $! 2> /dev/null || { rmdir "$FAKE/$unit"; echo "Job for $unit failed" >&2; exit 1; }
	sleep 0.01
done
`

// managed is a user's environment with a service manager.
type managed struct {
	*place
	fake string
}

func newManaged(t *testing.T) *managed {
	t.Helper()
	m := &managed{place: newPlace(t), fake: t.TempDir()}
	m.write("systemctl", fakeSystemctl, 0o755)
	m.write("systemd-run", fakeSystemdRun, 0o755)
	m.write("calls", "", 0o644)
	m.write("journal", "", 0o644)
	m.write("environment", "HOME="+m.home+"\n", 0o644)
	m.unit("not-found", "")
	if err := os.Mkdir(filepath.Join(m.run, "systemd"), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(m.run, "systemd", "private"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return m
}

func (m *managed) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.fake, name), []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

// unit sets what the manager knows about the installed service.
func (m *managed) unit(load, environment string) {
	m.t.Helper()
	m.write("unit", fmt.Sprintf("LoadState=%s\nEnvironment=%s\n", load, environment), 0o644)
}

func (m *managed) runs(extra []string, args ...string) ran {
	m.t.Helper()
	env := append([]string{
		"HOME=" + m.home, "PATH=" + m.fake + ":" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + m.run,
		"FAKE=" + m.fake, "SECMSG=" + m.bin,
	}, extra...)
	return runBinary(m.t, env, m.bin, args...)
}

// calls returns the calls of the tools since the last time.
func (m *managed) calls() string {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.fake, "calls"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("calls", "", 0o644)
	return string(b)
}

func (m *managed) stopped() {
	m.t.Helper()
	if r := m.runs(nil, "daemon", "stop"); r.code != 0 {
		m.t.Fatalf("stop: %+v", r)
	}
	dirs, err := filepath.Glob(filepath.Join(m.fake, local.TransientPrefix+"*"))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, dir := range dirs {
		if err := os.Remove(dir); err != nil { // the unit is unloaded
			m.t.Fatal(err)
		}
	}
	m.calls()
}

// logged reports whether a daemon ran that wrote to the daemon's own log. The service
// writes to the journal instead.
func (m *managed) logged() bool {
	b, err := os.ReadFile(filepath.Join(m.home, ".local/state/secmsg/daemon.log"))
	return err == nil && strings.Contains(string(b), `"daemon runs"`)
}

// TestManagerStartsTheService: if the service is installed, a command that finds no daemon
// has the manager start it, also after a failure.
func TestManagerStartsTheService(t *testing.T) {
	t.Parallel()
	m := newManaged(t)
	m.unit("loaded", "")
	m.pid(m.runs(nil, "status", "-o", "json"))
	calls := m.calls()
	reset, start := strings.Index(calls, "reset-failed "+socketFile+" "+serviceName), strings.Index(calls, "start "+socketFile+" "+serviceName)
	if reset < 0 || start < reset || strings.Contains(calls, "systemd-run") {
		t.Errorf("calls:\n%s", calls)
	}
	if m.logged() {
		t.Error("a daemon outside of the service was started")
	}
	m.stopped()

	// If the service does not start, that is reported, and no other daemon is started: it
	// would keep the service from starting once the cause is fixed.
	m.write("broken", "", 0o644)
	for _, args := range [][]string{{"status"}, {"send", "bob", "hello"}} {
		if r := m.runs(nil, args...); r.code != 7 || !strings.Contains(r.stderr, "Job for secmsg.service failed") || !strings.Contains(r.stderr, "journalctl --user -u secmsg.service") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if h := local.ReadHolder(m.lock()); h.Held || m.logged() {
		t.Errorf("a daemon runs: %+v", h)
	}
	if err := os.Remove(filepath.Join(m.fake, "broken")); err != nil {
		t.Fatal(err)
	}
	m.write("journal", "", 0o644)
	m.pid(m.runs(nil, "status", "-o", "json"))
}

// TestManagerStartsATransientUnit: without the service, and for profiles that it does not
// serve, the daemon runs in a transient unit.
func TestManagerStartsATransientUnit(t *testing.T) {
	t.Parallel()
	m := newManaged(t)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		load, environment string
		extra             []string
		args              []string
	}{
		"not installed":                     {load: "not-found"},
		"--home":                            {load: "loaded", args: []string{"--home", filepath.Join(m.home, "p")}},
		"the caller has another directory":  {load: "loaded", extra: []string{"XDG_DATA_HOME=" + other}},
		"the caller has another home":       {load: "loaded", extra: []string{"HOME=" + other}},
		"a directory inside of the other":   {load: "loaded", environment: "A=1 XDG_DATA_HOME=" + other + "/x", extra: []string{"XDG_DATA_HOME=" + other}},
		"the service has another directory": {load: "loaded", environment: `"XDG_DATA_HOME=/elsewhere"`},
	} {
		t.Run(name, func(t *testing.T) {
			m.unit(c.load, c.environment)
			extra := append([]string{"SECMSG_LOG_LEVEL=debug", "SECRET=hidden"}, c.extra...)
			r := m.runs(extra, append(c.args, "status", "-o", "json")...)
			pid := m.pid(r)
			calls := m.calls()
			for _, want := range []string{"systemd-run --user", "--unit=" + local.TransientPrefix, "--collect", "--service-type=notify",
				"--working-directory=/", "--setenv=SECMSG_LOG_LEVEL=debug", "--setenv=XDG_RUNTIME_DIR=" + m.run} {
				if !strings.Contains(calls, want) {
					t.Errorf("no %s in the calls:\n%s", want, calls)
				}
			}
			if strings.Contains(calls, "SECRET") || strings.Contains(calls, "systemctl --user start") {
				t.Errorf("calls:\n%s", calls)
			}
			if r := m.runs(extra, append(c.args, "daemon", "stop")...); r.code != 0 {
				t.Errorf("stop: %+v", r)
			}
			if alive(pid) && !zombie(pid) {
				t.Errorf("pid %d runs on", pid)
			}
			dirs, _ := filepath.Glob(filepath.Join(m.fake, local.TransientPrefix+"*"))
			if len(dirs) != 1 {
				t.Fatalf("units: %v", dirs)
			}
			_ = os.Remove(dirs[0])
		})
	}

	// The service gets the caller's directory from its own setting or from the manager's.
	for name, set := range map[string]func(){
		"unit":    func() { m.unit("loaded", `"XDG_DATA_HOME=`+other+`"`) },
		"manager": func() { m.unit("loaded", ""); m.write("environment", "XDG_DATA_HOME="+other+"\n", 0o644) },
	} {
		set()
		m.write("broken", "", 0o644)
		if r := m.runs([]string{"XDG_DATA_HOME=" + other}, "status"); r.code != 7 || !strings.Contains(m.calls(), "--user start") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestServiceDoesNotComeUp has the manager listen on the socket of a service that fails:
// commands soon report why.
func TestServiceDoesNotComeUp(t *testing.T) {
	t.Parallel()
	m := newManaged(t)
	if err := os.MkdirAll(m.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(m.run, "secmsg"), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(m.run, "secmsg", "secmsg.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m.write("unit", "ActiveState=activating\nSubState=auto-restart\n", 0o644)
	if r := m.runs(nil, "status"); r.code != 7 || !strings.Contains(r.stderr, "fails again and again") || !strings.Contains(r.stderr, "journalctl --user -u secmsg.service") {
		t.Errorf("%+v", r)
	}
	if err := os.Chmod(m.data(), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := m.runs(nil, "status"); r.code != 1 || !strings.Contains(r.stderr, "open to other users") || !strings.Contains(r.stderr, "chmod 700") {
		t.Errorf("%+v", r)
	}
}

// TestManagerForgetsTheUnit: the manager still has the unit of a daemon that was just
// stopped. The next start waits until the unit is gone, and is not made outside the
// manager.
func TestManagerForgetsTheUnit(t *testing.T) {
	t.Parallel()
	m := newManaged(t)
	m.pid(m.runs(nil, "status", "-o", "json"))
	if r := m.runs(nil, "daemon", "stop"); r.code != 0 {
		t.Fatalf("stop: %+v", r)
	}
	dirs, err := filepath.Glob(filepath.Join(m.fake, local.TransientPrefix+"*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("units: %v, %v", dirs, err)
	}
	if err := os.WriteFile(filepath.Join(dirs[0], "ended"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m.calls()
	m.pid(m.runs(nil, "status", "-o", "json"))
	if n := strings.Count(m.calls(), "systemd-run"); n != 2 {
		t.Errorf("systemd-run was called %d times", n)
	}
	if _, err := os.Stat(dirs[0]); err != nil {
		t.Errorf("the daemon runs outside of the unit: %v", err)
	}
}

func TestUnitWords(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "A=1": {"A=1"}, ` A=1  "B=x y" C="q\"r\\s" `: {"A=1", "B=x y", `C=q"r\s`},
	} {
		if got := unitWords(text); !slices.Equal(got, want) {
			t.Errorf("unitWords(%q) = %q", text, got)
		}
	}
}

// TestManagerRace has ten commands ask the manager at once.
func TestManagerRace(t *testing.T) {
	t.Parallel()
	m := newManaged(t)
	pids := make([]int, 10)
	var wg sync.WaitGroup
	for i := range pids {
		wg.Go(func() { pids[i] = m.pid(m.runs(nil, "status", "-o", "json")) })
	}
	wg.Wait()
	for _, pid := range pids {
		if pid != pids[0] {
			t.Fatalf("daemons: %v", pids)
		}
	}
	if n := m.spawned(); n != 1 {
		t.Errorf("%d daemons were started", n)
	}
	m.stopped()
}

// TestManagerIsSilent: a manager that does not respond counts as none, and with no_manager
// it is not asked.
func TestManagerIsSilent(t *testing.T) {
	t.Parallel()
	m := newManaged(t)
	m.unit("loaded", "")
	m.write("silent", "", 0o644)
	m.pid(m.runs(nil, "status", "-o", "json"))
	if !m.logged() {
		t.Error("the command did not start the daemon by itself")
	}
	if r := m.runs(nil, "daemon", "stop"); r.code != 0 {
		t.Fatalf("stop: %+v", r)
	}
	if err := os.Remove(filepath.Join(m.fake, "silent")); err != nil {
		t.Fatal(err)
	}
	m.calls()
	pid := m.pid(m.runs([]string{"SECMSG_NO_MANAGER=1"}, "status", "-o", "json"))
	if calls := m.calls(); calls != "" {
		t.Errorf("calls:\n%s", calls)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
}

// TestServiceTakesOver starts the service while a daemon that a command started is running,
// as at the first login after a cron job.
func TestServiceTakesOver(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	stray := p.pid(p.cron("status", "-o", "json"))
	// As systemd starts it: the variable names the process itself.
	start := func() (*exec.Cmd, *bytes.Buffer) {
		t.Helper()
		cmd := exec.Command("sh", "-c", `SYSTEMD_EXEC_PID=$$ exec "$0" -o json daemon run`, p.bin)
		cmd.Env = []string{"HOME=" + p.home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + p.run}
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &log
	}

	// Another command is in progress: the service gives up and says why.
	c, err := local.Dial(t.Context(), local.Target{Sockets: []string{filepath.Join(p.data(), "secmsg.sock")}})
	if err != nil {
		t.Fatal(err)
	}
	service, log := start()
	if err := service.Wait(); service.ProcessState.ExitCode() != 1 || !strings.Contains(log.String(), `"in_use"`) || !strings.Contains(log.String(), "other commands") {
		t.Errorf("%v: %s", err, log)
	}
	if st, err := c.Status(t.Context()); err != nil || st.PID != stray {
		t.Errorf("the daemon of before: %+v, %v", st, err)
	}
	_ = c.Close()

	// The daemon notices the end of the command a moment later. systemd would also retry.
	taken := 0
	waitFor(t, "the service takes over", nil, func() bool {
		service, log = start()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = service.Wait()
		}()
		waitFor(t, "the service runs or ends", nil, func() bool {
			select {
			case <-done:
				return true
			default:
				h := local.ReadHolder(p.lock())
				return h.PID == service.Process.Pid && h.State == local.HolderRunning
			}
		})
		select {
		case <-done:
			return false
		default:
			taken = service.Process.Pid
			t.Cleanup(func() {
				_ = service.Process.Signal(syscall.SIGTERM)
				<-done
			})
			return true
		}
	})
	for _, use := range []func(*place, ...string) ran{(*place).login, (*place).cron} {
		if got := p.pid(use(p, "status", "-o", "json")); got != taken {
			t.Errorf("pid %d serves, not the service, %d", got, taken)
		}
	}
	if alive(stray) && !zombie(stray) {
		t.Errorf("the daemon of before, pid %d, runs on", stray)
	}
	// A second service, and a daemon that is run by hand, do not take over.
	for _, variable := range []string{"SYSTEMD_EXEC_PID=1", "A=1"} {
		r := runBinary(t, []string{"HOME=" + p.home, "XDG_RUNTIME_DIR=" + p.run, variable}, p.bin, "daemon", "run")
		if r.code != 1 || !strings.Contains(r.stderr, fmt.Sprintf("pid %d", taken)) {
			t.Errorf("%s: %+v", variable, r)
		}
	}
}
