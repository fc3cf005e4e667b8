package backend

import (
	"context"
	"errors"

	"secmsg/crypto/identity"
	"secmsg/daemon/account"
	"secmsg/daemon/codes"
	"secmsg/daemon/journal"
	"secmsg/daemon/localapi"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

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
	return out, subscription{sub}, nil
}

// subscription gives the error that ended a subscription its code.
type subscription struct{ *journal.Subscription }

// Err implements localapi.Subscription.
func (s subscription) Err() error { return codes.Local(s.Subscription.Err()) }

// filter resolves the names in a subscription, for the named account or for all
// accounts.
func (b *Backend) filter(ctx context.Context, p local.SubscribeParams) (journal.Filter, error) {
	var f journal.Filter
	list := b.running()
	if p.Account != "" || len(list) == 0 {
		a, err := b.resolve(p.Account)
		if err != nil {
			return f, err
		}
		list = []*account.Account{a}
		f.Accounts = []store.AccountID{a.ID}
	}
	if len(p.From) == 0 {
		return f, nil
	}
	unmet := make(map[*account.Account][]identity.Address)
	err := b.store.View(ctx, func(tx *store.Tx) error {
		for _, name := range p.From {
			for _, a := range list {
				addr, err := a.Trust.Resolve(tx, a.ID, name)
				if err != nil && len(list) > 1 && local.As(err).Code == local.CodeNotFound {
					continue // a peer of another account
				}
				if err != nil {
					return err
				}
				peer, err := tx.FindPeer(a.ID, addr.String())
				if errors.Is(err, store.ErrNotFound) {
					f.Unmet = append(f.Unmet, journal.Unmet{Account: a.ID, Address: addr.String()})
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
			if err == nil && len(unmet) == 1 { // with several accounts, another one may know the name
				err = b.exists(ctx, a, addr)
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
