package main

import (
	"context"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

const (
	// stopTimeout bounds a clean stop of the daemon.
	stopTimeout = 30 * time.Second
	// hangTimeout is how long a daemon that does not answer has to end by SIGTERM.
	hangTimeout = 5 * time.Second
	// killTimeout is how long the kernel may take to end a killed process.
	killTimeout = 10 * time.Second
	// stopPoll is how often it is looked whether the process is gone.
	stopPoll = 5 * time.Millisecond
)

func newDaemonStopCommand(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon and wait until its process is gone",
		Long: "Stop the daemon and wait until its process is gone. One that runs and cannot be\n" +
			"reached is found by the profile's lock and stopped by a signal. With --force a\n" +
			"daemon that hangs is killed; nothing that was acknowledged is lost by that.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonStop(cmd.Context(), a, force) },
	}
	c.Flags().BoolVar(&force, "force", false, "kill a daemon that does not answer or does not end")
	return c
}

func runDaemonStop(ctx context.Context, a *app, force bool) error {
	cfg, err := a.profile()
	if err != nil {
		return err
	}
	c, h, err := findDaemon(ctx, cfg)
	if err != nil {
		if h.PID == 0 || ctx.Err() != nil {
			return err
		}
		if err := stopBySignal(ctx, cfg, h, force, err); err != nil {
			return err
		}
		return a.printStopped(h.PID)
	}
	defer c.Close()
	target, err := daemonProcess(cfg, c.Hello())
	if err != nil {
		return err
	}
	defer target.release()
	if err := c.Stop(ctx); err != nil && !isCode(err, local.CodeNoDaemon) {
		return err
	}
	if err := target.waitGone(ctx, stopTimeout); err != nil {
		if !force || ctx.Err() != nil {
			return err
		}
		if err := target.kill(ctx); err != nil {
			return err
		}
	}
	a.noteRestart(c.Hello())
	return a.printStopped(target.pid)
}

// printStopped prints what became of the daemon.
func (a *app) printStopped(pid int) error {
	return a.printChanged(struct {
		PID     int  `json:"pid"`
		Running bool `json:"running"`
	}{pid, false}, true, "the daemon, pid %d, was stopped", pid)
}

// noteRestart tells of a stop that will not last.
func (a *app) noteRestart(h local.Hello) {
	switch {
	case !h.Activated:
	case h.Manager == local.ManagerUser:
		a.notef("systemd starts it again with the next command; to keep it off: systemctl --user stop %s",
			strings.TrimSuffix(h.Unit, ".service")+".socket")
	default:
		a.notef("the service manager listens on its socket and starts it again with the next command")
	}
}

// stopBySignal stops a daemon that could not be asked, which why words.
func stopBySignal(ctx context.Context, cfg config.Client, h local.Holder, force bool, why error) error {
	target, err := holderProcess(cfg, h)
	if err != nil {
		return err
	}
	defer target.release()
	// A process that has just taken the lock may not have written its pid yet; then
	// the file names a former one.
	select {
	case <-time.After(startPollSlow):
	case <-ctx.Done():
		return ctx.Err()
	}
	if now := local.ReadHolder(cfg.Paths.Lock); now.PID != h.PID {
		return why
	}
	if h.Stopped && !force {
		return why // it would not see the signal
	}
	if h.State == local.HolderStopping && !force {
		return target.waitGone(ctx, stopTimeout) // a second signal would cut it off
	}
	if err := terminate(target.process); err != nil {
		return local.Errorf(local.CodeNoDaemon, "end the daemon, pid %d: %v", h.PID, err)
	}
	limit := stopTimeout // it may be well, and only its socket is gone
	if local.IsHanging(why) {
		limit = hangTimeout
	}
	err = target.waitGone(ctx, limit)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case force:
		return target.kill(ctx)
	}
	return local.Errorf(local.CodeNoDaemon, "the daemon, pid %d, neither answers nor ends", h.PID).
		WithHint("kill it: secmsg daemon stop --force")
}
