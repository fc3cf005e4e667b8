package main

import (
	"context"

	"secmsg/daemon"

	"github.com/spf13/cobra"
)

func newDaemonRunCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground, logging to standard error",
		Long: "Run the daemon of this profile until SIGTERM, SIGINT or secmsg daemon stop. Commands start it\n" +
			"by themselves; this is for service managers and for looking at its log.",
		Args: argsBetween(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDaemonRun(cmd.Context(), a) },
	}
}

func runDaemonRun(ctx context.Context, a *app) error {
	cfg, err := a.profile()
	if err != nil {
		return err
	}
	logger, flush, err := a.serverLogger(cfg.Log.Level)
	if err != nil {
		return err
	}
	defer flush()
	privateUmask()
	return daemon.Run(ctx, cfg, logger)
}
