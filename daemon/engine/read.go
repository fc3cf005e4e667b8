package engine

import (
	"cmp"
	"context"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

const (
	defaultInbox   = 1000
	defaultHistory = 50
	// maxList bounds one answer in messages; callers ask for longer lists in parts.
	maxList = 10_000
)

// Inbox returns unread messages, oldest first. Unless p.Peek is set it also marks
// them as read and owes the read receipts.
func (e *Engine) Inbox(ctx context.Context, p local.InboxParams) (local.Events, error) {
	limit, err := limitOf(p.Limit, defaultInbox)
	if err != nil {
		return noEvents(), err
	}
	read := func(tx *store.Tx) (local.Events, error) {
		out, list, err := e.history.Unread(tx, p.From, limit)
		if err != nil || p.Peek {
			return out, err
		}
		return out, e.markRead(tx, list)
	}
	var out local.Events
	if p.Peek {
		out, err = inView(ctx, e, read)
	} else {
		out, err = inActor(ctx, e, func() (local.Events, error) { return inTx(e, read) })
	}
	if err != nil {
		return noEvents(), err
	}
	return out, nil
}

// markRead marks messages as read and tells the other own devices.
func (e *Engine) markRead(tx *store.Tx, list []store.Message) error {
	read, err := e.history.MarkRead(tx, list)
	if err != nil {
		return err
	}
	for peer, ids := range read {
		addr, err := history.PeerName(tx, peer)
		if err != nil {
			return err
		}
		for addr != "" && len(ids) > 0 {
			n := min(len(ids), e2e.MaxIDs)
			s := &e2e.Sync{Peer: addr, What: &e2e.Sync_Read{Read: &e2e.Receipt{
				State: e2e.ReceiptState_RECEIPT_STATE_READ, MessageIds: ids[:n]}}}
			if err := e.queueSync(tx, s); err != nil {
				return err
			}
			ids = ids[n:]
		}
	}
	return nil
}

// MarkRead marks the messages of a peer as read up to and including p.ID, or
// all of them, as Inbox does.
func (e *Engine) MarkRead(ctx context.Context, p local.ReadParams) (local.ReadResult, error) {
	out, err := inActor(ctx, e, func() (local.ReadResult, error) {
		return inTx(e, func(tx *store.Tx) (local.ReadResult, error) {
			list, err := e.history.UnreadUpTo(tx, p, maxList)
			if err != nil {
				return local.ReadResult{}, err
			}
			return local.ReadResult{Read: len(list)}, e.markRead(tx, list)
		})
	})
	return out, err
}

// History returns the last messages with a peer, oldest first.
func (e *Engine) History(ctx context.Context, p local.HistoryParams) (local.Events, error) {
	limit, err := limitOf(p.Limit, defaultHistory)
	if err != nil {
		return noEvents(), err
	}
	since, err := timeOf(p.Since)
	if err != nil {
		return noEvents(), err
	}
	before, err := timeOf(p.Before)
	if err != nil {
		return noEvents(), err
	}
	return e.viewEvents(ctx, func(tx *store.Tx) ([]local.Event, error) {
		return e.history.Messages(tx, p.Peer, limit, since, before)
	})
}

// Status describes the state of the account.
func (e *Engine) Status(ctx context.Context) (local.AccountStatus, error) {
	s := e.conn.get()
	out := local.AccountStatus{
		Name: e.self.User, Address: e.self.String(), Device: s.device.String(), Contact: s.contact, Replica: s.replica,
		Connected: s.contact && s.replica, Error: cmp.Or(s.stopped, s.err), ClockOffsetMS: s.offset.Milliseconds(),
	}
	counts, err := e.Counts(ctx)
	if err != nil {
		return out, err
	}
	out.Counts = occurred(counts)
	err = e.store.View(ctx, func(tx *store.Tx) error {
		sum, err := tx.Summary(e.account)
		out.Outbox, out.Held, out.Unread = sum.Outbox, sum.Held, sum.Unread
		// A jump of this clock or of the server's must not leave it in the future.
		out.LastReceived = history.TimeMS(min(sum.LastReceivedMS, e.now().UnixMilli()))
		return err
	})
	return out, err
}

// viewEvents answers a query with a list of events.
func (e *Engine) viewEvents(ctx context.Context, query func(tx *store.Tx) ([]local.Event, error)) (local.Events, error) {
	list, err := inView(ctx, e, query)
	if err != nil {
		return noEvents(), err
	}
	return local.Events{Events: list}, nil
}

// noEvents is an empty list, which is encoded as [] and not as null.
func noEvents() local.Events { return local.Events{Events: []local.Event{}} }

func limitOf(n, fallback int) (int, error) {
	switch {
	case n < 0:
		return 0, local.Errorf(local.CodeUsage, "the number of messages must not be negative: %d", n)
	case n == 0:
		return fallback, nil
	}
	return min(n, maxList), nil
}

func timeOf(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, local.Errorf(local.CodeUsage, "%q is not a time (example: 2006-01-02T15:04:05Z)", s)
	}
	return t.UnixMilli(), nil
}
