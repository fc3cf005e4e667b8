package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"secmsg/config"
)

// ErrNoDaemon means that a user has no running daemon.
var ErrNoDaemon = errors.New("no daemon runs")

// DaemonPID returns the process that holds the lock of a user's profile. It checks the process itself,
// so that an old lock file never names an unrelated one.
func (w *World) DaemonPID(user string) (int, error) {
	paths, err := config.ResolvePaths(w.Home(user))
	if err != nil {
		return 0, fmt.Errorf("daemon of %s: %w", user, err)
	}
	b, err := os.ReadFile(paths.Lock)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNoDaemon
	}
	if err != nil {
		return 0, fmt.Errorf("daemon of %s: %w", user, err)
	}
	fields := strings.Fields(string(b))
	if len(fields) == 0 {
		return 0, ErrNoDaemon
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || !w.ours(pid, user) {
		return 0, ErrNoDaemon
	}
	return pid, nil
}

// ours reports whether pid is a living daemon of the user's profile.
func (w *World) ours(pid int, user string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	args := strings.Split(string(b), "\x00")
	return err == nil && slices.Contains(args, w.Home(user)) && slices.Contains(args, "daemon") && filepath.Base(args[0]) == filepath.Base(w.bin)
}

// StartDaemon runs a user's daemon as a child process, with its log in the profile. Commands start one
// automatically; this is for callers that want to control it.
func (w *World) StartDaemon(ctx context.Context, user string) (*Process, error) {
	w.know(user)
	home := w.Home(user)
	if err := os.MkdirAll(home, privateDir); err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(home, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, privateFile)
	if err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(w.bin, "--home", home, "daemon", "run")
	cmd.Env = w.env(w.clientEnv)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := w.start(cmd)
	if err != nil {
		return nil, err
	}
	err = Poll(ctx, "the daemon of "+user+" answers", func() bool {
		select {
		case <-p.Done():
			return true
		default:
		}
		r, err := w.Run(ctx, user, "", "--no-autostart", "daemon", "status")
		return err == nil && r.Code == 0
	})
	return p, err
}

// KillDaemon kills a user's daemon and waits until it is gone.
func (w *World) KillDaemon(ctx context.Context, user string) error {
	pid, err := w.SignalDaemon(user, syscall.SIGKILL)
	if err != nil {
		return err
	}
	return Poll(ctx, "the daemon is gone", func() bool { return ended(pid) })
}

// SignalDaemon sends a signal to a user's daemon and returns its pid.
func (w *World) SignalDaemon(user string, sig syscall.Signal) (int, error) {
	pid, err := w.DaemonPID(user)
	if err != nil {
		return 0, fmt.Errorf("signal the daemon of %s: %w", user, err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return 0, fmt.Errorf("signal the daemon of %s: %w", user, err)
	}
	return pid, nil
}

// StopDaemon stops a user's daemon cleanly. A daemon that does not end is killed, and that is an error.
// It is no error if there is no daemon.
func (w *World) StopDaemon(ctx context.Context, user string) error {
	pid, err := w.SignalDaemon(user, syscall.SIGCONT)
	if errors.Is(err, ErrNoDaemon) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := w.Exec(ctx, "", "--home", w.Home(user), "daemon", "stop")
	if err == nil {
		err = r.Err()
	}
	if w.ours(pid, user) {
		err = errors.Join(err, fmt.Errorf("the daemon of %s lives on after daemon stop", user), syscall.Kill(pid, syscall.SIGKILL))
		return err
	}
	return nil // it has ended meanwhile
}
