package main

import (
	"context"

	"secmsg/rpc/admin"

	"github.com/spf13/cobra"
)

func newTraceCommand(a *adminApp) *cobra.Command {
	c := a.verb("trace MESSAGE-ID", "Follow a message through the relay", 1, a.trace)
	c.Long = `Print a line for each station that a message passed at this server, oldest
first. MESSAGE-ID is the id that the sender's command printed. A message has one
envelope for each device of its recipient.

  received      the sender's device sent it
  refused       the server did not accept it, for REASON
  stored        it is in the mailbox of the recipient's device, on disk
  sent          it was written to the connection of the recipient's device
  acknowledged  the recipient's device has stored it
  expired       nobody fetched it in time

The server keeps the last 32,768 steps of all messages in memory, and forgets
them when it stops. With log.level: debug in its configuration it also logs them.`
	c.Example = `  secmsg admin trace 0199f3a2-7d10-7c31-9b5e-2f6a4c1d0e88`
	return c
}

// trace prints the steps of a message.
func (a *adminApp) trace(ctx context.Context, c *admin.Client, args []string) error {
	r, err := c.Trace(ctx, args[0])
	if err != nil {
		return err
	}
	t := a.newTable("TIME", "STATE", "FROM", "TO", "DEVICE", "CLASS", "REASON")
	for _, s := range r.Steps {
		t.row(s, s.Time, s.State, s.Account, s.Peer, s.Device, s.Class, s.Reason)
	}
	return t.flush()
}
