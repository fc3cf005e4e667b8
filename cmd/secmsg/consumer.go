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
		Short: "Acknowledge an event, by seq or id, and all before it",
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
			Short: "List the consumers and how far they are",
			Long: "LAG counts events behind the newest; MISSED those that retention ended before\n" +
				"the consumer had them; DEAD those that its handler never took. The newest hundred\n" +
				"stand in -o json with their seqs: secmsg listen --since SEQ-1 --count 1 shows one\n" +
				"again. RETRY and FOR say how often, and for how long at most, an event is tried\n" +
				"again that the handler fails on (listen --retry, --dead-letter-after).",
			Args: argsBetween(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return runConsumerList(cmd.Context(), a) },
		},
		&cobra.Command{
			Use:   "remove NAME",
			Short: "Forget a consumer and its cursor",
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
		return a.printChanged(gone, true, "consumer %s removed", visible(gone.Name))
	})
}
