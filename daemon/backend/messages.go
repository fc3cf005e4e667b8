package backend

import (
	"context"
	"errors"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/account"
	"secmsg/daemon/codes"
	"secmsg/daemon/engine"
	"secmsg/daemon/journal"
	"secmsg/daemon/localapi"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Submit implements localapi.Backend. A locked profile queues at once. When the
// device is being replaced, what is not queued yet waits in its order for the
// account's next engine.
func (b *Backend) Submit(ctx context.Context, p local.SendParams) func() (local.SendResults, error) {
	answered := func(out local.SendResults, err error) func() (local.SendResults, error) {
		return func() (local.SendResults, error) { return out, err }
	}
	if b.keys.Locked() {
		return answered(b.sendLocked(ctx, p))
	}
	a, err := b.resolve(p.Account)
	if err != nil {
		return answered(local.SendResults{}, codes.Local(err))
	}
	e, _ := a.Parts()
	wait := e.Submit(ctx, p)
	return func() (local.SendResults, error) {
		out, err := wait()
		return out, codes.Local(err)
	}
}

// stoppedPause is how often a call looks for the engine that follows one that ended.
const stoppedPause = 50 * time.Millisecond

// ask calls an account's engine.
func (b *Backend) ask(ctx context.Context, name string, call func(e *engine.Engine) error) error {
	return b.try(ctx, name, func(a *account.Account) error {
		e, _ := a.Parts()
		return call(e)
	})
}

// try makes a call that needs an account's engine. One that comes while the
// device is being replaced, when one engine has ended and the next is not made
// yet, was not carried out: it waits for that one. An account that has ended has
// no next.
func (b *Backend) try(ctx context.Context, name string, call func(a *account.Account) error) error {
	for {
		a, err := b.resolve(name)
		if err != nil {
			return err
		}
		if err = call(a); !engine.Stopped(err) {
			return codes.Local(err)
		}
		select {
		case <-time.After(stoppedPause):
		case <-a.Done():
			return codes.Local(err)
		case <-ctx.Done():
			return codes.Local(ctx.Err())
		}
	}
}

// sendLocked queues for the account that is meant. Names are sealed, so that it
// must be the only or the default one.
func (b *Backend) sendLocked(ctx context.Context, p local.SendParams) (local.SendResults, error) {
	if p.Account != "" {
		return local.SendResults{}, local.Errorf(local.CodeLocked, "while the profile is locked, messages can be queued only for its default account").WithHint("secmsg unlock")
	}
	var refs []store.AccountRef
	err := b.store.View(ctx, func(tx *store.Tx) (err error) {
		refs, err = tx.AccountRefs()
		return err
	})
	if err != nil {
		return local.SendResults{}, codes.Local(err)
	}
	refs = slices.DeleteFunc(refs, func(r store.AccountRef) bool { return r.State == store.AccountJoining })
	i := slices.IndexFunc(refs, func(r store.AccountRef) bool { return r.Default || len(refs) == 1 })
	if i < 0 {
		return local.SendResults{}, codes.Locked()
	}
	out, err := engine.QueueLocked(ctx, b.store, b.keys, refs[i].ID, p, time.Now())
	return out, codes.Local(err)
}

// Inbox implements localapi.Backend.
func (b *Backend) Inbox(ctx context.Context, p local.InboxParams) (local.Events, error) {
	var out local.Events
	err := b.try(ctx, p.Account, func(a *account.Account) (err error) {
		e, _ := a.Parts()
		offline := a.AwaitMail(ctx)
		if out, err = e.Inbox(ctx, p); err != nil {
			return err
		}
		out.Offline = offline
		return nil
	})
	return out, err
}

// History implements localapi.Backend.
func (b *Backend) History(ctx context.Context, p local.HistoryParams) (local.Events, error) {
	e, err := b.engine(p.Account)
	if err != nil {
		return local.Events{}, err
	}
	out, err := e.History(ctx, p)
	return out, codes.Local(err)
}

// Outbox implements localapi.Backend.
func (b *Backend) Outbox(ctx context.Context, name string) (local.SendResults, error) {
	e, err := b.engine(name)
	if err != nil {
		return local.SendResults{}, err
	}
	out, err := e.Outbox(ctx)
	if err != nil {
		return out, codes.Local(err)
	}
	reasons, err := b.waiting(ctx, name)
	for i := range out.Results {
		if r := &out.Results[i]; r.Error == nil {
			r.Error = reasons[r.ID] // of a message whose files are not at the server yet
		}
	}
	return out, err
}

// RetryOutbox implements localapi.Backend.
func (b *Backend) RetryOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error) {
	return oneOfOutbox(ctx, b, p, (*engine.Engine).RetryOutbox)
}

// CancelOutbox implements localapi.Backend.
func (b *Backend) CancelOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error) {
	return oneOfOutbox(ctx, b, p, (*engine.Engine).CancelOutbox)
}

func oneOfOutbox(ctx context.Context, b *Backend, p local.OutboxParams, f func(*engine.Engine, context.Context, string) (local.SendResult, error)) (local.SendResult, error) {
	var out local.SendResult
	err := b.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = f(e, ctx, p.ID)
		return err
	})
	return out, err
}

// MarkRead implements localapi.Backend.
func (b *Backend) MarkRead(ctx context.Context, p local.ReadParams) (local.ReadResult, error) {
	var out local.ReadResult
	err := b.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.MarkRead(ctx, p)
		return err
	})
	return out, err
}

// Presence implements localapi.Backend.
func (b *Backend) Presence(ctx context.Context, p local.PresenceParams) (local.PresenceList, error) {
	var out local.PresenceList
	err := b.ask(ctx, p.Account, func(e *engine.Engine) (err error) {
		out, err = e.PresenceList(ctx, p.Peers)
		return err
	})
	return out, err
}

func (b *Backend) engine(name string) (*engine.Engine, error) {
	a, err := b.resolve(name)
	if err != nil {
		return nil, err
	}
	e, _ := a.Parts()
	return e, nil
}

// Subscribe implements localapi.Backend.
func (b *Backend) Subscribe(ctx context.Context, p local.SubscribeParams) (local.Subscribed, localapi.Subscription, error) {
	f, err := b.filter(ctx, p)
	if err != nil {
		return local.Subscribed{}, nil, codes.Local(err)
	}
	out, sub, err := b.journal.Subscribe(ctx, f, p)
	if err != nil {
		return local.Subscribed{}, nil, codes.Local(err)
	}
	return out, sub, nil
}

// filter resolves the names in a subscription: of the account that is named, or
// of all accounts.
func (b *Backend) filter(ctx context.Context, p local.SubscribeParams) (journal.Filter, error) {
	var f journal.Filter
	list := b.running()
	if p.Account != "" || len(list) == 0 {
		a, err := b.resolve(p.Account)
		if err != nil {
			return f, err
		}
		list = []*account.Account{a}
		f.Accounts = []store.AccountID{a.ID()}
	}
	if len(p.From) == 0 {
		return f, nil
	}
	unmet := make(map[*account.Account][]identity.Address)
	err := b.store.View(ctx, func(tx *store.Tx) error {
		for _, name := range p.From {
			for _, a := range list {
				addr, err := b.trust.Resolve(tx, a.ID(), name)
				if err != nil && len(list) > 1 && local.As(err).Code == local.CodeNotFound {
					continue // it is another account's peer
				}
				if err != nil {
					return err
				}
				peer, err := tx.FindPeer(a.ID(), addr.String())
				if errors.Is(err, store.ErrNotFound) {
					f.Unmet = append(f.Unmet, journal.Unmet{Account: a.ID(), Address: addr.String()})
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
				err = a.Exists(ctx, addr)
			}
		}
	}
	if err == nil && len(f.Peers)+len(f.Unmet) == 0 {
		err = local.Errorf(local.CodeNotFound, "no account of this profile knows this peer")
	}
	return f, err
}

// Ack implements localapi.Backend.
func (b *Backend) Ack(ctx context.Context, p local.AckParams) error {
	return codes.Local(b.journal.Ack(ctx, p))
}

// Fail implements localapi.Backend.
func (b *Backend) Fail(ctx context.Context, p local.FailParams) (local.Failed, error) {
	out, err := b.journal.Fail(ctx, p)
	return out, codes.Local(err)
}

// Consumers implements localapi.Backend.
func (b *Backend) Consumers(ctx context.Context) (local.Consumers, error) {
	out, err := b.journal.Consumers(ctx)
	return out, codes.Local(err)
}

// RemoveConsumer implements localapi.Backend.
func (b *Backend) RemoveConsumer(ctx context.Context, name string) error {
	return codes.Local(b.journal.RemoveConsumer(ctx, name))
}
