package main

import (
	"context"
	"errors"
	"os"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"
)

// doomed is a daemon that is to end.
type doomed struct {
	pid  int
	lock string
	// process stands for the process itself where the system can do that (a pidfd
	// on Linux): a signal never reaches another one that got the same number later.
	// It is nil if the number means nothing here, as with a daemon in a container
	// that shares the profile: then only its lock tells when it is gone.
	process *os.Process
}

// daemonProcess returns the process of the daemon that has introduced itself as h.
func daemonProcess(cfg config.Client, h local.Hello) (*doomed, error) {
	holder := local.ReadHolder(cfg.Paths.Lock)
	if h.PID == 0 { // a daemon of before the greeting
		h.PID = holder.PID
	}
	if holder.PID != h.PID || h.PID == 0 {
		return &doomed{pid: h.PID, lock: cfg.Paths.Lock}, nil
	}
	return holderProcess(cfg, holder)
}

// holderProcess returns the process of the daemon that has the lock.
func holderProcess(cfg config.Client, h local.Holder) (*doomed, error) {
	d := &doomed{pid: h.PID, lock: cfg.Paths.Lock}
	var err error
	if d.process, err = os.FindProcess(h.PID); err != nil {
		return nil, local.Errorf(local.CodeNoDaemon, "find the daemon, pid %d: %v", h.PID, err)
	}
	if now := local.ReadHolder(d.lock); now.PID != h.PID {
		d.release() // it ended in between, and the number may be another's
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
			return local.Errorf(local.CodeTimeout, "the daemon, pid %d, did not end within %s", d.pid, limit).
				WithHint("kill it: secmsg daemon stop --force")
		}
	}
	return nil
}

// kill ends a daemon that does not end by itself.
func (d *doomed) kill(ctx context.Context) error {
	if d.process == nil {
		return local.Errorf(local.CodeNoDaemon, "the daemon does not end, and its process, pid %d, is not one of this system", d.pid).
			WithHint("end it where it runs, for example in its container")
	}
	if err := d.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return local.Errorf(local.CodeNoDaemon, "kill the daemon, pid %d: %v", d.pid, err)
	}
	return d.waitGone(ctx, killTimeout)
}
