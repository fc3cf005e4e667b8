package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newContactCommand(a *app) *cobra.Command {
	verb := func(use, short string, n int, run func(ctx context.Context, c *local.Client, args []string) error) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: argsBetween(n, n),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withDaemon(cmd.Context(), func(c *local.Client) error { return run(cmd.Context(), c, args) })
			},
		}
	}
	return groupCommand(a, "contact", "Manage the people and machines you write to",
		verb("list", "List contacts and strangers who wrote to you", 0, a.runContactList),
		verb("show PEER", "Print everything known about a peer", 1, func(ctx context.Context, c *local.Client, args []string) error {
			return a.contactShown(c.Contact(ctx, a.peerParams(args[0])))
		}),
		verb("add PEER", "Add a peer to the contact list; this also accepts its request", 1, func(ctx context.Context, c *local.Client, args []string) error {
			return a.changeContact(ctx, c, args[0], func() (local.Contact, error) { return c.AddContact(ctx, a.peerParams(args[0])) })
		}),
		verb("nick PEER NAME", "Give a peer a local nickname; an empty NAME removes it", 2, func(ctx context.Context, c *local.Client, args []string) error {
			return a.changeContact(ctx, c, args[0], func() (local.Contact, error) {
				return c.NickContact(ctx, local.ContactNickParams{PeerParams: a.peerParams(args[0]), Name: args[1]})
			})
		}),
		verb("remove PEER", "Remove a peer from the contact list", 1, func(ctx context.Context, c *local.Client, args []string) error {
			return a.removeContact(ctx, c, args[0])
		}),
		&cobra.Command{
			Use: "set PEER KEY=VALUE", Short: "Set a policy: trust=certified|verified, auto-accept=SIZE, auto-answer=yes|no, receipts=on|off, retention=30d",
			Long: "Set a policy for a peer. An empty VALUE resets it to the default.\n\n" +
				"  trust=certified|verified  trust that the peer's key needs before anything is sent\n" +
				"  auto-accept=SIZE          fetch files up to this size automatically; 0: never\n" +
				"  auto-answer=yes|no        answer calls automatically: with secmsg call answer --auto\n" +
				"                            if it is waiting, otherwise in the daemon, with microphone\n" +
				"                            and loudspeaker\n" +
				"  receipts=on|off           send read receipts to the peer\n" +
				"  retention=30d             how long messages are kept; unread ones are not deleted",
			Example: "  secmsg contact set alice auto-accept=10MiB\n  secmsg contact set alice trust=verified", Args: argsBetween(2, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runContactSet(cmd.Context(), a, args[0], args[1])
			},
		},
	)
}

func (a *app) runContactList(ctx context.Context, c *local.Client, _ []string) error {
	r, err := c.Contacts(ctx, a.account)
	if err != nil {
		return err
	}
	t := a.newTable("PEER", "NICK", "TRUST", "CONTACT", "HELD")
	for _, e := range r.Contacts {
		t.row(e, e.Peer, e.Nick, e.Trust, contactWord(e), e.Held)
	}
	return t.flush()
}

func contactWord(c local.Contact) string {
	switch {
	case c.Contact:
		return "yes"
	case c.Request:
		return "request"
	}
	return "no"
}

func runContactSet(ctx context.Context, a *app, peer, policy string) error {
	key, value, ok := strings.Cut(policy, "=")
	if !ok || key == "" {
		return usagef("%q is not KEY=VALUE (example: retention=30d)", policy)
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		return a.changeContact(ctx, c, peer, func() (local.Contact, error) {
			return c.SetContact(ctx, local.ContactSetParams{PeerParams: a.peerParams(peer), Key: key, Value: value})
		})
	})
}

// contactShown prints all of a contact.
func (a *app) contactShown(e local.Contact, err error) error {
	switch {
	case err != nil:
		return err
	case a.json():
		return a.printJSON(e)
	}
	var l fieldList
	l.add("peer", e.Peer)
	l.add("nick", e.Nick)
	l.add("contact", contactWord(e))
	l.add("trust", e.Trust)
	l.add("fingerprint", e.Fingerprint)
	l.add("changed key", e.Changed)
	if !e.CertificateExpires.IsZero() {
		l.add("certificate expires", timeText(e.CertificateExpires))
	}
	for _, k := range slices.Sorted(maps.Keys(e.Policy)) {
		l.add("policy "+k, e.Policy[k])
	}
	for _, d := range e.Devices {
		l.add("device", d.ID+" "+d.Name+", added "+timeText(d.Added))
	}
	return a.write([]byte(l.String()))
}

// fieldList is a list of names and values for a person; empty values are left out.
type fieldList struct{ b strings.Builder }

func (l *fieldList) add(name, value string) {
	if value != "" {
		l.b.WriteString(visible(name) + ": " + visible(value) + "\n")
	}
}

func (l *fieldList) String() string { return l.b.String() }

func newBlockCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "block PEER", Short: "Block a peer: refuse everything it sends", Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDaemon(cmd.Context(), func(c *local.Client) error {
				return a.changeContact(cmd.Context(), c, args[0], func() (local.Contact, error) {
					return c.Block(cmd.Context(), a.peerParams(args[0]))
				})
			})
		},
	}
}

func newUnblockCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unblock PEER", Short: "Unblock a peer", Args: argsBetween(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDaemon(cmd.Context(), func(c *local.Client) error {
				return a.changeContact(cmd.Context(), c, args[0], func() (local.Contact, error) {
					return c.Unblock(cmd.Context(), a.peerParams(args[0]))
				})
			})
		},
	}
}
