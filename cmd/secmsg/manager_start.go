package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

// A daemon that a command starts directly belongs to the session or unit of that
// command: it keeps a login session open, dies with the unit of a job, and runs in
// that unit's sandbox for all later commands. So if the user has a service manager,
// the manager starts the daemon, as the installed service or as a transient unit.

// transientUnit names the transient unit of a profile.
func transientUnit(paths config.Paths) string {
	sum := sha256.Sum256([]byte(paths.Data))
	return local.TransientPrefix + hex.EncodeToString(sum[:8]) + ".service"
}

// askTimeout bounds one request to the manager to start the daemon. It is shorter
// than startTimeout, which leaves time to find out why the start failed.
const askTimeout = startTimeout - 2*time.Second

// askManager has the user's service manager start the daemon, and reports whether a
// manager took over the start. The error says why the daemon did not start.
func (s *starter) askManager(ctx context.Context) (bool, error) {
	if s.cfg.NoManager {
		return false, nil
	}
	m, ok := findUserManager()
	if !ok {
		return false, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("it was not ready within %s", askTimeout))
	defer cancel()
	installed, err := m.serves(ctx, s.cfg.Paths)
	if err != nil {
		// A manager that does not respond counts as none.
		if s.a.verbose {
			s.a.notef("systemd does not respond: %v", err)
		}
		return false, nil
	}
	if !installed {
		return s.startTransient(ctx, m)
	}
	_ = m.systemctl(ctx, "reset-failed", socketFile, serviceName) // fails if nothing failed before
	if err := m.systemctl(ctx, "start", socketFile, serviceName); err != nil {
		return true, s.managedError(serviceName, err)
	}
	if s.a.verbose {
		s.a.notef("started the daemon: systemctl --user start %s", serviceName)
	}
	return true, nil
}

// managedError is the error of a unit that did not start the daemon.
func (s *starter) managedError(unit string, err error) error {
	return local.Errorf(local.CodeNoDaemon, "systemd did not start the daemon: %v", err).
		WithHint("for the reason, see: journalctl --user -u %s -n 20", unit)
}

const (
	// stalledCheck is how long a service manager may take to start the daemon before
	// the directories of the profile are checked.
	stalledCheck = time.Second
	// stalledAsk is how long it may take before it is asked for the state of the
	// service. It is longer than the service's pause between two starts.
	stalledAsk = 5 * time.Second
)

// stalled returns a function that finds out why a service manager, which listens on
// the daemon's socket, does not start the daemon. It returns nil while the cause is
// unknown.
func (a *app) stalled(ctx context.Context, cfg config.Client) func(time.Duration) error {
	asked := false
	return func(waited time.Duration) error {
		if waited < stalledCheck {
			return nil
		}
		for _, dir := range []string{cfg.Paths.Data, cfg.Paths.State} {
			if err := config.CheckPrivateDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return privateDirError(err)
			}
		}
		if waited < stalledAsk || asked || cfg.NoManager {
			return nil
		}
		asked = true
		m, ok := findUserManager()
		if !ok {
			return nil
		}
		out, err := m.run(ctx, "systemctl", "show", "--property=ActiveState,SubState", serviceName)
		if err != nil || !strings.Contains(out, "=failed") && !strings.Contains(out, "=auto-restart") {
			return nil
		}
		return local.Errorf(local.CodeNoDaemon, "systemd cannot start the daemon: %s fails again and again", serviceName).
			WithHint("for the reason, see: journalctl --user -u %s -n 20", serviceName)
	}
}

// serves reports whether the manager has the installed service and the service is
// for this profile. With a different XDG_DATA_HOME it would be for another one.
func (m userManager) serves(ctx context.Context, paths config.Paths) (bool, error) {
	out, err := m.run(ctx, "systemctl", "show", "--property=LoadState,Environment", serviceName)
	if err != nil {
		return false, err
	}
	loaded, environment := false, ""
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LoadState":
			loaded = value == "loaded"
		case "Environment":
			environment = value
		}
	}
	if !loaded || paths.Home != "" {
		return false, nil
	}
	out, err = m.run(ctx, "systemctl", "show-environment")
	if err != nil {
		return false, err
	}
	theirs := map[string]string{}
	for line := range strings.Lines(out) {
		setVar(theirs, strings.TrimSuffix(line, "\n"))
	}
	for _, word := range unitWords(environment) {
		setVar(theirs, word) // the unit's variables override the manager's
	}
	return sameProfile(theirs), nil
}

func setVar(vars map[string]string, assignment string) {
	if name, value, ok := strings.Cut(assignment, "="); ok {
		vars[name] = value
	}
}

// sameProfile reports whether an environment gives a profile the same directories as
// the caller's environment.
func sameProfile(theirs map[string]string) bool {
	if home, ok := theirs["HOME"]; ok && filepath.Clean(home) != filepath.Clean(os.Getenv("HOME")) {
		return false
	}
	for _, name := range profileVars() {
		own, other := os.Getenv(name), theirs[name]
		if !filepath.IsAbs(own) {
			own = ""
		}
		if !filepath.IsAbs(other) {
			other = ""
		}
		if own != other {
			return false
		}
	}
	return true
}

// unitWords splits a list in the format of systemctl show: words separated by spaces,
// in double quotes if needed.
func unitWords(s string) []string {
	var words []string
	var word strings.Builder
	quoted, any := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted, any = !quoted, true
		case c == '\\' && quoted && i+1 < len(s):
			i++
			word.WriteByte(s[i])
		case c == ' ' && !quoted:
			if any {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteByte(c)
			any = true
		}
	}
	if any {
		words = append(words, word.String())
	}
	return words
}

// startTransient has the manager run the daemon as a transient unit. If several
// commands ask at once, only one of them creates the unit.
func (s *starter) startTransient(ctx context.Context, m userManager) (bool, error) {
	program, args, err := s.a.daemonCommand()
	if err != nil {
		return false, err
	}
	unit := transientUnit(s.cfg.Paths)
	run := []string{
		"--quiet", "--collect", "--unit=" + unit, "--description=secmsg, messenger daemon (started by a command)",
		"--service-type=notify", "--property=NotifyAccess=main", "--property=UMask=0077", "--property=LimitCORE=0",
		"--property=StandardOutput=append:" + s.cfg.Paths.Log, "--property=StandardError=append:" + s.cfg.Paths.Log,
		"--working-directory=/",
	}
	for _, v := range daemonEnv(os.Environ()) {
		if !strings.HasPrefix(v, "XDG_RUNTIME_DIR=") {
			run = append(run, "--setenv="+v)
		}
	}
	run = append(run, "--setenv=XDG_RUNTIME_DIR="+m.runtime, "--", program)
	run = append(run, args...)
	for {
		_, err = m.run(ctx, "systemd-run", run...)
		if err == nil {
			if s.a.verbose {
				s.a.notef("started the daemon (transient unit %s, log %s)", unit, s.cfg.Paths.Log)
			}
			return true, nil
		}
		if local.ReadHolder(s.cfg.Paths.Lock).Held {
			return true, nil // another command was faster
		}
		st, stateErr := m.state(ctx, unit)
		if stateErr == nil && (st.active == "active" || st.active == "activating") {
			return true, nil // another command was faster, and its daemon is still starting
		}
		if stateErr != nil || st.load == "not-found" {
			break
		}
		// The previous daemon has exited, but the manager has not removed its unit yet.
		select {
		case <-time.After(startPollSlow):
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	if e := lastError(s.cfg.Paths.Log, s.offset); e != nil && e.Code != local.CodeInUse {
		return true, e // the daemon was started and exited with this error
	}
	if s.a.verbose {
		s.a.notef("systemd did not start the daemon: %v", err)
	}
	return false, nil
}
