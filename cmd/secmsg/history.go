package main

import (
	"context"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

// historyOptions are the flags of history.
type historyOptions struct {
	limit  int
	since  string
	before string
}

func newHistoryCommand(a *app) *cobra.Command {
	var o historyOptions
	c := &cobra.Command{
		Use:   "history PEER",
		Short: "Print the messages exchanged with a peer, oldest first",
		Args:  argsBetween(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return runHistory(cmd.Context(), a, o, args[0]) },
	}
	c.Flags().IntVarP(&o.limit, "number", "n", 50, "print the last `N` messages")
	c.Flags().StringVar(&o.since, "since", "", "only messages since `TIME`, or since a duration ago")
	c.Flags().StringVar(&o.before, "before", "", "only messages before `TIME`, or before a duration ago")
	return c
}

func runHistory(ctx context.Context, a *app, o historyOptions, peer string) error {
	if o.limit < 1 {
		return usagef("-n must be at least 1")
	}
	now := time.Now()
	since, err := timeArg("--since", o.since, now)
	if err != nil {
		return err
	}
	before, err := timeArg("--before", o.before, now)
	if err != nil {
		return err
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.History(ctx, local.HistoryParams{
			AccountParam: a.accountParam(), Peer: peer, Limit: o.limit, Since: since, Before: before,
		})
		if err != nil {
			return err
		}
		for i := range r.Events {
			if err := a.printEvent(&r.Events[i]); err != nil {
				return err
			}
		}
		return nil
	})
}
