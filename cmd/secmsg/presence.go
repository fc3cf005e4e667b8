package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newPresenceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "presence [PEER...]",
		Short: "Tell who is online, of the contacts that have you as a contact",
		Long: "Tell who is online, of the contacts that have you as a contact too. Without a\n" +
			"connection to the server that is unknown. LAST SEEN is what the server told last.",
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
			a.notef("who is online is not known: %s", visible(r.Offline.Message))
		}
		return t.flush()
	})
}

// knownWord is yesNo for what may be unknown.
func knownWord(b *bool) string {
	if b == nil {
		return "unknown"
	}
	return yesNo(*b)
}
