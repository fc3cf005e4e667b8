package engine

import (
	"context"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/wire"
)

// Every message names the newest device manifest that its sender knows of its
// account. One that is newer than the manifest known here is fetched at once,
// and if the server does not show it the user is told (crypto/SPEC.md,
// "Device manifest"). The claims are kept in memory: after a restart the next
// message makes them again.

// stalePerUpkeep bounds how many contacts are looked up at an upkeep because
// nothing was signed for them in a long time.
const stalePerUpkeep = 10

// A claim that a look-up does not settle is looked up again after a minute, then
// later each time up to an hour, for two days in all: the peer may have named a
// manifest that does not exist. Its next message begins that anew.
const (
	claimWait     = time.Minute
	maxClaimWait  = time.Hour
	maxClaimTries = 54
)

func claimBackoff(tries int) time.Duration { return min(claimWait<<min(tries, 6), maxClaimWait) }

// claim is a look-up of a peer that is due, and why.
type claim struct {
	addr  identity.Address
	named ratchet.ManifestRef // version 0: none, the known manifest is old
	next  time.Time
	tries int
	busy  bool
}

// compareManifest holds the manifest that a message names against the known one.
// What strangers name is left alone: their manifest is fetched when something is
// sealed for them, and no crowd of them is to cause look-ups or events.
func (e *Engine) compareManifest(tx *store.Tx, in *incoming) error {
	peer, addr, ref := in.peer, in.addr, in.opened.Manifest
	if last, ok := e.compared[peer]; ok && last == ref && !in.opened.New {
		return nil // as with every message of a burst
	}
	if contact, err := e.trust.IsContact(tx, e.account, peer); err != nil || !contact && addr != e.self {
		return err
	}
	claim, err := e.trust.Claimed(tx, e.account, peer, addr, ref, e.keyTime())
	if err != nil {
		return err
	}
	switch claim {
	case trust.ClaimNewer:
		tx.OnCommit(func() { e.recheck(peer, addr, ref) })
	case trust.ClaimKnown:
		tx.OnCommit(func() { e.compared[peer] = ref })
	}
	return nil
}

// recheck makes a look-up of a peer due. A peer that names one version after the
// other does not make it come sooner than the last one's backoff allows.
func (e *Engine) recheck(peer store.PeerID, addr identity.Address, ref ratchet.ManifestRef) {
	c := e.claims[peer]
	if c == nil {
		c = &claim{addr: addr}
		e.claims[peer] = c
	}
	if ref.Version > c.named.Version {
		c.named = ref
	}
	e.at(taskClaims, max(time.Until(c.next), 0))
}

// checkClaims starts the look-ups that are due. Without a connection they wait
// for one: Up makes the task due.
func (e *Engine) checkClaims() error {
	if !e.up {
		return nil
	}
	for peer, c := range e.claims {
		switch d := time.Until(c.next); {
		case c.busy:
		case d > 0:
			e.at(taskClaims, d)
		default:
			e.checkClaim(peer, c)
		}
	}
	return nil
}

// checkClaim looks a peer up and has trust judge the answer by what was named
// before the look-up began.
func (e *Engine) checkClaim(peer store.PeerID, c *claim) {
	c.busy = true
	named := c.named
	var a wire.Account
	var err error
	e.worker(func(ctx context.Context) {
		a, err = e.link.Account(ctx, c.addr.User)
	}, func() {
		c.busy = false
		code := wire.CodeOf(err)
		if err == nil {
			// What is wrong with the answer is an event of its own.
			if e := e.learn(c.addr.User, a.Chain, [][]byte{a.Manifest}); e != nil {
				err = e
			}
			var settled bool
			if settled, err = e.judge(peer, c.addr, named, err); settled && c.named == named {
				delete(e.claims, peer)
				return
			}
		}
		if code == wire.CodeNotFound || code == wire.CodeForbidden {
			delete(e.claims, peer) // the account is gone, or does not want us
			return
		}
		if err != nil {
			e.logger.Info("look-up of a device manifest", "error", err)
		}
		d := claimBackoff(c.tries)
		if c.tries++; c.tries > maxClaimTries {
			delete(e.claims, peer)
			return
		}
		c.next = time.Now().Add(d)
		e.at(taskClaims, d)
	})
}

// judge asks trust what an answer that was taken, or refused with an error, says.
func (e *Engine) judge(peer store.PeerID, addr identity.Address, named ratchet.ManifestRef, refused error) (settled bool, err error) {
	err = e.update(func(tx *store.Tx) (err error) {
		settled, err = e.trust.Rechecked(tx, e.account, peer, addr, named, e.keyTime())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("judge a manifest: %w", err)
	}
	return settled, refused
}

// recheckStale makes look-ups of contacts due whose manifest is old.
func (e *Engine) recheckStale() error {
	type stale struct {
		peer store.PeerID
		addr identity.Address
	}
	var list []stale
	err := e.store.View(e.work, func(tx *store.Tx) error {
		peers, err := e.trust.StalePeers(tx, e.account, e.keyTime(), stalePerUpkeep)
		if err != nil {
			return err
		}
		for _, p := range peers {
			addr, err := e.address(tx, p)
			if err != nil {
				return err
			}
			list = append(list, stale{p, addr})
		}
		return nil
	})
	for _, s := range list {
		e.recheck(s.peer, s.addr, ratchet.ManifestRef{})
	}
	return err
}

// renewManifest signs the own manifest anew when it is due, on the primary
// device, and puts it on the server; or the present one, which the server has lost.
func (e *Engine) renewManifest(shown []byte) error {
	var next []byte
	var previous [32]byte
	err := e.update(func(tx *store.Tx) (err error) {
		previous, next, err = e.keys.RenewManifest(tx, e.account, shown, e.keyTime())
		return err
	})
	if err != nil || next == nil {
		return err
	}
	e.worker(func(ctx context.Context) { err = e.link.PutManifest(ctx, previous, next) }, func() {
		if err == nil {
			err = e.learn(e.self.User, nil, [][]byte{next})
		}
		if wire.CodeOf(err) == wire.CodeConflict {
			e.logger.Warn("the server has another manifest of this account", "error", err)
			return // it is looked at again with the next upkeep
		}
		if err != nil {
			e.upkept(fmt.Errorf("renew manifest: %w", err))
		}
	})
	return nil
}
