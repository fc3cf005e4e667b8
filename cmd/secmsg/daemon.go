package main

import (
	"context"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newDaemonCommand(a *app) *cobra.Command {
	return groupCommand(a, "daemon", "Run and manage your daemon",
		newDaemonRunCommand(a),
		&cobra.Command{
			Use:   "status",
			Short: "Report whether the daemon is running (exit 7 if not), without starting it",
			Args:  argsBetween(0, 0),
			RunE:  func(cmd *cobra.Command, _ []string) error { return runDaemonStatus(cmd.Context(), a) },
		},
		newDaemonStopCommand(a),
		newDaemonDebugCommand(a),
		newDaemonInstallCommand(a),
		newDaemonUninstallCommand(a),
	)
}

func runDaemonStatus(ctx context.Context, a *app) error {
	return a.withRunningDaemon(ctx, func(c *local.Client) error {
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

// withRunningDaemon calls f with a client of the running daemon. It never starts one.
func (a *app) withRunningDaemon(ctx context.Context, f func(*local.Client) error) error {
	cfg, err := a.profile()
	if err != nil {
		return err
	}
	c, _, err := findDaemon(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// findTimeout is how long findDaemon waits for a running daemon that is not
// listening. A daemon that lost its socket notices within a second and makes another.
const findTimeout = 2 * time.Second

// findDaemon connects to the daemon that holds the profile, without starting one.
// It reads the lock first, since connecting to a service manager's socket would
// start the daemon. If the daemon is running but unreachable, the returned holder
// names its process.
func findDaemon(ctx context.Context, cfg config.Client) (*local.Client, local.Holder, error) {
	for begin := time.Now(); ; {
		h := local.ReadHolder(cfg.Paths.Lock)
		if !h.Held {
			return nil, h, local.Errorf(local.CodeNoDaemon, "the daemon is not running").WithHint("any other command starts it; or run: secmsg daemon run")
		}
		c, err := local.Dial(ctx, daemonTarget(cfg))
		if err == nil || !local.IsAbsent(err) {
			return c, h, err
		}
		if time.Since(begin) > findTimeout || h.Stopped || h.State != local.HolderRunning {
			return nil, h, unreachable(h)
		}
		select {
		case <-time.After(startPollSlow):
		case <-ctx.Done():
			return nil, h, ctx.Err()
		}
	}
}
