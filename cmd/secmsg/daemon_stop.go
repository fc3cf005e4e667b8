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
	// hangTimeout is how long an unresponsive daemon may take to exit after SIGTERM.
	hangTimeout = 5 * time.Second
	// killTimeout is how long the kernel may take to end a killed process.
	killTimeout = 10 * time.Second
	// stopPoll is the pause between checks whether the process is gone.
	stopPoll = 5 * time.Millisecond
)

func newDaemonStopCommand(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon and wait until its process is gone",
		Long: "Stop the daemon and wait until its process is gone. A running daemon that cannot\n" +
			"be reached is found by the profile's lock and stopped with a signal. With\n" +
			"--force, a hanging daemon is killed. Nothing that was acknowledged is lost by\n" +
			"that.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonStop(cmd.Context(), a, force) },
	}
	c.Flags().BoolVar(&force, "force", false, "kill the daemon if it does not respond or does not exit")
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

// printStopped prints the result of a stop.
func (a *app) printStopped(pid int) error {
	return a.printChanged(struct {
		PID     int  `json:"pid"`
		Running bool `json:"running"`
	}{pid, false}, true, "stopped the daemon (pid %d)", pid)
}

// noteRestart notes that a service manager will start the daemon again.
func (a *app) noteRestart(h local.Hello) {
	switch {
	case !h.Activated:
	case h.Manager == local.ManagerUser:
		a.notef("systemd starts the daemon again with the next command; to keep it stopped: systemctl --user stop %s",
			strings.TrimSuffix(h.Unit, ".service")+".socket")
	default:
		a.notef("the service manager starts the daemon again with the next command")
	}
}

// stopBySignal stops a daemon that cannot be reached over its socket. why is the
// error from connecting.
func stopBySignal(ctx context.Context, cfg config.Client, h local.Holder, force bool, why error) error {
	target, err := holderProcess(cfg, h)
	if err != nil {
		return err
	}
	defer target.release()
	// A process that has just taken the lock may not have written its pid yet. Then
	// the file still names the previous holder.
	select {
	case <-time.After(startPollSlow):
	case <-ctx.Done():
		return ctx.Err()
	}
	if now := local.ReadHolder(cfg.Paths.Lock); now.PID != h.PID {
		return why
	}
	if h.Stopped && !force {
		return why // a suspended process would not handle the signal
	}
	if h.State == local.HolderStopping && !force {
		return target.waitGone(ctx, stopTimeout) // a second signal would end it at once
	}
	if err := terminate(target.process); err != nil {
		return local.Errorf(local.CodeNoDaemon, "cannot stop the daemon (pid %d): %v", h.PID, err)
	}
	limit := stopTimeout // perhaps only its socket is gone
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
	return local.Errorf(local.CodeNoDaemon, "the daemon (pid %d) neither responds nor exits", h.PID).
		WithHint("kill it with: secmsg daemon stop --force")
}
