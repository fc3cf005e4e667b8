package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

// systemctlTimeout bounds one call of systemctl. It is longer than the units'
// TimeoutStopSec, since a stop waits for the daemon to end.
const systemctlTimeout = 90 * time.Second

// lingerDir is where logind keeps a file for each user with linger enabled.
const lingerDir = "/var/lib/systemd/linger"

// userManager is the systemd manager of the user who runs this command.
type userManager struct {
	runtime string // the runtime directory in which it has its sockets
}

// findUserManager finds the running manager of this user. Under cron, `su` and
// `runuser`, XDG_RUNTIME_DIR is unset or belongs to another user, so the well-known
// directory of the user id is tried as well. It returns false if no manager is running.
func findUserManager() (userManager, bool) {
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/run/user/" + strconv.Itoa(os.Getuid())} {
		if !filepath.IsAbs(dir) || config.CheckPrivateDir(dir) != nil {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, "systemd", "private"))
		if err == nil && info.Mode().Type() == fs.ModeSocket {
			return userManager{runtime: dir}, true
		}
	}
	return userManager{}, false
}

// env is the environment in which systemd's tools find this manager.
func (m userManager) env() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "XDG_RUNTIME_DIR=") || strings.HasPrefix(v, "DBUS_SESSION_BUS_ADDRESS=") ||
			strings.HasPrefix(v, "SYSTEMD_COLORS=")
	})
	// The escapes are those of D-Bus addresses; a runtime directory has no
	// characters that need them, but XDG_RUNTIME_DIR may be set to anything.
	bus := strings.NewReplacer("%", "%25", ",", "%2c", ";", "%3b", "=", "%3d", ":", "%3a").Replace(filepath.Join(m.runtime, "bus"))
	return append(env, "XDG_RUNTIME_DIR="+m.runtime, "DBUS_SESSION_BUS_ADDRESS=unix:path="+bus, "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
}

// run runs one of systemd's tools for this manager and returns its standard output.
// The error includes the tool's standard error.
func (m userManager) run(ctx context.Context, tool string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, systemctlTimeout, fmt.Errorf("no answer within %s", systemctlTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, append([]string{"--user"}, args...)...)
	cmd.Env = m.env()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return stdout.String(), fmt.Errorf("%s --user %s: %w", tool, args[0], err)
	}
	return stdout.String(), nil
}

// systemctl runs `systemctl --user` with args.
func (m userManager) systemctl(ctx context.Context, args ...string) error {
	_, err := m.run(ctx, "systemctl", args...)
	return err
}

// answers checks that the manager responds, by asking for its version.
func (m userManager) answers(ctx context.Context) error {
	_, err := m.run(ctx, "systemctl", "show", "--property=Version")
	return err
}

// unitState is the manager's view of one unit.
type unitState struct {
	load   string // "not-found" if there is no such unit
	active string // "active", "failed" and others
	pid    int    // of the service's main process; 0 if there is none
}

// state asks about a unit; the manager also answers for units that do not exist.
func (m userManager) state(ctx context.Context, unit string) (unitState, error) {
	out, err := m.run(ctx, "systemctl", "show", "--property=LoadState,ActiveState,MainPID", unit)
	if err != nil {
		return unitState{}, err
	}
	var st unitState
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LoadState":
			st.load = value
		case "ActiveState":
			st.active = value
		case "MainPID":
			if st.pid, err = strconv.Atoi(value); err != nil {
				return unitState{}, fmt.Errorf("systemctl --user show %s: %w", unit, err)
			}
		}
	}
	return st, nil
}

// lingers reports whether this user's manager runs without a login.
func lingers() bool {
	u, err := user.Current()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(lingerDir, u.Username))
	return err == nil
}

// errNoManager means that there is no manager to ask: the user is not logged in and
// linger is off, or the machine does not run systemd.
var errNoManager = errors.New("systemd runs no manager for this user; log in, or: loginctl enable-linger")

// managerError is the error of an install or uninstall that systemd did not carry out:
// exit 3.
func managerError(err error) *local.Error {
	if errors.Is(err, exec.ErrNotFound) {
		return local.Errorf(local.CodeIO, "systemd is not installed on this machine: %v", err)
	}
	return local.Errorf(local.CodeIO, "%v", err)
}
