package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/engine"
	"secmsg/daemon/journal"
	"secmsg/daemon/localapi"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Submit implements localapi.Backend. A locked profile queues at once. When the
// device is being replaced, what is not queued yet waits in its order for the
// account's next engine.
func (d *Daemon) Submit(ctx context.Context, p local.SendParams) func() (local.SendResults, error) {
	answered := func(out local.SendResults, err error) func() (local.SendResults, error) {
		return func() (local.SendResults, error) { return out, err }
	}
	if d.keys.Locked() {
		return answered(d.sendLocked(ctx, p))
	}
	a, err := d.resolve(p.Account)
	if err != nil {
		return answered(local.SendResults{}, toLocal(err))
	}
	e, _ := a.parts()
	wait := e.Submit(ctx, p)
	return func() (local.SendResults, error) {
		out, err := wait()
		return out, toLocal(err)
	}
}

// stoppedPause is how often a call looks for the engine that follows one that ended.
const stoppedPause = 50 * time.Millisecond

// ask calls an account's engine.
func (d *Daemon) ask(ctx context.Context, name string, call func(e *engine.Engine) error) error {
	return d.try(ctx, name, func(a *account) error {
		e, _ := a.parts()
		return call(e)
	})
}

// try makes a call that needs an account's engine. One that comes while the
// device is being replaced, when one engine has ended and the next is not made
// yet, was not carried out: it waits for that one. An account that has ended has
// no next.
func (d *Daemon) try(ctx context.Context, name string, call func(a *account) error) error {
	for {
		a, err := d.resolve(name)
		if err != nil {
			return err
		}
		if err = call(a); !engine.Stopped(err) {
			return toLocal(err)
		}
		select {
		case <-time.After(stoppedPause):
		case <-a.done:
			return toLocal(err)
		case <-ctx.Done():
			return toLocal(ctx.Err())
		}
	}
}

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
	var out local.Events
	err := d.try(ctx, p.Account, func(a *account) (err error) {
		e, _ := a.parts()
		offline := a.awaitMail(ctx)
		if out, err = e.Inbox(ctx, p); err != nil {
			return err
		}
		out.Offline = offline
		return nil
	})
	return out, err
}

// awaitMail waits a little until what waited at the server is here, and says
// why it is not. A daemon that was started for this very question has not been
// connected yet; one that is known to be offline has nothing to wait for.
func (a *account) awaitMail(ctx context.Context) *local.Error {
	if why := a.stoppedWhy(); why != nil {
		return why
	}
	e, _ := a.parts()
	if e.Tried() && !e.Connected() {
		e.Kick() // for the next question
		return e.Away()
	}
	if err := e.Connect(ctx, engine.StageMail); err != nil {
		return local.As(toLocal(err))
	}
	return nil
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
	if err != nil {
		return out, toLocal(err)
	}
	reasons, err := d.waiting(ctx, name)
	for i := range out.Results {
		if r := &out.Results[i]; r.Error == nil {
			r.Error = reasons[r.ID] // of a message whose files are not at the server yet
		}
	}
	return out, err
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
	var out local.SendResult
	err := d.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = f(e, ctx, p.ID)
		return err
	})
	return out, err
}

// MarkRead implements localapi.Backend.
func (d *Daemon) MarkRead(ctx context.Context, p local.ReadParams) (local.ReadResult, error) {
	var out local.ReadResult
	err := d.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.MarkRead(ctx, p)
		return err
	})
	return out, err
}

// Presence implements localapi.Backend.
func (d *Daemon) Presence(ctx context.Context, p local.PresenceParams) (local.PresenceList, error) {
	var out local.PresenceList
	err := d.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.PresenceList(ctx, p.Peers)
		return err
	})
	return out, err
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
	unmet := make(map[*account][]identity.Address)
	err := d.store.View(ctx, func(tx *store.Tx) error {
		for _, name := range p.From {
			for _, a := range list {
				addr, err := d.trust.Resolve(tx, a.id, name)
				if err != nil && len(list) > 1 && local.As(err).Code == local.CodeNotFound {
					continue // it is another account's peer
				}
				if err != nil {
					return err
				}
				peer, err := tx.FindPeer(a.id, addr.String())
				if errors.Is(err, store.ErrNotFound) {
					f.Unmet = append(f.Unmet, journal.Unmet{Account: a.id, Address: addr.String()})
					unmet[a] = append(unmet[a], addr)
					continue
				}
				if err != nil {
					return err
				}
				f.Peers = append(f.Peers, peer)
			}
		}
		return nil
	})
	for a, list := range unmet {
		for _, addr := range list {
			if err == nil && len(unmet) == 1 { // of several accounts one may know the name
				err = a.exists(ctx, addr)
			}
		}
	}
	if err == nil && len(f.Peers)+len(f.Unmet) == 0 {
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
