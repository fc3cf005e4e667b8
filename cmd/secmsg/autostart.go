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
	// startPoll is how often the sockets are tried meanwhile, and startPollSlow
	// once it takes longer than startQuick.
	startPoll     = 4 * time.Millisecond
	startPollSlow = 50 * time.Millisecond
	startQuick    = time.Second
	// lostTimeout is how long a daemon that runs may be without a socket: it
	// notices within a second and makes another.
	lostTimeout = 5 * time.Second
	// maxSpawns bounds the daemons that one command starts. More than one is
	// started only if another daemon had the profile just then and has ended.
	maxSpawns = 3
)

// starter starts the daemon of a profile for one command. Several commands may
// do so at once: the lock of the profile decides whose daemon it is, the others
// end, and every command is served by the one.
type starter struct {
	a      *app
	cfg    config.Client
	caller local.HelloParams
	log    *os.File
	offset int64 // where the log ended before

	managed bool      // the service manager was asked to start it
	child   *process  // the daemon that was started; nil if it has ended
	spawns  int       // daemons started so far
	lost    time.Time // since when a daemon runs that no socket leads to; zero if there is none
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

// connect returns a connection to the daemon, whoever has started it.
func (s *starter) connect(ctx context.Context) (*local.Client, error) {
	for begin := time.Now(); ; {
		t := daemonTarget(s.cfg) // anew: a daemon may have told another place
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

// step does what brings a daemon that listens nearer.
func (s *starter) step(ctx context.Context) error {
	ended := s.child != nil && s.child.ended()
	h := local.ReadHolder(s.cfg.Paths.Lock) // after that: else it may be the child that still held it
	if ended {
		failed := s.child.failed()
		s.child = nil
		if failed && !h.Held {
			if e := loggedError(s.log, s.offset); e.Code != local.CodeInUse {
				return e
			}
			// Another daemon had the profile, and has ended since.
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
		s.lost = time.Time{} // it begins or ends
	case s.managed:
		if s.lost.IsZero() {
			s.lost = time.Now()
		}
		if time.Since(s.lost) > lostTimeout {
			return local.Errorf(local.CodeNoDaemon, "systemd has started the daemon, and it has ended").
				WithHint("see why: systemctl --user status 'secmsg*'; or in %s", s.cfg.Paths.Log)
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
			s.a.notef("started the daemon, pid %d, log %s", child.pid, s.cfg.Paths.Log)
		}
	}
	return nil
}

// unreachable words that the daemon runs and that no socket leads to it.
func unreachable(h local.Holder) *local.Error {
	switch {
	case h.PID == 0:
		return local.Errorf(local.CodeNoDaemon, "a process has the profile's lock, and no daemon listens").
			WithHint("find it and end it, for example with: fuser daemon.lock (in the directory of the profile)")
	case h.Stopped:
		return local.Errorf(local.CodeNoDaemon, "the daemon, pid %d, is stopped (SIGSTOP), and its socket is gone", h.PID).
			WithHint("let it go on: kill -CONT %d; or end it: secmsg daemon stop --force", h.PID)
	case h.State == local.HolderStarting:
		return local.Errorf(local.CodeNoDaemon, "the daemon, pid %d, is starting and does not listen yet", h.PID)
	case h.State == local.HolderStopping:
		return local.Errorf(local.CodeNoDaemon, "the daemon, pid %d, is stopping", h.PID)
	}
	return local.Errorf(local.CodeNoDaemon, "the daemon, pid %d, runs, but no socket leads to it", h.PID).
		WithHint("end it: secmsg daemon stop; the next command starts it again")
}

// yield ends the child if another daemon answers than it: a child that is slow
// to start would find the profile's lock free after a stop, and run on unasked.
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

// abandon ends a child that did not get the profile, so that it does not take
// it later. One that has it is slow, and may go on.
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

// endTimeout is how long a child has to end after the request to.
const endTimeout = 2 * time.Second

var errStartTimeout = errors.New("the daemon did not start in time")

// timeoutError says why nobody listens after startTimeout.
func (s *starter) timeoutError() error {
	if h := local.ReadHolder(s.cfg.Paths.Lock); h.Held {
		e := unreachable(h)
		e.Message += " after " + startTimeout.String()
		if e.Hint == "" {
			e.Hint = "see " + s.cfg.Paths.Log
		}
		return e
	}
	return local.Errorf(local.CodeNoDaemon, "the daemon does not listen after %s", startTimeout).WithHint("see %s", s.cfg.Paths.Log)
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
