package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newDeviceCommand(a *app) *cobra.Command {
	return groupCommand(a, "device", "List the devices of an account",
		&cobra.Command{
			Use:   "list",
			Short: "List the devices of the account",
			Args:  argsBetween(0, 0),
			RunE:  func(cmd *cobra.Command, _ []string) error { return runDeviceList(cmd.Context(), a) },
		},
	)
}

func runDeviceList(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.Devices(ctx, a.account)
		if err != nil {
			return err
		}
		t := a.newTable("ID", "NAME", "ADDED", "THIS", "PRIMARY")
		for _, d := range r.Devices {
			t.row(d, d.ID, d.Name, timeText(d.Added), yesNo(d.This), yesNo(d.Primary))
		}
		return t.flush()
	})
}
