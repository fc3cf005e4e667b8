package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

const (
	// startTimeout bounds how long a started daemon may take to listen; opening
	// a large database after a crash replays its log first.
	startTimeout = 20 * time.Second
	// startPoll is how often the socket is tried meanwhile.
	startPoll = 4 * time.Millisecond
	// maxLog is the size in bytes at which the log of the daemon is set aside.
	maxLog = 8 << 20
	// maxLogLine bounds one line of it that is looked at.
	maxLogLine = 64 << 10
)

// startDaemon starts the daemon of this profile and connects to it. When
// several commands do this at once, one daemon gets the profile's lock, the
// others end, and every command is served by the one.
func (a *app) startDaemon(ctx context.Context, cfg config.Client) (*local.Client, error) {
	for _, dir := range []string{cfg.Paths.Data, cfg.Paths.State} {
		if err := config.EnsurePrivateDir(dir); err != nil {
			return nil, privateDirError(err)
		}
	}
	log, offset, err := openLog(cfg.Paths.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	child, err := a.spawnDaemon(log)
	if err != nil {
		return nil, err
	}
	if a.verbose {
		a.notef("started the daemon, pid %d, log %s", child.pid, cfg.Paths.Log)
	}

	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errStartTimeout)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		c, err := local.Dial(ctx, cfg.Paths.Sockets()...)
		if err == nil {
			return c, child.yield(ctx, c)
		}
		if !isCode(err, local.CodeNoDaemon) {
			return nil, startError(ctx, err, cfg)
		}
		if child.ended() {
			if c, err := local.Dial(ctx, cfg.Paths.Sockets()...); err == nil {
				return c, nil // another daemon won
			}
			if child.failed() && !lostRace(cfg.Paths.Log, offset) {
				return nil, loggedError(cfg.Paths.Log, offset)
			}
			// Another daemon holds the lock and does not listen yet, or is just
			// ending; then nobody listens in the end, and the timeout says so.
			if child, err = a.respawn(ctx, child, log); err != nil {
				return nil, startError(ctx, err, cfg)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, startError(ctx, ctx.Err(), cfg)
		}
	}
}

// respawn tries again a moment after a daemon ended because another held the lock.
func (a *app) respawn(ctx context.Context, last *process, log *os.File) (*process, error) {
	const pause = 50 * time.Millisecond
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return last, ctx.Err()
	}
	return a.spawnDaemon(log)
}

// yield ends the child if another daemon answers than it: a child that is slow
// to start would find the profile's lock free after a stop, and run on unasked.
func (p *process) yield(ctx context.Context, c *local.Client) error {
	st, err := c.Status(ctx)
	if err != nil {
		_ = c.Close()
		return err
	}
	if st.PID == p.pid {
		return nil
	}
	p.end()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for !p.ended() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = c.Close()
			return ctx.Err()
		}
	}
	return nil
}

var errStartTimeout = errors.New("the daemon did not start in time")

func startError(ctx context.Context, err error, cfg config.Client) error {
	if err != nil && errors.Is(context.Cause(ctx), errStartTimeout) {
		return local.Errorf(local.CodeNoDaemon, "the daemon does not listen after %s", startTimeout).WithHint("see %s", cfg.Paths.Log)
	}
	return err
}

// spawnDaemon starts `secmsg daemon run` in a session of its own. It gets the
// log as its output and nothing else of the caller's: no descriptor, no working
// directory, and of the environment only what daemonEnv lets through.
func (a *app) spawnDaemon(log *os.File) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the secmsg binary: %w", err)
	}
	args := []string{"--output", outputJSON}
	if a.home != "" {
		paths, err := config.ResolvePaths(a.home)
		if err != nil {
			return nil, err
		}
		args = append(args, "--home", paths.Home)
	}
	cmd := exec.Command(exe, append(args, "daemon", "run")...)
	cmd.Dir = "/"
	cmd.Env = daemonEnv(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownSession()
	keepDescriptors()
	if err := cmd.Start(); err != nil {
		return nil, local.Errorf(local.CodeNoDaemon, "start the daemon: %v", err)
	}
	return &process{pid: cmd.Process.Pid}, nil
}

// daemonEnv keeps what a daemon needs. It outlives the command that happened to
// start it, and must not carry that command's secrets, nor claim its place with
// the service manager.
func daemonEnv(env []string) []string {
	keep := []string{"HOME=", "USER=", "LOGNAME=", "PATH=", "LANG=", "LC_", "TZ=", "TMPDIR=", "XDG_", "SECMSG_",
		"GODEBUG=", "GOTRACEBACK=", "GORACE=", "GOCOVERDIR=", "GOMEMLIMIT=", "GOMAXPROCS=", "SYSTEMROOT=", "USERPROFILE="}
	drop := []string{"SECMSG_EVENT_", "SECMSG_OUTPUT="}
	var out []string
	for _, v := range env {
		if hasPrefix(v, keep) && !hasPrefix(v, drop) {
			out = append(out, v)
		}
	}
	return out
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// openLog opens the daemon's log for appending and returns its present size. A
// log that has grown large is set aside, one generation.
func openLog(path string) (*os.File, int64, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, fmt.Errorf("set the log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the daemon's log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("open the daemon's log: %w", err)
	}
	return f, info.Size(), nil
}

// loggedError returns the error with which a daemon ended, as it stands in the
// log behind offset.
func loggedError(path string, offset int64) error {
	if e := lastError(path, offset); e != nil {
		return e
	}
	return local.Errorf(local.CodeNoDaemon, "the daemon ended at once").WithHint("see %s", path)
}

// lostRace reports whether the daemon ended because another one holds the profile.
func lostRace(path string, offset int64) bool {
	e := lastError(path, offset)
	return e != nil && e.Code == local.CodeUsage && strings.Contains(e.Message, alreadyRunning)
}

// alreadyRunning is in the message with which a daemon gives way to another.
const alreadyRunning = "another daemon"

// lastError finds the last error object in the log behind offset.
func lastError(path string, offset int64) *local.Error {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil
	}
	var last *local.Error
	r := bufio.NewReader(io.LimitReader(f, maxLog))
	for {
		line, err := local.ReadLine(r, maxLogLine)
		if err != nil {
			return last
		}
		var o struct {
			Error *local.Error `json:"error"`
		}
		if json.Unmarshal(line, &o) == nil && o.Error != nil && o.Error.Code != "" {
			last = o.Error
		}
	}
}

// privateDirError words the refusal of a directory that is open to others or
// belongs to somebody else.
func privateDirError(err error) error {
	if _, ok := errors.AsType[*config.LooseError](err); ok {
		return configError(err)
	}
	if _, ok := errors.AsType[*config.OwnerError](err); ok {
		return configError(err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return local.Errorf(local.CodeIO, "%v", err)
	}
	return err
}
