package backend

import (
	"context"
	"errors"

	"secmsg/crypto/identity"
	"secmsg/daemon/account"
	"secmsg/daemon/codes"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// Contacts implements localapi.Backend.
func (b *Backend) Contacts(ctx context.Context, name string) (local.Contacts, error) {
	return on(b, name, func(a *account.Account) (out local.Contacts, err error) {
		err = b.store.View(ctx, func(tx *store.Tx) (err error) {
			out, err = a.Trust.Contacts(tx, a.ID)
			return err
		})
		return out, err
	})
}

// Contact implements localapi.Backend.
func (b *Backend) Contact(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	return b.contact(ctx, a, addr)
}

func (b *Backend) contact(ctx context.Context, a *account.Account, addr identity.Address) (out local.Contact, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) (err error) {
		out, err = a.Trust.Contact(tx, a.ID, addr)
		return err
	})
	return out, codes.Local(err)
}

// AddContact implements localapi.Backend. An unknown peer is looked up, later if
// the server cannot be reached now.
func (b *Backend) AddContact(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	if err := a.Engine.LookUp(ctx, addr); err != nil && link.KindOf(err) != link.KindUnreachable {
		return local.Contact{}, lookUpError(addr, err)
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return a.Trust.Add(tx, a.ID, addr) })
}

// NickContact implements localapi.Backend.
func (b *Backend) NickContact(ctx context.Context, p local.ContactNickParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Contact{}, err
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return a.Trust.Nick(tx, a.ID, addr, p.Name) })
}

// RemoveContact implements localapi.Backend.
func (b *Backend) RemoveContact(ctx context.Context, p local.PeerParams) error {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return err
	}
	_, err = b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) {
		return local.Contact{}, a.Trust.Remove(tx, a.ID, addr)
	})
	if err == nil {
		b.endCalls(ctx, a, addr)
	}
	return err
}

// SetContact implements localapi.Backend.
func (b *Backend) SetContact(ctx context.Context, p local.ContactSetParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Contact{}, err
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return a.Trust.Set(tx, a.ID, addr, p.Key, p.Value) })
}

// Block implements localapi.Backend.
func (b *Backend) Block(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	if err := b.exists(ctx, a, addr); err != nil {
		return local.Contact{}, err // nobody must take a peer for blocked because of a misspelt name
	}
	out, err := b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return a.Trust.Block(tx, a.ID, addr) })
	if err == nil {
		b.endCalls(ctx, a, addr)
	}
	return out, err
}

// Unblock implements localapi.Backend.
func (b *Backend) Unblock(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return a.Trust.Unblock(tx, a.ID, addr) })
}

// Verify implements localapi.Backend. A number that differs changes nothing,
// leaves an identity event and is untrusted.
func (b *Backend) Verify(ctx context.Context, p local.VerifyParams) (local.Verification, error) {
	a, addr, err := b.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Verification{}, err
	}
	if err := a.Engine.LookUp(ctx, addr); err != nil {
		return local.Verification{}, lookUpError(addr, err)
	}
	var out local.Verification
	var mismatch bool
	err = b.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, mismatch, err = a.Trust.Verify(tx, a.ID, addr, p.Expect, p.Confirm)
		return err
	})
	if err != nil {
		return out, codes.Local(err)
	}
	if mismatch {
		return out, trust.MismatchError(addr)
	}
	a.Wake()
	return out, nil
}

// Trust implements localapi.Backend.
func (b *Backend) Trust(ctx context.Context, p local.TrustParams) (local.Contact, error) {
	if (p.Key != "") == p.Discard {
		return local.Contact{}, local.Errorf(local.CodeUsage, "either the fingerprint of a key or discard is required")
	}
	a, addr, err := b.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Contact{}, err
	}
	if p.Discard {
		return b.discard(ctx, a, addr)
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return a.Trust.Accept(tx, a.ID, addr, p.Key) })
}

// discard drops the messages held for a peer and those received under a changed
// key.
func (b *Backend) discard(ctx context.Context, a *account.Account, addr identity.Address) (local.Contact, error) {
	var peer store.PeerID
	err := b.store.View(ctx, func(tx *store.Tx) (err error) {
		peer, err = tx.FindPeer(a.ID, addr.String())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return local.Contact{}, local.Errorf(local.CodeNotFound, "%s is not a contact, and has not written to you", addr)
	}
	if err == nil {
		err = a.Engine.Discard(ctx, peer)
	}
	if err != nil {
		return local.Contact{}, codes.Local(err)
	}
	return b.contact(ctx, a, addr)
}

// change changes a contact and wakes the account.
func (b *Backend) change(ctx context.Context, a *account.Account, fn func(tx *store.Tx) (local.Contact, error)) (local.Contact, error) {
	var out local.Contact
	err := b.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	if err != nil {
		return out, codes.Local(err)
	}
	a.Wake()
	return out, nil
}

// peer resolves the account and the peer of a request.
func (b *Backend) peer(ctx context.Context, p local.PeerParams) (*account.Account, identity.Address, error) {
	a, err := b.resolve(p.Account)
	if err != nil {
		return nil, identity.Address{}, err
	}
	var addr identity.Address
	err = b.store.View(ctx, func(tx *store.Tx) (err error) {
		addr, err = a.Trust.Resolve(tx, a.ID, p.Peer)
		return err
	})
	return a, addr, codes.Local(err)
}

// exists fails if the server says that an unknown peer does not exist.
func (b *Backend) exists(ctx context.Context, a *account.Account, addr identity.Address) error {
	exists, err := a.Engine.Exists(ctx, addr)
	if err == nil && !exists {
		return noSuchPeer(addr)
	}
	return codes.Local(err)
}

func noSuchPeer(addr identity.Address) error {
	return local.Errorf(local.CodeNotFound, "account %s does not exist", addr)
}

func lookUpError(addr identity.Address, err error) error {
	if link.KindOf(err) == link.KindNotFound {
		return noSuchPeer(addr)
	}
	return codes.Local(err)
}
