package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newOutboxCommand(a *app) *cobra.Command {
	return groupCommand(a, "outbox", "Look at messages that are on their way",
		&cobra.Command{
			Use:   "list",
			Short: "List messages that are not delivered yet, oldest first",
			Args:  argsBetween(0, 0),
			RunE:  func(cmd *cobra.Command, _ []string) error { return runOutboxList(cmd.Context(), a) },
		},
	)
}

func runOutboxList(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.Outbox(ctx, a.account)
		if err != nil {
			return err
		}
		for _, m := range r.Results {
			if a.json() {
				err = a.printJSON(m)
			} else {
				line := visible(m.ID) + " " + visible(m.Peer) + " " + visible(m.State)
				if m.Error != nil {
					line += " " + visible(m.Error.Message)
				}
				err = a.printf("%s", line)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
