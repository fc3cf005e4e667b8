package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newReceiptCommand(a *app) *cobra.Command {
	return groupCommand(a, "receipt", "Mark messages as read and send read receipts",
		&cobra.Command{
			Use:   "read PEER [ID]",
			Short: "Mark a peer's messages as read, up to ID or all of them",
			Long: "Mark messages as read without printing them. Read receipts are sent unless they\n" +
				"are switched off (secmsg contact set PEER receipts=off).",
			Args: argsBetween(1, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				p := local.ReadParams{PeerParams: a.peerParams(args[0])}
				if len(args) == 2 {
					p.ID = args[1]
				}
				return runReceiptRead(cmd.Context(), a, p)
			},
		},
	)
}

func runReceiptRead(ctx context.Context, a *app, p local.ReadParams) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		p.AccountParam = a.accountParam()
		r, err := c.MarkRead(ctx, p)
		if err != nil {
			return err
		}
		return a.printChanged(r, r.Read > 0, "marked %d as read", r.Read)
	})
}
