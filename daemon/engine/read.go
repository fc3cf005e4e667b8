package engine

import (
	"context"
	"slices"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

const (
	defaultInbox   = 1000
	defaultHistory = 50
	// maxList bounds one answer in messages; what is more is asked for in parts.
	maxList = 10_000
)

// Inbox returns unread messages, oldest first, and unless it only peeks marks
// them as read, with the read receipts that are due.
func (e *Engine) Inbox(ctx context.Context, p local.InboxParams) (local.Events, error) {
	out := local.Events{Events: []local.Event{}}
	limit, err := limitOf(p.Limit, defaultInbox)
	if err != nil {
		return out, err
	}
	read := func(tx *store.Tx) error {
		out.Events = out.Events[:0]
		var peers []store.PeerID
		for _, name := range p.From {
			id, err := e.peerNamed(tx, name)
			if err != nil {
				return err
			}
			peers = append(peers, id)
		}
		list, err := tx.Unread(e.account, peers, limit)
		if err != nil {
			return err
		}
		if out.Held, err = e.heldMail(tx, peers); err != nil {
			return err
		}
		for i := range list {
			ev, err := e.messageEvent(tx, &list[i])
			if err != nil {
				return err
			}
			out.Events = append(out.Events, ev)
		}
		if p.Peek {
			return nil
		}
		return e.markRead(tx, list)
	}
	if p.Peek {
		err = e.store.View(ctx, read)
	} else {
		err = e.do(ctx, func() error { return e.update(read) })
	}
	return out, toLocal(err)
}

// heldMail counts what came under a changed key, of these peers or of all: it
// cannot be shown before the key is accepted, and must not be forgotten for that.
func (e *Engine) heldMail(tx *store.Tx, of []store.PeerID) ([]local.HeldMail, error) {
	peers, err := tx.ParkedPeers(e.account, store.ParkedChanged)
	if err != nil {
		return nil, err
	}
	var out []local.HeldMail
	for _, peer := range peers {
		if len(of) > 0 && !slices.Contains(of, peer) {
			continue
		}
		n, err := tx.CountParked(e.account, peer, store.ParkedChanged)
		if err != nil {
			return nil, err
		}
		name, err := peerName(tx, peer)
		if err != nil {
			return nil, err
		}
		out = append(out, local.HeldMail{Peer: name, Count: n})
	}
	return out, nil
}

// peerNamed returns the id of a peer whom the user names. A name of whom nothing
// is known is an error: an empty answer would hide that it is misspelt.
func (e *Engine) peerNamed(tx *store.Tx, name string) (store.PeerID, error) {
	addr, err := e.trust.Resolve(tx, e.account, name)
	if err != nil {
		return 0, err
	}
	id, err := e.findPeer(tx, addr.String())
	if err == nil && id < 0 {
		err = local.Errorf(local.CodeNotFound, "nothing is known of %s", addr)
	}
	return id, err
}

// findPeer returns a peer's id; one that was never met gets an id that nothing has.
func (e *Engine) findPeer(tx *store.Tx, addr string) (store.PeerID, error) {
	id, err := tx.FindPeer(e.account, addr)
	if isNotFound(err) {
		return -1, nil
	}
	return id, err
}

// markRead marks messages as read, owes the read receipts, and tells the other
// own devices.
func (e *Engine) markRead(tx *store.Tx, list []store.Message) error {
	read := make(map[store.PeerID][][]byte)
	for i := range list {
		m := &list[i]
		was, err := tx.MarkRead(e.account, m.ID)
		if err != nil {
			return err
		}
		if !was || m.Kind == int32(e2e.Kind_KIND_REQUEST) {
			continue
		}
		// Who reads it has it: with files, only once they are here.
		whole, err := e.whole(tx, m.ID)
		if err != nil {
			return err
		}
		if whole {
			if err := e.owe(tx, m.Peer, m.ID, e2e.ReceiptState_RECEIPT_STATE_READ); err != nil {
				return err
			}
		}
		read[m.Peer] = append(read[m.Peer], m.ID[:])
	}
	for peer, ids := range read {
		addr, err := peerName(tx, peer)
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
	var out local.ReadResult
	err := e.do(ctx, func() error {
		return e.update(func(tx *store.Tx) error {
			out.Read = 0
			list, err := e.unreadUpTo(tx, p)
			if err != nil {
				return err
			}
			out.Read = len(list)
			return e.markRead(tx, list)
		})
	})
	return out, toLocal(err)
}

// unreadUpTo returns the unread messages that p means.
func (e *Engine) unreadUpTo(tx *store.Tx, p local.ReadParams) ([]store.Message, error) {
	addr, err := e.trust.Resolve(tx, e.account, p.Peer)
	if err != nil {
		return nil, err
	}
	peer, err := tx.FindPeer(e.account, addr.String())
	if isNotFound(err) {
		return nil, local.Errorf(local.CodeNotFound, "there are no messages with %s", addr)
	}
	if err != nil {
		return nil, err
	}
	list, err := tx.Unread(e.account, []store.PeerID{peer}, maxList)
	if err != nil || p.ID == "" {
		return list, err
	}
	id, err := parseID(p.ID)
	if err != nil {
		return nil, local.Errorf(local.CodeNotFound, "there is no message %q", p.ID)
	}
	m, err := tx.MessageHead(e.account, id)
	if isNotFound(err) || err == nil && (m.Peer != peer || m.Direction != store.In) {
		return nil, local.Errorf(local.CodeNotFound, "%s sent no message %s", addr, p.ID)
	}
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].ID == id {
			return list[:i+1], nil
		}
	}
	return nil, nil // it is read already
}

// History returns the last messages with a peer, oldest first, in the order of
// rpc/DELIVERY.md, promise 6.
func (e *Engine) History(ctx context.Context, p local.HistoryParams) (local.Events, error) {
	out := local.Events{Events: []local.Event{}}
	limit, err := limitOf(p.Limit, defaultHistory)
	if err != nil {
		return out, err
	}
	since, err := timeOf(p.Since)
	if err != nil {
		return out, err
	}
	before, err := timeOf(p.Before)
	if err != nil {
		return out, err
	}
	err = e.store.View(ctx, func(tx *store.Tx) error {
		addr, err := e.trust.Resolve(tx, e.account, p.Peer)
		if err != nil {
			return err
		}
		peer, err := tx.FindPeer(e.account, addr.String())
		if isNotFound(err) {
			return local.Errorf(local.CodeNotFound, "there are no messages with %s", addr)
		}
		if err != nil {
			return err
		}
		list, err := tx.History(e.account, peer, limit, since, before)
		if err != nil {
			return err
		}
		for i := range list {
			ev, err := e.messageEvent(tx, &list[i])
			if err != nil {
				return err
			}
			out.Events = append(out.Events, ev)
		}
		return nil
	})
	return out, toLocal(err)
}

// Outbox lists what is not accepted yet, the oldest first.
func (e *Engine) Outbox(ctx context.Context) (local.SendResults, error) {
	out := local.SendResults{Results: []local.SendResult{}}
	err := e.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.OutgoingList(e.account)
		if err != nil {
			return err
		}
		for _, o := range rows {
			m, err := tx.MessageHead(e.account, o.ID)
			if isNotFound(err) || err == nil && m.State == local.StateAccepted {
				continue // on its way to a further device only
			}
			if err != nil {
				return err
			}
			r, err := sendResult(tx, m)
			if err != nil {
				return err
			}
			out.Results = append(out.Results, r)
		}
		return nil
	})
	return out, toLocal(err)
}

// Status tells how the account stands.
func (e *Engine) Status(ctx context.Context) (local.AccountStatus, error) {
	e.mu.Lock()
	s := e.status
	e.mu.Unlock()
	out := local.AccountStatus{
		Name: e.self.User, Address: e.self.String(), Device: e.device.String(), Contact: s.contact, Replica: s.replica,
		Connected: s.contact && s.replica, Error: s.err, ClockOffsetMS: s.offset.Milliseconds(),
	}
	err := e.store.View(ctx, func(tx *store.Tx) error {
		sum, err := tx.Summary(e.account)
		out.Outbox, out.Held, out.Unread = sum.Outbox, sum.Held, sum.Unread
		// Neither a jump of this clock nor one of the server's leaves it in the future.
		out.LastReceived = localMS(min(sum.LastReceivedMS, e.now().UnixMilli()))
		return err
	})
	return out, toLocal(err)
}

func limitOf(n, fallback int) (int, error) {
	switch {
	case n < 0:
		return 0, local.Errorf(local.CodeUsage, "a number of messages is not negative: %d", n)
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
		return 0, local.Errorf(local.CodeUsage, "not a time such as 2006-01-02T15:04:05Z: %q", s)
	}
	return t.UnixMilli(), nil
}
