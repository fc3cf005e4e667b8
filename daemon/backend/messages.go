package backend

import (
	"context"
	"slices"
	"time"

	"secmsg/daemon/account"
	"secmsg/daemon/codes"
	"secmsg/daemon/engine"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Submit implements localapi.Backend. A locked profile queues at once.
func (b *Backend) Submit(ctx context.Context, p local.SendParams) func() (local.SendResults, error) {
	if b.keys.Locked() {
		out, err := b.sendLocked(ctx, p)
		return func() (local.SendResults, error) { return out, err }
	}
	a, err := b.resolve(p.Account)
	if err != nil {
		return func() (local.SendResults, error) { return local.SendResults{}, err }
	}
	wait := a.Engine.Submit(ctx, p)
	return func() (local.SendResults, error) {
		out, err := wait()
		return out, codes.Local(err)
	}
}

// sendLocked queues a message of a locked profile. Names are sealed, so the
// account must be the only or the default one.
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
	return on(b, p.Account, func(a *account.Account) (local.Events, error) {
		offline := a.AwaitMail(ctx)
		out, err := a.Engine.Inbox(ctx, p)
		if err == nil {
			out.Offline = offline
		}
		return out, err
	})
}

// History implements localapi.Backend.
func (b *Backend) History(ctx context.Context, p local.HistoryParams) (local.Events, error) {
	return on(b, p.Account, func(a *account.Account) (local.Events, error) { return a.Engine.History(ctx, p) })
}

// Outbox implements localapi.Backend.
func (b *Backend) Outbox(ctx context.Context, name string) (local.SendResults, error) {
	return on(b, name, func(a *account.Account) (local.SendResults, error) {
		out, err := a.Engine.Outbox(ctx)
		if err != nil {
			return out, err
		}
		waiting, err := a.Files.Waiting(ctx)
		for i := range out.Results {
			if r := &out.Results[i]; r.Error == nil {
				r.Error = waiting[r.ID] // the message's files are not uploaded yet
			}
		}
		return out, err
	})
}

// RetryOutbox implements localapi.Backend.
func (b *Backend) RetryOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error) {
	return on(b, p.Account, func(a *account.Account) (local.SendResult, error) { return a.Engine.RetryOutbox(ctx, p.ID) })
}

// CancelOutbox implements localapi.Backend.
func (b *Backend) CancelOutbox(ctx context.Context, p local.OutboxParams) (local.SendResult, error) {
	return on(b, p.Account, func(a *account.Account) (local.SendResult, error) { return a.Engine.CancelOutbox(ctx, p.ID) })
}

// MarkRead implements localapi.Backend.
func (b *Backend) MarkRead(ctx context.Context, p local.ReadParams) (local.ReadResult, error) {
	return on(b, p.Account, func(a *account.Account) (local.ReadResult, error) { return a.Engine.MarkRead(ctx, p) })
}

// Presence implements localapi.Backend.
func (b *Backend) Presence(ctx context.Context, p local.PresenceParams) (local.PresenceList, error) {
	return on(b, p.Account, func(a *account.Account) (local.PresenceList, error) { return a.Engine.PresenceList(ctx, p.Peers) })
}
