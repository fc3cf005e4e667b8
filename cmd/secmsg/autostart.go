package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

const (
	// startTimeout bounds how long a started daemon may take to listen; opening
	// a large database after a crash replays its log first.
	startTimeout = 20 * time.Second
	// startPoll is the pause between attempts to connect; after startQuick it is
	// startPollSlow.
	startPoll     = 4 * time.Millisecond
	startPollSlow = 50 * time.Millisecond
	startQuick    = time.Second
	// lostTimeout is how long a running daemon may be unreachable. A daemon that
	// loses its socket notices within a second and makes another.
	lostTimeout = 5 * time.Second
	// maxSpawns bounds the daemons that one command starts. It starts a second one
	// only if the first found another daemon on the profile that has ended since.
	maxSpawns = 3
)

// starter starts the daemon of a profile for one command. Several commands may do
// so at once: the daemon that gets the profile's lock serves them all, and the
// others exit.
type starter struct {
	a      *app
	cfg    config.Client
	caller local.HelloParams
	log    *os.File
	offset int64 // size of the log before the start

	managed bool      // the service manager was asked to start the daemon
	child   *process  // the daemon that this command started; nil if it has ended
	spawns  int       // daemons started so far
	lost    time.Time // since when a daemon has been running but unreachable; zero if none is
}

// startDaemon starts the daemon of this profile and connects to it.
func (a *app) startDaemon(ctx context.Context, cfg config.Client, caller local.HelloParams) (*local.Client, error) {
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
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errStartTimeout)
	defer cancel()
	s := &starter{a: a, cfg: cfg, caller: caller, log: log, offset: offset}
	c, err := s.connect(ctx)
	if err == nil {
		err = s.yield(ctx, c)
	}
	if err != nil {
		s.abandon()
		if errors.Is(context.Cause(ctx), errStartTimeout) {
			return nil, s.timeoutError()
		}
		return nil, err
	}
	return c, nil
}

// connect returns a connection to the daemon, whichever command started it.
func (s *starter) connect(ctx context.Context) (*local.Client, error) {
	for begin := time.Now(); ; {
		t := daemonTarget(s.cfg) // each time: the daemon may have announced another socket
		t.Caller, t.Stalled = s.caller, s.a.stalled(ctx, s.cfg)
		c, err := local.Dial(ctx, t)
		if err == nil || !local.IsAbsent(err) {
			return c, err
		}
		if err := s.step(ctx); err != nil {
			return nil, err
		}
		pause := startPoll
		if time.Since(begin) > startQuick {
			pause = startPollSlow
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// step starts a daemon unless one is starting already, and returns an error if
// waiting any longer is pointless.
func (s *starter) step(ctx context.Context) error {
	ended := s.child != nil && s.child.ended()
	// Read the lock after asking about the child: a child that ends in between would
	// still appear to hold it.
	h := local.ReadHolder(s.cfg.Paths.Lock)
	if ended {
		failed := s.child.failed()
		s.child = nil
		if failed && !h.Held {
			if e := loggedError(s.log, s.offset); e.Code != local.CodeInUse {
				return e
			}
			// Another daemon held the profile and has ended since.
		}
	}
	switch {
	case h.Held && (h.State == local.HolderRunning || h.PID == 0 || h.Stopped):
		if s.lost.IsZero() {
			s.lost = time.Now()
		}
		if time.Since(s.lost) > lostTimeout || h.Stopped {
			return unreachable(h)
		}
	case h.Held:
		s.lost = time.Time{} // the daemon is starting or stopping
	case s.managed:
		if s.lost.IsZero() {
			s.lost = time.Now()
		}
		if time.Since(s.lost) > lostTimeout {
			return local.Errorf(local.CodeNoDaemon, "systemd started the daemon, but it exited").
				WithHint("for the reason, see: systemctl --user status 'secmsg*'; or the log %s", s.cfg.Paths.Log)
		}
	case s.child == nil && s.spawns < maxSpawns:
		s.lost = time.Time{}
		if s.spawns == 0 {
			var err error
			if s.managed, err = s.askManager(ctx); err != nil || s.managed {
				return err
			}
		}
		child, err := s.a.spawnDaemon(s.log)
		if err != nil {
			return err
		}
		s.child = child
		s.spawns++
		if s.a.verbose {
			s.a.notef("started the daemon (pid %d, log %s)", child.pid, s.cfg.Paths.Log)
		}
	}
	return nil
}

// unreachable returns the error for a daemon that holds the profile but cannot be
// connected to.
func unreachable(h local.Holder) *local.Error {
	switch {
	case h.PID == 0:
		return local.Errorf(local.CodeNoDaemon, "a process holds the profile's lock, but no daemon is listening").
			WithHint("find the process and end it, for example with: fuser daemon.lock (in the directory of the profile)")
	case h.Stopped:
		return local.Errorf(local.CodeNoDaemon, "the daemon (pid %d) is suspended (SIGSTOP), and its socket is gone", h.PID).
			WithHint("resume it with: kill -CONT %d; or end it with: secmsg daemon stop --force", h.PID)
	case h.State == local.HolderStarting:
		return local.Errorf(local.CodeNoDaemon, "the daemon (pid %d) is still starting and not listening yet", h.PID)
	case h.State == local.HolderStopping:
		return local.Errorf(local.CodeNoDaemon, "the daemon (pid %d) is stopping", h.PID)
	}
	return local.Errorf(local.CodeNoDaemon, "the daemon (pid %d) is running, but its socket is gone", h.PID).
		WithHint("stop it with: secmsg daemon stop; the next command starts it again")
}

// yield ends the child if a different daemon answered. A child that is slow to
// start would otherwise find the lock free after a later `daemon stop` and run,
// although nobody asked for it.
func (s *starter) yield(ctx context.Context, c *local.Client) error {
	if s.child == nil || c.Hello().PID == s.child.pid {
		return nil
	}
	s.child.end()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for !s.child.ended() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = c.Close()
			return ctx.Err()
		}
	}
	return nil
}

// abandon ends a child that did not get the profile's lock, so that it does not
// take it later. A child that holds the lock is only slow, and keeps running.
func (s *starter) abandon() {
	if s.child == nil || s.child.ended() || local.ReadHolder(s.cfg.Paths.Lock).PID == s.child.pid {
		return
	}
	s.child.end()
	deadline := time.After(endTimeout)
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for !s.child.ended() {
		select {
		case <-tick.C:
		case <-deadline:
			s.child.kill()
			deadline = nil
		}
	}
}

// endTimeout is how long a child has to exit after SIGTERM.
const endTimeout = 2 * time.Second

var errStartTimeout = errors.New("the daemon did not start in time")

// timeoutError returns why no daemon is listening after startTimeout.
func (s *starter) timeoutError() error {
	if h := local.ReadHolder(s.cfg.Paths.Lock); h.Held {
		e := unreachable(h)
		e.Message += " after " + startTimeout.String()
		if e.Hint == "" {
			e.Hint = "see the log " + s.cfg.Paths.Log
		}
		return e
	}
	return local.Errorf(local.CodeNoDaemon, "the daemon is not listening after %s", startTimeout).WithHint("see the log %s", s.cfg.Paths.Log)
}

// privateDirError makes a usage error, with its hint, of a directory that is open
// to other users or belongs to one.
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
