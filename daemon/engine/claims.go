package engine

import (
	"context"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/backoff"
	"secmsg/rpc/wire"
)

// Every message names the newest device manifest that its sender knows of its
// account. A manifest that is newer than the one known here is fetched at once,
// and if the server does not show it, the user is warned (crypto/SPEC.md, "Device
// manifest"). The claims are kept in memory: after a restart the next message
// makes them again.

// stalePerUpkeep bounds how many contacts one upkeep looks up because their
// manifests are old.
const stalePerUpkeep = 10

// A claim that a look-up does not settle is looked up again after a minute, then
// later each time up to about forty minutes, for two days in all: the peer may have named a
// manifest that does not exist. Its next message starts over.
const (
	claimWait     = time.Minute
	maxClaimWait  = time.Hour
	maxClaimTries = 78
)

func claimBackoff(tries int) time.Duration {
	return backoff.New(claimWait, maxClaimWait).After(tries, 0)
}

// claim is a look-up of a peer that is due, and its reason.
type claim struct {
	addr  identity.Address
	named ratchet.ManifestRef // version 0: none, the known manifest is old
	next  time.Time
	tries int
	busy  bool
}

// claims are the look-ups of manifests that messages named.
type claims struct {
	due map[store.PeerID]*claim
	// settled is the manifest that a peer named last and that is known here, so that
	// each message of a burst needs no comparison.
	settled map[store.PeerID]ratchet.ManifestRef
}

func newClaims() claims {
	return claims{due: make(map[store.PeerID]*claim), settled: make(map[store.PeerID]ratchet.ManifestRef)}
}

// isSettled reports whether a named manifest was compared before.
func (c *claims) isSettled(peer store.PeerID, ref ratchet.ManifestRef) bool {
	last, ok := c.settled[peer]
	return ok && last == ref
}

// forget makes the next message of each peer be compared again.
func (c *claims) forget() { clear(c.settled) }

// add makes a look-up of a peer due and returns when. A peer that names ever new
// versions does not shorten the pause after the last look-up.
func (c *claims) add(peer store.PeerID, addr identity.Address, ref ratchet.ManifestRef, now time.Time) time.Duration {
	x := c.due[peer]
	if x == nil {
		x = &claim{addr: addr}
		c.due[peer] = x
	}
	if ref.Version > x.named.Version {
		x.named = ref
	}
	return max(x.next.Sub(now), 0)
}

// begin returns the peers to look up now, which are busy from here on, and the time
// until the next one, 0 if none waits.
func (c *claims) begin(now time.Time) (list []store.PeerID, wait time.Duration) {
	for peer, x := range c.due {
		switch d := x.next.Sub(now); {
		case x.busy:
		case d > 0 && (wait == 0 || d < wait):
			wait = d
		case d <= 0:
			x.busy = true
			list = append(list, peer)
		}
	}
	return list, wait
}

// failed puts a look-up off. It reports false when the peer is given up.
func (c *claims) failed(peer store.PeerID, now time.Time) (wait time.Duration, again bool) {
	x := c.due[peer]
	wait = claimBackoff(x.tries)
	if x.tries++; x.tries > maxClaimTries {
		delete(c.due, peer)
		return 0, false
	}
	x.next = now.Add(wait)
	return wait, true
}

// compareManifest compares the manifest that a message names with the known one.
// Claims of strangers are ignored: their manifests are fetched when something is
// sealed for them, and a crowd of strangers must not cause look-ups or events.
func (e *Engine) compareManifest(tx *store.Tx, in *incoming) error {
	peer, addr, ref := in.peer, in.addr, in.opened.Manifest
	if e.asking.claims.isSettled(peer, ref) && !in.opened.New {
		return nil
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
		tx.OnCommit(func() { e.asking.claims.settled[peer] = ref })
	}
	return nil
}

// recheck makes a look-up of a peer due.
func (e *Engine) recheck(peer store.PeerID, addr identity.Address, ref ratchet.ManifestRef) {
	e.schedule(taskClaims, e.asking.claims.add(peer, addr, ref, time.Now()))
}

// checkClaims starts the look-ups that are due. Without a connection they wait for
// one: Up makes the task due.
func (e *Engine) checkClaims() error {
	if !e.up {
		return nil
	}
	list, wait := e.asking.claims.begin(time.Now())
	if wait > 0 {
		e.schedule(taskClaims, wait)
	}
	for _, peer := range list {
		e.checkClaim(peer, e.asking.claims.due[peer])
	}
	return nil
}

// checkClaim looks a peer up, and lets trust judge the answer by the manifest that
// was named before the look-up began.
func (e *Engine) checkClaim(peer store.PeerID, c *claim) {
	named := c.named
	var a wire.Account
	var err error
	e.worker(func(ctx context.Context) {
		a, err = e.link.Account(ctx, c.addr.User)
	}, func() {
		c.busy = false
		code := wire.CodeOf(err)
		if code == wire.CodeNotFound || code == wire.CodeForbidden {
			delete(e.asking.claims.due, peer) // the account is gone, or blocks this one
			return
		}
		settled := false
		if err == nil {
			settled, err = e.claimAnswered(peer, c.addr, named, a)
		}
		if settled && c.named == named {
			delete(e.asking.claims.due, peer)
			return
		}
		if err != nil {
			e.logger.Info("look up a device manifest", "error", err)
		}
		if wait, again := e.asking.claims.failed(peer, time.Now()); again {
			e.schedule(taskClaims, wait)
		}
	})
}

// claimAnswered learns from the server's answer and reports whether it settles a
// claim. An answer that is refused may settle it, too: the refusal is an event of
// its own. The error is that of the store, or else of the refusal.
func (e *Engine) claimAnswered(peer store.PeerID, addr identity.Address, named ratchet.ManifestRef, a wire.Account) (settled bool, err error) {
	refused := e.learn(addr.User, a.Chain, [][]byte{a.Manifest})
	settled, err = inTx(e, func(tx *store.Tx) (bool, error) {
		return e.trust.Rechecked(tx, e.account, peer, addr, named, e.keyTime())
	})
	if err != nil {
		return false, fmt.Errorf("judge a manifest: %w", err)
	}
	return settled, refused
}

// recheckStale makes look-ups of the contacts due whose manifests are old.
func (e *Engine) recheckStale() error {
	list := make(map[store.PeerID]identity.Address)
	err := e.store.View(e.storeCtx(), func(tx *store.Tx) error {
		peers, err := e.trust.StalePeers(tx, e.account, e.keyTime(), stalePerUpkeep)
		if err != nil {
			return err
		}
		for _, p := range peers {
			addr, err := e.address(tx, p)
			if err != nil {
				return err // those found so far are looked up
			}
			list[p] = addr
		}
		return nil
	})
	for peer, addr := range list {
		e.recheck(peer, addr, ratchet.ManifestRef{})
	}
	return err
}
