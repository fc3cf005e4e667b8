package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newTrustCommand(a *app) *cobra.Command {
	var key string
	var discard bool
	c := &cobra.Command{
		Use:   "trust PEER --key FINGERPRINT",
		Short: "Decide about a peer's changed key",
		Long: "When a peer's key changes, all messages to and from that peer are held. Find out\n" +
			"why it changed. Then accept the new key by its fingerprint (see secmsg contact\n" +
			"show), which releases the held messages, or drop them with --discard.",
		Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTrust(cmd.Context(), a, args[0], key, discard)
		},
	}
	c.Flags().StringVar(&key, "key", "", "accept the key with this `FINGERPRINT`")
	c.Flags().BoolVar(&discard, "discard", false, "drop the held messages")
	return c
}

func runTrust(ctx context.Context, a *app, peer, key string, discard bool) error {
	if (key == "") == !discard {
		return usagef("either --key or --discard is required")
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		return a.changeContact(ctx, c, peer, func() (local.Contact, error) {
			return c.Trust(ctx, local.TrustParams{PeerParams: a.peerParams(peer), Key: key, Discard: discard})
		})
	})
}
