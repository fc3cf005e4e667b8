package main

import (
	"context"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

const (
	// inboxPage is how many messages are fetched at once. With texts of 64 KiB a page
	// is a few MiB.
	inboxPage = 64
	// inboxPeek is the maximum number of messages that --peek prints.
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
	c.Flags().StringArrayVar(&from, "from", nil, "only messages from this `PEER`; may be repeated")
	c.Flags().BoolVar(&peek, "peek", false, "leave the messages unread")
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

// readInbox prints the inbox page by page and marks a page as read only after it was
// printed, so a broken pipe never marks unseen messages. Another command may read the
// same inbox at that moment. Then the second request may mark messages that were not
// in the first page; these are printed too.
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

// printInbox fetches a page and prints the messages that are not in shown.
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

// inboxNotes tells of messages that the inbox does not show: those held for a
// changed key, and those that may wait on an unreachable server.
func (a *app) inboxNotes(page local.Events) {
	for _, h := range page.Held {
		messages, are := "messages", "are"
		if h.Count == 1 {
			messages, are = "message", "is"
		}
		a.notef("%d %s from %s %s held, because the peer's key has changed; see: secmsg contact show %s",
			h.Count, messages, visible(h.Peer), are, visible(h.Peer))
	}
	if page.Offline != nil {
		a.notef("more messages may be waiting on the server: %s", visible(page.Offline.Message))
	}
}
