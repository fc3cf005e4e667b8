package main

import (
	"context"
	"strconv"

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
			page, err := a.printInbox(ctx, c, p, nil)
			if err != nil {
				return err
			}
			a.inboxNotes(page)
			return nil
		}
		if err := a.needStdout(); err != nil {
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
		page, err := a.printInbox(ctx, c, p, nil)
		if err != nil {
			return err
		}
		shown := make(map[string]bool, len(page.Events))
		for i := range page.Events {
			shown[page.Events[i].ID] = true
		}
		if len(shown) > 0 {
			p.Peek, p.Limit = false, len(shown)
			if _, err := a.printInbox(ctx, c, p, shown); err != nil {
				return err
			}
		}
		if len(shown) < inboxPage {
			a.inboxNotes(page)
			return nil
		}
	}
}

// printInbox fetches a page and prints what is not in shown.
func (a *app) printInbox(ctx context.Context, c *local.Client, p local.InboxParams, shown map[string]bool) (local.Events, error) {
	page, err := c.Inbox(ctx, p)
	if err != nil {
		return page, err
	}
	for i := range page.Events {
		e := &page.Events[i]
		if shown[e.ID] {
			continue
		}
		if err := a.printEvent(e); err != nil {
			return page, err
		}
	}
	return page, nil
}

// inboxNotes tells what the inbox does not show: mail under a key that nobody
// has accepted yet, and mail that may wait at a server that cannot be asked.
func (a *app) inboxNotes(page local.Events) {
	for _, h := range page.Held {
		a.notef("%s held of %s: the key has changed; look at it with: secmsg contact show %s",
			countWord(h.Count, "message", "messages"), visible(h.Peer), visible(h.Peer))
	}
	if page.Offline != nil {
		a.notef("more may wait at the server: %s", visible(page.Offline.Message))
	}
}

// countWord is a number with its noun and verb: "1 message is", "2 messages are".
func countWord(n int, one, many string) string {
	if n == 1 {
		return "1 " + one + " is"
	}
	return strconv.Itoa(n) + " " + many + " are"
}
