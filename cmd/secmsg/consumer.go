package main

import (
	"context"
	"time"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newAckCommand(a *app) *cobra.Command {
	var consumer string
	c := &cobra.Command{
		Use:   "ack --consumer NAME ID",
		Short: "Acknowledge an event, by sequence number or id, and all events before it",
		Args:  argsBetween(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return runAck(cmd.Context(), a, consumer, args[0]) },
	}
	c.Flags().StringVar(&consumer, "consumer", "", "`NAME` of the consumer")
	return c
}

func runAck(ctx context.Context, a *app, consumer, id string) error {
	if consumer == "" {
		return usagef("--consumer is missing")
	}
	return a.withAccount(ctx, func(c *local.Client) error {
		before, err := consumerNamed(ctx, c, consumer)
		if err != nil {
			return err
		}
		if err := c.Ack(ctx, local.AckParams{Consumer: consumer, ID: id}); err != nil {
			return err
		}
		after, err := consumerNamed(ctx, c, consumer)
		if err != nil {
			return err
		}
		return a.printChanged(after, before.Cursor != after.Cursor, "%s: acknowledged up to %d", visible(after.Name), after.Cursor)
	})
}

func newConsumerCommand(a *app) *cobra.Command {
	return groupCommand(a, "consumer", "List and remove named consumers",
		&cobra.Command{
			Use:   "list",
			Short: "List the consumers and their progress",
			Long: "List the consumers and their progress.\n\n" +
				"  LAG     events that the consumer has not acknowledged yet\n" +
				"  MISSED  events that retention deleted before the consumer got them\n" +
				"  DEAD    dead letters: events that its handler failed on until it was given up\n" +
				"  RETRY   how often a failed event is retried (listen --retry)\n" +
				"  FOR     how long a failed event is retried (listen --dead-letter-after)\n\n" +
				"With -o json, the sequence numbers of the newest hundred dead letters are\n" +
				"listed. To print one again: secmsg listen --since SEQ-1 --count 1.",
			Args: argsBetween(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return runConsumerList(cmd.Context(), a) },
		},
		&cobra.Command{
			Use:   "remove NAME",
			Short: "Delete a consumer and its cursor",
			Args:  argsBetween(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runConsumerRemove(cmd.Context(), a, args[0])
			},
		},
	)
}

func runConsumerList(ctx context.Context, a *app) error {
	return a.withAccount(ctx, func(c *local.Client) error {
		r, err := c.Consumers(ctx)
		if err != nil {
			return err
		}
		t := a.newTable("NAME", "CURSOR", "LAG", "ATTACHED", "ACKNOWLEDGED", "MISSED", "DEAD", "RETRY", "FOR")
		for _, e := range r.Consumers {
			t.row(e, e.Name, e.Cursor, e.Lag, yesNo(e.Attached), timeText(e.Acked), e.Missed, e.DeadLetters, e.Retry, time.Duration(e.DeadLetterAfter*float64(time.Second)))
		}
		return t.flush()
	})
}

func runConsumerRemove(ctx context.Context, a *app, name string) error {
	return a.withAccount(ctx, func(c *local.Client) error {
		gone, err := consumerNamed(ctx, c, name)
		if err != nil {
			return err
		}
		if err := c.RemoveConsumer(ctx, name); err != nil {
			return err
		}
		return a.printChanged(gone, true, "removed consumer %s", visible(gone.Name))
	})
}
