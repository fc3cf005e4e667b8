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
	a, err := b.resolve(name)
	if err != nil {
		return local.Contacts{}, err
	}
	var out local.Contacts
	err = b.store.View(ctx, func(tx *store.Tx) (err error) {
		out, err = b.trust.Contacts(tx, a.ID())
		return err
	})
	return out, codes.Local(err)
}

// Contact implements localapi.Backend.
func (b *Backend) Contact(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	var out local.Contact
	err = b.store.View(ctx, func(tx *store.Tx) (err error) {
		out, err = b.trust.Contact(tx, a.ID(), addr)
		return err
	})
	return out, codes.Local(err)
}

// AddContact implements localapi.Backend. A peer of whom nothing is known is
// looked up; if the server is away, that happens later.
func (b *Backend) AddContact(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	if err := a.LookUp(ctx, addr); err != nil && link.KindOf(err) != link.KindUnreachable && !errors.Is(err, trust.ErrChanged) {
		return local.Contact{}, account.LookUpError(addr, err)
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return b.trust.Add(tx, a.ID(), addr) })
}

// NickContact implements localapi.Backend.
func (b *Backend) NickContact(ctx context.Context, p local.ContactNickParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Contact{}, err
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return b.trust.Nick(tx, a.ID(), addr, p.Name) })
}

// RemoveContact implements localapi.Backend.
func (b *Backend) RemoveContact(ctx context.Context, p local.PeerParams) error {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return err
	}
	_, err = b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) {
		return local.Contact{}, b.trust.Remove(tx, a.ID(), addr)
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
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return b.trust.Set(tx, a.ID(), addr, p.Key, p.Value) })
}

// Block implements localapi.Backend.
func (b *Backend) Block(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := b.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	if err := a.Exists(ctx, addr); err != nil {
		return local.Contact{}, err // who misspells a name must not believe that a peer is blocked
	}
	out, err := b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return b.trust.Block(tx, a.ID(), addr) })
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
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return b.trust.Unblock(tx, a.ID(), addr) })
}

// Verify implements localapi.Backend. A number that differs changes nothing,
// leaves an identity event and is untrusted.
func (b *Backend) Verify(ctx context.Context, p local.VerifyParams) (local.Verification, error) {
	a, addr, err := b.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Verification{}, err
	}
	if err := a.LookUp(ctx, addr); err != nil && !errors.Is(err, trust.ErrChanged) {
		return local.Verification{}, account.LookUpError(addr, err)
	}
	var out local.Verification
	var mismatch bool
	err = b.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, mismatch, err = b.trust.Verify(tx, a.ID(), addr, p.Expect, p.Confirm)
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
		return b.discard(ctx, a, addr, p.PeerParams)
	}
	return b.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return b.trust.Accept(tx, a.ID(), addr, p.Key) })
}

// discard drops what is held of a peer: messages to him, and what came under a
// changed key.
func (b *Backend) discard(ctx context.Context, a *account.Account, addr identity.Address, p local.PeerParams) (local.Contact, error) {
	var peer store.PeerID
	err := b.store.View(ctx, func(tx *store.Tx) (err error) {
		peer, err = tx.FindPeer(a.ID(), addr.String())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return local.Contact{}, local.Errorf(local.CodeNotFound, "%s is not a contact, and has not written to you", addr)
	}
	if err != nil {
		return local.Contact{}, codes.Local(err)
	}
	e, _ := a.Parts()
	if err := e.Discard(ctx, peer); err != nil {
		return local.Contact{}, codes.Local(err)
	}
	return b.Contact(ctx, p)
}

// change runs a change of contacts and tells the engine.
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

// peer resolves account and peer.
func (b *Backend) peer(ctx context.Context, p local.PeerParams) (*account.Account, identity.Address, error) {
	a, err := b.resolve(p.Account)
	if err != nil {
		return nil, identity.Address{}, err
	}
	var addr identity.Address
	err = b.store.View(ctx, func(tx *store.Tx) (err error) {
		addr, err = b.trust.Resolve(tx, a.ID(), p.Peer)
		return err
	})
	return a, addr, codes.Local(err)
}
