package daemon

import (
	"context"
	"slices"
	"time"

	"secmsg/daemon/engine"
	"secmsg/daemon/journal"
	"secmsg/daemon/localapi"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Send implements localapi.Backend. A locked profile queues.
func (d *Daemon) Send(ctx context.Context, p local.SendParams) (local.SendResults, error) {
	if d.keys.Locked() {
		return d.sendLocked(ctx, p)
	}
	for try := 0; ; try++ {
		e, err := d.engine(p.Account)
		if err != nil {
			return local.SendResults{}, err
		}
		out, err := e.Send(ctx, p)
		if !engine.Stopped(err) || try == stoppedTries || d.work.Err() != nil {
			return out, toLocal(err)
		}
		// The device is just being replaced; nothing was queued yet.
		select {
		case <-time.After(stoppedPause):
		case <-ctx.Done():
			return out, toLocal(ctx.Err())
		}
	}
}

// stoppedTries and stoppedPause bound the wait for the engine that follows one
// that ended, while a device is replaced: two seconds.
const (
	stoppedTries = 40
	stoppedPause = 50 * time.Millisecond
)

// sendLocked queues for the account that is meant. Names are sealed, so that it
// must be the only or the default one.
func (d *Daemon) sendLocked(ctx context.Context, p local.SendParams) (local.SendResults, error) {
	if p.Account != "" {
		return local.SendResults{}, local.Errorf(local.CodeLocked, "a locked profile queues for its default account only").WithHint("secmsg unlock")
	}
	var refs []store.AccountRef
	err := d.store.View(ctx, func(tx *store.Tx) (err error) {
		refs, err = tx.AccountRefs()
		return err
	})
	if err != nil {
		return local.SendResults{}, toLocal(err)
	}
	refs = slices.DeleteFunc(refs, func(r store.AccountRef) bool { return r.State == store.AccountJoining })
	i := slices.IndexFunc(refs, func(r store.AccountRef) bool { return r.Default || len(refs) == 1 })
	if i < 0 {
		return local.SendResults{}, lockedError()
	}
	out, err := engine.QueueLocked(ctx, d.store, d.keys, refs[i].ID, p, time.Now())
	return out, toLocal(err)
}

// Inbox implements localapi.Backend.
func (d *Daemon) Inbox(ctx context.Context, p local.InboxParams) (local.Events, error) {
	e, err := d.engine(p.Account)
	if err != nil {
		return local.Events{}, err
	}
	out, err := e.Inbox(ctx, p)
	return out, toLocal(err)
}

// History implements localapi.Backend.
func (d *Daemon) History(ctx context.Context, p local.HistoryParams) (local.Events, error) {
	e, err := d.engine(p.Account)
	if err != nil {
		return local.Events{}, err
	}
	out, err := e.History(ctx, p)
	return out, toLocal(err)
}

// Outbox implements localapi.Backend.
func (d *Daemon) Outbox(ctx context.Context, name string) (local.SendResults, error) {
	e, err := d.engine(name)
	if err != nil {
		return local.SendResults{}, err
	}
	out, err := e.Outbox(ctx)
	return out, toLocal(err)
}

// RetryOutbox implements localapi.Backend.
func (d *Daemon) RetryOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error) {
	return oneOfOutbox(ctx, d, p, (*engine.Engine).RetryOutbox)
}

// CancelOutbox implements localapi.Backend.
func (d *Daemon) CancelOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error) {
	return oneOfOutbox(ctx, d, p, (*engine.Engine).CancelOutbox)
}

func oneOfOutbox(ctx context.Context, d *Daemon, p local.OutboxParams, f func(*engine.Engine, context.Context, string) (local.SendResult, error)) (local.SendResult, error) {
	e, err := d.engine(p.Account)
	if err != nil {
		return local.SendResult{}, err
	}
	out, err := f(e, ctx, p.ID)
	return out, toLocal(err)
}

// MarkRead implements localapi.Backend.
func (d *Daemon) MarkRead(ctx context.Context, p local.ReadParams) (local.ReadResult, error) {
	e, err := d.engine(p.Account)
	if err != nil {
		return local.ReadResult{}, err
	}
	out, err := e.MarkRead(ctx, p)
	return out, toLocal(err)
}

// Presence implements localapi.Backend.
func (d *Daemon) Presence(ctx context.Context, p local.PresenceParams) (local.PresenceList, error) {
	e, err := d.engine(p.Account)
	if err != nil {
		return local.PresenceList{}, err
	}
	out, err := e.PresenceList(ctx, p.Peers)
	return out, toLocal(err)
}

func (d *Daemon) engine(name string) (*engine.Engine, error) {
	a, err := d.resolve(name)
	if err != nil {
		return nil, err
	}
	e, _ := a.parts()
	return e, nil
}

// Subscribe implements localapi.Backend.
func (d *Daemon) Subscribe(ctx context.Context, p local.SubscribeParams) (local.Subscribed, localapi.Subscription, error) {
	f, err := d.filter(ctx, p)
	if err != nil {
		return local.Subscribed{}, nil, toLocal(err)
	}
	out, sub, err := d.journal.Subscribe(ctx, f, p)
	if err != nil {
		return local.Subscribed{}, nil, toLocal(err)
	}
	return out, sub, nil
}

// filter resolves the names in a subscription: of the account that is named, or
// of all accounts.
func (d *Daemon) filter(ctx context.Context, p local.SubscribeParams) (journal.Filter, error) {
	var f journal.Filter
	list := d.running()
	if p.Account != "" || len(list) == 0 {
		a, err := d.resolve(p.Account)
		if err != nil {
			return f, err
		}
		list = []*account{a}
		f.Accounts = []store.AccountID{a.id}
	}
	if len(p.From) == 0 {
		return f, nil
	}
	err := d.store.Update(ctx, func(tx *store.Tx) error {
		for _, name := range p.From {
			for _, a := range list {
				addr, err := d.trust.Resolve(tx, a.id, name)
				if err != nil && len(list) > 1 && local.As(err).Code == local.CodeNotFound {
					continue // it is another account's peer
				}
				if err != nil {
					return err
				}
				peer, err := tx.Peer(a.id, addr.String())
				if err != nil {
					return err
				}
				f.Peers = append(f.Peers, peer)
			}
		}
		return nil
	})
	if err == nil && len(f.Peers) == 0 {
		err = local.Errorf(local.CodeNotFound, "no account has such a peer")
	}
	return f, err
}

// Ack implements localapi.Backend.
func (d *Daemon) Ack(ctx context.Context, p local.AckParams) error {
	return toLocal(d.journal.Ack(ctx, p))
}

// Fail implements localapi.Backend.
func (d *Daemon) Fail(ctx context.Context, p local.FailParams) (local.Failed, error) {
	out, err := d.journal.Fail(ctx, p)
	return out, toLocal(err)
}

// Consumers implements localapi.Backend.
func (d *Daemon) Consumers(ctx context.Context) (local.Consumers, error) {
	out, err := d.journal.Consumers(ctx)
	return out, toLocal(err)
}

// RemoveConsumer implements localapi.Backend.
func (d *Daemon) RemoveConsumer(ctx context.Context, name string) error {
	return toLocal(d.journal.RemoveConsumer(ctx, name))
}
