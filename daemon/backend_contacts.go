package daemon

import (
	"context"
	"errors"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// Contacts implements localapi.Backend.
func (d *Daemon) Contacts(ctx context.Context, name string) (local.Contacts, error) {
	a, err := d.resolve(name)
	if err != nil {
		return local.Contacts{}, err
	}
	var out local.Contacts
	err = d.store.View(ctx, func(tx *store.Tx) (err error) {
		out, err = d.trust.Contacts(tx, a.id)
		return err
	})
	return out, toLocal(err)
}

// Contact implements localapi.Backend.
func (d *Daemon) Contact(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := d.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	var out local.Contact
	err = d.store.View(ctx, func(tx *store.Tx) (err error) {
		out, err = d.trust.Contact(tx, a.id, addr)
		return err
	})
	return out, toLocal(err)
}

// AddContact implements localapi.Backend. A peer of whom nothing is known is
// looked up; if the server is away, that happens later.
func (d *Daemon) AddContact(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := d.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	if err := a.lookUp(ctx, addr); err != nil && link.KindOf(err) != link.KindUnreachable && !errors.Is(err, trust.ErrChanged) {
		return local.Contact{}, lookUpError(addr, err)
	}
	return d.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return d.trust.Add(tx, a.id, addr) })
}

// NickContact implements localapi.Backend.
func (d *Daemon) NickContact(ctx context.Context, p local.ContactNickParams) (local.Contact, error) {
	a, addr, err := d.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Contact{}, err
	}
	return d.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return d.trust.Nick(tx, a.id, addr, p.Name) })
}

// RemoveContact implements localapi.Backend.
func (d *Daemon) RemoveContact(ctx context.Context, p local.PeerParams) error {
	a, addr, err := d.peer(ctx, p)
	if err != nil {
		return err
	}
	_, err = d.change(ctx, a, func(tx *store.Tx) (local.Contact, error) {
		return local.Contact{}, d.trust.Remove(tx, a.id, addr)
	})
	if err == nil {
		d.endCalls(ctx, a, addr)
	}
	return err
}

// SetContact implements localapi.Backend.
func (d *Daemon) SetContact(ctx context.Context, p local.ContactSetParams) (local.Contact, error) {
	a, addr, err := d.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Contact{}, err
	}
	return d.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return d.trust.Set(tx, a.id, addr, p.Key, p.Value) })
}

// Block implements localapi.Backend.
func (d *Daemon) Block(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := d.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	if err := a.exists(ctx, addr); err != nil {
		return local.Contact{}, err // who misspells a name must not believe that a peer is blocked
	}
	out, err := d.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return d.trust.Block(tx, a.id, addr) })
	if err == nil {
		d.endCalls(ctx, a, addr)
	}
	return out, err
}

// Unblock implements localapi.Backend.
func (d *Daemon) Unblock(ctx context.Context, p local.PeerParams) (local.Contact, error) {
	a, addr, err := d.peer(ctx, p)
	if err != nil {
		return local.Contact{}, err
	}
	return d.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return d.trust.Unblock(tx, a.id, addr) })
}

// Verify implements localapi.Backend. A number that differs changes nothing,
// leaves an identity event and is untrusted.
func (d *Daemon) Verify(ctx context.Context, p local.VerifyParams) (local.Verification, error) {
	a, addr, err := d.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Verification{}, err
	}
	if err := a.lookUp(ctx, addr); err != nil && !errors.Is(err, trust.ErrChanged) {
		return local.Verification{}, lookUpError(addr, err)
	}
	var out local.Verification
	var mismatch bool
	err = d.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, mismatch, err = d.trust.Verify(tx, a.id, addr, p.Expect, p.Confirm)
		return err
	})
	if err != nil {
		return out, toLocal(err)
	}
	if mismatch {
		return out, trust.MismatchError(addr)
	}
	a.wake()
	return out, nil
}

// Trust implements localapi.Backend.
func (d *Daemon) Trust(ctx context.Context, p local.TrustParams) (local.Contact, error) {
	if (p.Key != "") == p.Discard {
		return local.Contact{}, local.Errorf(local.CodeUsage, "exactly one of a key's fingerprint and discard is needed")
	}
	a, addr, err := d.peer(ctx, p.PeerParams)
	if err != nil {
		return local.Contact{}, err
	}
	if p.Discard {
		return d.discard(ctx, a, addr, p.PeerParams)
	}
	return d.change(ctx, a, func(tx *store.Tx) (local.Contact, error) { return d.trust.Accept(tx, a.id, addr, p.Key) })
}

// discard drops what is held of a peer: messages to him, and what came under a
// changed key.
func (d *Daemon) discard(ctx context.Context, a *account, addr identity.Address, p local.PeerParams) (local.Contact, error) {
	var peer store.PeerID
	err := d.store.View(ctx, func(tx *store.Tx) (err error) {
		peer, err = tx.FindPeer(a.id, addr.String())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return local.Contact{}, local.Errorf(local.CodeNotFound, "nothing is known of %s", addr)
	}
	if err != nil {
		return local.Contact{}, toLocal(err)
	}
	e, _ := a.parts()
	if err := e.Discard(ctx, peer); err != nil {
		return local.Contact{}, toLocal(err)
	}
	return d.Contact(ctx, p)
}

// change runs a change of contacts and tells the engine.
func (d *Daemon) change(ctx context.Context, a *account, fn func(tx *store.Tx) (local.Contact, error)) (local.Contact, error) {
	var out local.Contact
	err := d.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	if err != nil {
		return out, toLocal(err)
	}
	a.wake()
	return out, nil
}

// peer resolves account and peer.
func (d *Daemon) peer(ctx context.Context, p local.PeerParams) (*account, identity.Address, error) {
	a, err := d.resolve(p.Account)
	if err != nil {
		return nil, identity.Address{}, err
	}
	var addr identity.Address
	err = d.store.View(ctx, func(tx *store.Tx) (err error) {
		addr, err = d.trust.Resolve(tx, a.id, p.Peer)
		return err
	})
	return a, addr, toLocal(err)
}

// lookUp asks the server for a peer of whom there is no pin, and admits what it
// says. It does nothing for one that is known.
func (a *account) lookUp(ctx context.Context, addr identity.Address) error {
	d := a.daemon
	known := addr == a.address
	err := d.store.View(ctx, func(tx *store.Tx) error {
		peer, err := tx.FindPeer(a.id, addr.String())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		c, err := tx.Contact(a.id, peer)
		known = known || len(c.Pin) > 0
		return err
	})
	if err != nil || known {
		return err
	}
	_, l := a.parts()
	found, err := l.Account(ctx, addr.User)
	if err != nil {
		return err
	}
	var admit error
	err = d.store.Update(ctx, func(tx *store.Tx) error {
		var out trust.Admission
		out, admit = d.trust.Admit(tx, a.id, addr, found.Chain, [][]byte{found.Manifest}, time.Now())
		for _, change := range out.Changes {
			if err := d.identityEvent(tx, a.id, addr, change); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, admit)
}

// existsWait bounds how long the server is asked whether a name exists.
const existsWait = 3 * time.Second

// exists fails if the server says that nobody has the name of a peer who was
// never met. A server that is away proves nothing.
func (a *account) exists(ctx context.Context, addr identity.Address) error {
	if addr == a.address {
		return nil
	}
	err := a.daemon.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.FindPeer(a.id, addr.String())
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return toLocal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, existsWait)
	defer cancel()
	_, l := a.parts()
	if _, err := l.Account(ctx, addr.User); link.KindOf(err) == link.KindNotFound {
		return lookUpError(addr, err)
	}
	return nil
}

func lookUpError(addr identity.Address, err error) error {
	if link.KindOf(err) == link.KindNotFound {
		return local.Errorf(local.CodeNotFound, "%s does not exist", addr)
	}
	return toLocal(err)
}

// wake tells the engine and the transfers that trust or contacts changed.
func (a *account) wake() {
	e, _ := a.parts()
	e.Wake()
	a.fileService().Changed()
}
