package engine

import (
	"context"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
)

// LookUp asks the server for a peer whose key is not known yet, and admits the
// answer. For a known peer it does nothing. A key that contradicts the pinned one
// is no error: it is recorded and reported as an event.
func (e *Engine) LookUp(ctx context.Context, addr identity.Address) error {
	known := addr == e.self
	err := e.store.View(ctx, func(tx *store.Tx) error {
		peer, err := tx.FindPeer(e.account, addr.String())
		if isNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		c, err := tx.Contact(e.account, peer)
		known = known || len(c.Pin) > 0
		return err
	})
	if err != nil || known {
		return err
	}
	a, err := e.link.Account(ctx, addr.User)
	if err != nil {
		return err
	}
	return e.do(ctx, func() error { return e.admit(addr, a.Chain, [][]byte{a.Manifest}) })
}

// existsWait bounds how long Exists waits for the server.
const existsWait = 3 * time.Second

// Exists reports whether a peer that was never met may exist: false only if the
// server says that it does not. A server that cannot be reached proves nothing.
func (e *Engine) Exists(ctx context.Context, addr identity.Address) (bool, error) {
	if addr == e.self {
		return true, nil
	}
	err := e.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.FindPeer(e.account, addr.String())
		return err
	})
	if !isNotFound(err) {
		return true, err
	}
	ctx, cancel := context.WithTimeout(ctx, existsWait)
	defer cancel()
	_, err = e.link.Account(ctx, addr.User)
	return link.KindOf(err) != link.KindNotFound, nil
}
