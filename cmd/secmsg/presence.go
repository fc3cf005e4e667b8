package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newPresenceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "presence [PEER...]",
		Short: "Show which contacts are online",
		Long: "Show which contacts are online. The server tells only about contacts that have\n" +
			"you as a contact too (MUTUAL). Without a connection to the server, ONLINE is\n" +
			"unknown. LAST SEEN is the last time that the server reported.",
		Args: argsBetween(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return runPresence(cmd.Context(), a, args) },
	}
}

func runPresence(ctx context.Context, a *app, peers []string) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		r, err := c.Presence(ctx, local.PresenceParams{AccountParam: a.accountParam(), Peers: peers})
		if err != nil {
			return err
		}
		t := a.newTable("PEER", "ONLINE", "MUTUAL", "LAST SEEN")
		for _, e := range r.Presence {
			t.row(e, e.Peer, knownWord(e.Online), knownWord(e.Mutual), timeText(e.LastSeen))
		}
		if r.Offline != nil {
			a.notef("cannot tell who is online: %s", visible(r.Offline.Message))
		}
		return t.flush()
	})
}

// knownWord is yesNo, or "unknown" for nil.
func knownWord(b *bool) string {
	if b == nil {
		return "unknown"
	}
	return yesNo(*b)
}
