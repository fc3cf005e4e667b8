package main

import (
	"context"
	"errors"
	"os"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

// doomed is a daemon that a command is about to stop.
type doomed struct {
	pid  int
	lock string
	// process refers to the process itself where the system supports that (a pidfd
	// on Linux), so a signal never hits another process that got the same pid later.
	// It is nil if the pid means nothing here, as for a daemon in a container that
	// shares the profile. Then only its lock shows when it is gone.
	process *os.Process
}

// daemonProcess returns the process of the daemon that answered the hello with h.
func daemonProcess(cfg config.Client, h local.Hello) (*doomed, error) {
	holder := local.ReadHolder(cfg.Paths.Lock)
	if h.PID == 0 { // a daemon older than the hello
		h.PID = holder.PID
	}
	if holder.PID != h.PID || h.PID == 0 {
		return &doomed{pid: h.PID, lock: cfg.Paths.Lock}, nil
	}
	return holderProcess(cfg, holder)
}

// holderProcess returns the process of the daemon that holds the lock.
func holderProcess(cfg config.Client, h local.Holder) (*doomed, error) {
	d := &doomed{pid: h.PID, lock: cfg.Paths.Lock}
	var err error
	if d.process, err = os.FindProcess(h.PID); err != nil {
		return nil, local.Errorf(local.CodeNoDaemon, "cannot find the daemon (pid %d): %v", h.PID, err)
	}
	if now := local.ReadHolder(d.lock); now.PID != h.PID {
		d.release() // it has exited, and the pid may now belong to another process
		d.process = nil
	}
	return d, nil
}

func (d *doomed) release() {
	if d.process != nil {
		_ = d.process.Release()
	}
}

// gone reports whether the daemon has ended.
func (d *doomed) gone() bool {
	if d.process == nil {
		return !local.ReadHolder(d.lock).Held
	}
	return !alive(d.pid) || zombie(d.pid)
}

// waitGone returns when the daemon has ended.
func (d *doomed) waitGone(ctx context.Context, limit time.Duration) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	for !d.gone() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return local.Errorf(local.CodeTimeout, "the daemon (pid %d) did not exit within %s", d.pid, limit).
				WithHint("kill it with: secmsg daemon stop --force")
		}
	}
	return nil
}

// kill kills a daemon that did not exit when asked to.
func (d *doomed) kill(ctx context.Context) error {
	if d.process == nil {
		return local.Errorf(local.CodeNoDaemon, "the daemon does not exit, and its process (pid %d) is not on this system", d.pid).
			WithHint("kill it where it runs, for example in its container")
	}
	if err := d.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return local.Errorf(local.CodeNoDaemon, "cannot kill the daemon (pid %d): %v", d.pid, err)
	}
	return d.waitGone(ctx, killTimeout)
}
