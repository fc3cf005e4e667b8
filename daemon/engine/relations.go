package engine

import (
	"context"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// relation is a contact, a block or the end of one that the server must learn.
type relation struct {
	store.Contact
	addr   identity.Address
	nobody bool // the server has no such account
}

// relations is the state of the worker that tells the server about relations. It
// belongs to the actor.
type relations struct {
	busy  bool
	tries int
}

// end ends a push. After a failure it returns the wait before the next one.
func (r *relations) end(cfg Config, failed error) (wait time.Duration) {
	r.busy = false
	if failed == nil {
		r.tries = 0
		return 0
	}
	wait = cfg.backoff(r.tries, link.Wait(failed))
	r.tries++
	return wait
}

// pushRelations tells the server about contacts and blocks, one after the other. A
// change that comes meanwhile stays pending.
func (e *Engine) pushRelations() error {
	if !e.up {
		return nil
	}
	list, err := inView(e.storeCtx(), e, e.pendingRelations)
	if err != nil || len(list) == 0 || e.relations.busy {
		return err
	}
	e.relations.busy = true
	var done []relation
	var failed error
	e.worker(func(ctx context.Context) { done, failed = e.putRelations(ctx, list) }, func() {
		wait := e.relations.end(e.cfg, failed)
		if err := e.update(func(tx *store.Tx) error { return e.relationsPut(tx, done) }); err != nil {
			e.logger.Warn("relations", "error", err)
		}
		if failed != nil {
			e.logger.Info("push relations", "error", failed)
		}
		e.schedule(taskRelations, wait) // after a success at once, for changes that came meanwhile
		e.schedule(taskSubscribe, 0)
	})
	return nil
}

// pendingRelations returns the relations that the server does not know yet.
func (e *Engine) pendingRelations(tx *store.Tx) ([]relation, error) {
	pending, err := tx.PendingRelations(e.account)
	if err != nil {
		return nil, err
	}
	var list []relation
	for _, c := range pending {
		addr, err := e.address(tx, c.Peer)
		if store.DamagedValue(err) != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, relation{Contact: c, addr: addr})
	}
	return list, nil
}

// putRelations runs in a worker. It returns the relations that the server took,
// and the last failure.
func (e *Engine) putRelations(ctx context.Context, list []relation) (done []relation, failed error) {
	for _, r := range list {
		var err error
		switch r.Relation {
		case store.RelationContact:
			err = e.link.PutContact(ctx, r.addr.User, wire.RelationContact)
		case store.RelationBlocked:
			err = e.link.PutContact(ctx, r.addr.User, wire.RelationBlocked)
		default:
			err = e.link.DeleteContact(ctx, r.addr.User)
		}
		if wire.CodeOf(err) == wire.CodeNotFound {
			err, r.nobody = nil, true
		}
		if err != nil {
			failed = err
			if wire.CodeOf(err) == "" {
				return done, failed // the server is away
			}
			continue
		}
		done = append(done, r)
	}
	return done, failed
}

// relationsPut records the relations that the server took.
func (e *Engine) relationsPut(tx *store.Tx, done []relation) error {
	for _, r := range done {
		if err := tx.RelationSynced(e.account, r.Peer, r.Change); err != nil {
			return err
		}
		if !r.nobody || r.Relation != store.RelationContact {
			continue
		}
		if err := e.dropNobody(tx, r.Peer, r.addr); err != nil {
			return err
		}
	}
	return nil
}

// dropNobody removes a contact whose account does not exist, and tells the user.
// If messages are queued for it, their look-up fails them and does the same.
func (e *Engine) dropNobody(tx *store.Tx, peer store.PeerID, addr identity.Address) error {
	queued, err := tx.OutgoingOf(e.account, peer, store.PhaseQueued)
	if err != nil || len(queued) > 0 {
		return err
	}
	dropped, err := e.trust.NoAccount(tx, e.account, peer)
	if err != nil || !dropped {
		return err
	}
	return e.history.System(tx, addr.String(), local.System{Text: "account " + addr.String() + " does not exist; it was removed from your contacts"})
}
