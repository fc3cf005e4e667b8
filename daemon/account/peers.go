package account

import (
	"context"
	"errors"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/codes"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
)

// LookUp asks the server for a peer of whom there is no pin, and admits what it
// says. It does nothing for one that is known.
func (a *Account) LookUp(ctx context.Context, addr identity.Address) error {
	s := a.shared
	known := addr == a.address
	err := s.Store.View(ctx, func(tx *store.Tx) error {
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
	_, l := a.Parts()
	found, err := l.Account(ctx, addr.User)
	if err != nil {
		return err
	}
	var admit error
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		var out trust.Admission
		out, admit = s.Trust.Admit(tx, a.id, addr, found.Chain, [][]byte{found.Manifest}, time.Now())
		for _, change := range out.Changes {
			if err := s.Identity(tx, a.id, addr, change); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, admit)
}

// existsWait bounds how long the server is asked whether a name exists.
const existsWait = 3 * time.Second

// Exists fails if the server says that nobody has the name of a peer who was
// never met. A server that is away proves nothing.
func (a *Account) Exists(ctx context.Context, addr identity.Address) error {
	if addr == a.address {
		return nil
	}
	err := a.shared.Store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.FindPeer(a.id, addr.String())
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return codes.Local(err)
	}
	ctx, cancel := context.WithTimeout(ctx, existsWait)
	defer cancel()
	_, l := a.Parts()
	if _, err := l.Account(ctx, addr.User); link.KindOf(err) == link.KindNotFound {
		return LookUpError(addr, err)
	}
	return nil
}

func LookUpError(addr identity.Address, err error) error {
	if link.KindOf(err) == link.KindNotFound {
		return local.Errorf(local.CodeNotFound, "account %s does not exist", addr)
	}
	return codes.Local(err)
}

// Wake tells the engine and the transfers that trust or contacts changed.
func (a *Account) Wake() {
	e, _ := a.Parts()
	e.Wake()
	a.Files().Changed()
}
