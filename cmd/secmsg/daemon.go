package main

import (
	"context"
	"time"

	"secmsg/config"
	"secmsg/rpc/local"

	"github.com/spf13/cobra"
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
		newDaemonStopCommand(a),
		newDaemonInstallCommand(a),
		newDaemonUninstallCommand(a),
	)
}

func runDaemonStatus(ctx context.Context, a *app) error {
	cfg, err := a.profile()
	if err != nil {
		return err
	}
	c, _, err := findDaemon(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(st)
	}
	return a.printf("running, pid %d, version %s", st.PID, visible(st.Version))
}

// findTimeout is how long findDaemon waits for a daemon that runs and does not
// listen: it may have lost its socket, and notices within a second.
const findTimeout = 2 * time.Second

// findDaemon connects to the daemon that has the profile. It looks at the lock
// first: to connect to the socket of a service manager would start the daemon.
// If there is a daemon that cannot be reached, the holder names it beside the error.
func findDaemon(ctx context.Context, cfg config.Client) (*local.Client, local.Holder, error) {
	for begin := time.Now(); ; {
		h := local.ReadHolder(cfg.Paths.Lock)
		if !h.Held {
			return nil, h, local.Errorf(local.CodeNoDaemon, "the daemon is not running").WithHint("the next command starts it")
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
