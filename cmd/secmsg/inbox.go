package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

const (
	// inboxPage is how many messages are fetched at once; with texts of 64 KiB a
	// page is a few MiB.
	inboxPage = 64
	// inboxPeek is how many messages --peek shows at most.
	inboxPeek = 1000
)

func newInboxCommand(a *app) *cobra.Command {
	var from []string
	var peek bool
	c := &cobra.Command{
		Use:   "inbox",
		Short: "Print unread messages, oldest first, and mark them as read",
		Args:  argsBetween(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runInbox(cmd.Context(), a, from, peek) },
	}
	c.Flags().StringArrayVar(&from, "from", nil, "only messages of this `PEER`; may be repeated")
	c.Flags().BoolVar(&peek, "peek", false, "leave them unread")
	return c
}

func runInbox(ctx context.Context, a *app, from []string, peek bool) error {
	return a.withDaemon(ctx, func(c *local.Client) error {
		p := local.InboxParams{AccountParam: a.accountParam(), From: from, Peek: true}
		if peek {
			p.Limit = inboxPeek
			_, err := a.printInbox(ctx, c, p, nil)
			return err
		}
		return a.readInbox(ctx, c, p)
	})
}

// readInbox prints page by page, and marks a page as read only after it was
// printed: if standard output breaks, nothing unseen is marked. Another command
// may read the same inbox meanwhile; what is then marked without having been
// printed here is printed too.
func (a *app) readInbox(ctx context.Context, c *local.Client, p local.InboxParams) error {
	for {
		p.Peek, p.Limit = true, inboxPage
		shown, err := a.printInbox(ctx, c, p, nil)
		if err != nil || len(shown) == 0 {
			return err
		}
		p.Peek, p.Limit = false, len(shown)
		if _, err := a.printInbox(ctx, c, p, shown); err != nil {
			return err
		}
		if len(shown) < inboxPage {
			return nil
		}
	}
}

// printInbox fetches a page and prints what is not in shown. It returns the ids of the page.
func (a *app) printInbox(ctx context.Context, c *local.Client, p local.InboxParams, shown map[string]bool) (map[string]bool, error) {
	page, err := c.Inbox(ctx, p)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]bool, len(page.Events))
	for i := range page.Events {
		e := &page.Events[i]
		ids[e.ID] = true
		if shown[e.ID] {
			continue
		}
		if err := a.printEvent(e); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
