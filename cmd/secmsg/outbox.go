package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newOutboxCommand(a *app) *cobra.Command {
	return groupCommand(a, "outbox", "List, retry and cancel messages that are not delivered yet",
		&cobra.Command{
			Use:   "list",
			Short: "List undelivered messages, oldest first",
			Long: "List the messages that the server has not accepted yet, oldest first. With -v each\n" +
				"line ends with what a queued message waits for; -o json always has it.",
			Args: argsBetween(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return runOutboxList(cmd.Context(), a) },
		},
		&cobra.Command{
			Use:   "retry ID",
			Short: "Retry a waiting message now, or resend a failed one",
			Long: "Retry a waiting message now instead of after its pause. A failed or expired\n" +
				"message is sent again as a new message, and the new id is printed. Repeating the\n" +
				"command for the same ID prints the state of that new message.",
			Args: argsBetween(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runOutboxOne(cmd.Context(), a, args[0], (*local.Client).RetryOutbox)
			},
		},
		&cobra.Command{
			Use:   "cancel ID",
			Short: "Cancel a message that has not been sent to the server yet",
			Args:  argsBetween(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runOutboxOne(cmd.Context(), a, args[0], (*local.Client).CancelOutbox)
			},
		},
	)
}

// runOutboxOne acts on one message and prints its new state. The exit code is that of
// the message's error, as for send.
func runOutboxOne(ctx context.Context, a *app, id string,
	f func(*local.Client, context.Context, local.OutboxParams) (local.SendResult, error)) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := f(c, ctx, local.OutboxParams{AccountParam: a.accountParam(), ID: id})
		if err != nil {
			return err
		}
		if err := a.printOutbox(r); err != nil || r.Error == nil {
			a.waitingNote([]local.SendResult{r})
			return err
		}
		return r.Error
	})
}

// printOutbox prints one line of the outbox.
func (a *app) printOutbox(m local.SendResult) error {
	if a.json() {
		return a.printJSON(m)
	}
	line := visible(m.ID) + " " + visible(m.Peer) + " " + visible(m.State)
	switch {
	case m.Error != nil:
		line += " " + visible(m.Error.Message)
	case m.Waiting != nil && a.verbose:
		line += " " + visible(m.Waiting.Message)
	}
	return a.printf("%s", line)
}

func runOutboxList(ctx context.Context, a *app) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.Outbox(ctx, a.account)
		if err != nil {
			return err
		}
		for _, m := range r.Results {
			if err := a.printOutbox(m); err != nil {
				return err
			}
		}
		return nil
	})
}
