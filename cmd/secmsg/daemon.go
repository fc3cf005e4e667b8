package main

import (
	"context"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

const (
	// stopTimeout bounds a clean stop of the daemon.
	stopTimeout = 30 * time.Second
	// stopPoll is how often it is looked whether the process is gone.
	stopPoll = 5 * time.Millisecond
)

func newDaemonCommand(a *app) *cobra.Command {
	return groupCommand(a, "daemon", "Run and manage the daemon of this user",
		newDaemonRunCommand(a),
		&cobra.Command{
			Use:   "status",
			Short: "Tell whether the daemon runs (exit 7 if not), without starting it",
			Args:  argsBetween(0, 0),
			RunE:  func(cmd *cobra.Command, _ []string) error { return runDaemonStatus(cmd.Context(), a) },
		},
		&cobra.Command{
			Use:   "stop",
			Short: "Stop the daemon and wait until its process is gone",
			Args:  argsBetween(0, 0),
			RunE:  func(cmd *cobra.Command, _ []string) error { return runDaemonStop(cmd.Context(), a) },
		},
		newDaemonInstallCommand(a),
		newDaemonUninstallCommand(a),
	)
}

func runDaemonStatus(ctx context.Context, a *app) error {
	a.noAutostart = true
	return a.withDaemon(ctx, func(c *local.Client) error {
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if a.json() {
			return a.printJSON(st)
		}
		return a.printf("running, pid %d, version %s", st.PID, visible(st.Version))
	})
}

func runDaemonStop(ctx context.Context, a *app) error {
	a.noAutostart = true
	return a.withDaemon(ctx, func(c *local.Client) error {
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if err := c.Stop(ctx); err != nil && !isCode(err, local.CodeNoDaemon) {
			return err
		}
		return waitGone(ctx, st.PID)
	})
}

// waitGone returns when the process has ended.
func waitGone(ctx context.Context, pid int) error {
	deadline := time.NewTimer(stopTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	for alive(pid) && !zombie(pid) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return local.Errorf(local.CodeTimeout, "the daemon, pid %d, did not end within %s", pid, stopTimeout)
		}
	}
	return nil
}
