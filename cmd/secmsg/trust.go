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
		Long: "A peer's key that changes stops all messages to that peer; they are held. Once\n" +
			"you know why it changed, accept the new key by its fingerprint (see secmsg\n" +
			"contact show), which sends what was held, or drop that with --discard.",
		Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTrust(cmd.Context(), a, args[0], key, discard)
		},
	}
	c.Flags().StringVar(&key, "key", "", "accept the key with this `FINGERPRINT`")
	c.Flags().BoolVar(&discard, "discard", false, "drop the messages that were held")
	return c
}

func runTrust(ctx context.Context, a *app, peer, key string, discard bool) error {
	if (key == "") == !discard {
		return usagef("exactly one of --key and --discard is needed")
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		return a.changeContact(ctx, c, peer, func() (local.Contact, error) {
			return c.Trust(ctx, local.TrustParams{PeerParams: a.peerParams(peer), Key: key, Discard: discard})
		})
	})
}
