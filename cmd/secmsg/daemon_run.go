package main

import (
	"context"
	"os/signal"
	"syscall"

	"secmsg/daemon"

	"github.com/spf13/cobra"
)

func newDaemonRunCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground, logging to standard error",
		Long: "Run the daemon of this profile until SIGTERM, SIGINT, SIGHUP or secmsg daemon\n" +
			"stop. Commands start the daemon themselves. Use this for service managers, or to\n" +
			"watch its log.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonRun(cmd.Context(), a) },
	}
}

func runDaemonRun(ctx context.Context, a *app) error {
	cfg, err := a.profile()
	if err != nil {
		return err
	}
	follow, err := a.catchStray()
	if err != nil {
		return err
	}
	logger, flush, err := a.serverLogger(cfg.Log.Level)
	if err != nil {
		return err
	}
	defer flush()
	defer follow(logger)()
	defer onAbort(logger, flush, cfg.Paths.State)()
	privateUmask()
	// When a session ends, every process in it gets SIGHUP. Under nohup the signal is
	// ignored, and the daemon keeps running.
	if !signal.Ignored(syscall.SIGHUP) {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	return daemon.Run(ctx, cfg, logger)
}
