package engine

import (
	"context"
	"slices"

	"secmsg/crypto/identity"
	"secmsg/daemon/history"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// pushRelations tells the server how I stand to peers, one after the other. A
// later change of the same peer stays pending.
func (e *Engine) pushRelations() error {
	if !e.up {
		return nil
	}
	type relation struct {
		store.Contact
		addr   identity.Address
		nobody bool // has the name
	}
	var list []relation
	err := e.store.View(e.work, func(tx *store.Tx) error {
		pending, err := tx.PendingRelations(e.account)
		if err != nil {
			return err
		}
		for _, c := range pending {
			addr, err := e.address(tx, c.Peer)
			if store.DamagedValue(err) != nil {
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, relation{Contact: c, addr: addr})
		}
		return nil
	})
	if err != nil || len(list) == 0 || e.pushing {
		return err
	}
	e.pushing = true
	done := make([]relation, 0, len(list))
	var failed error
	e.worker(func(ctx context.Context) {
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
					return // the server is away
				}
				continue
			}
			done = append(done, r)
		}
	}, func() {
		e.pushing = false
		err := e.update(func(tx *store.Tx) error {
			for _, r := range done {
				if err := tx.RelationSynced(e.account, r.Peer, r.Change); err != nil {
					return err
				}
				if !r.nobody || r.Relation != store.RelationContact {
					continue
				}
				if err := e.nobody(tx, r.Peer, r.addr); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			e.logger.Warn("relations", "error", err)
		}
		if failed != nil {
			e.logger.Info("push relations", "error", failed)
			e.at(taskRelations, e.cfg.backoff(e.relationTries, link.Wait(failed)))
			e.relationTries++
		} else {
			e.relationTries = 0
			e.at(taskRelations, 0) // what changed meanwhile
		}
		e.at(taskSubscribe, 0)
	})
	return nil
}

// nobody takes a peer whose name nobody has off the contact list, and says so.
// What is queued for him is failed by its own look-up, which also does that.
func (e *Engine) nobody(tx *store.Tx, peer store.PeerID, addr identity.Address) error {
	queued, err := tx.OutgoingOf(e.account, peer, store.PhaseQueued)
	if err != nil || len(queued) > 0 {
		return err
	}
	dropped, err := e.trust.NoAccount(tx, e.account, peer)
	if err != nil || !dropped {
		return err
	}
	return e.history.System(tx, addr.String(), local.System{Text: "there is no account " + addr.String() + "; it is no contact any more"})
}

// subscribe watches the presence of my contacts, as far as the server knows
// that they are.
func (e *Engine) subscribe() error {
	if !e.up || e.subscribing {
		return nil // the end of the one that runs makes it due
	}
	var users []string
	err := e.store.View(e.work, func(tx *store.Tx) error {
		all, err := tx.Contacts(e.account)
		if err != nil {
			return err
		}
		for _, c := range all {
			if c.Relation != store.RelationContact || len(users) == wire.MaxSubscribe {
				continue
			}
			addr, err := e.address(tx, c.Peer)
			if store.DamagedValue(err) != nil {
				continue
			}
			if err != nil {
				return err
			}
			users = append(users, addr.User)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(users)
	now := make(map[string]bool, len(users))
	for _, u := range users {
		now[u] = true
	}
	if e.subscribed == e.window.epoch && len(now) == len(e.announced) && subset(now, e.announced) {
		return nil
	}
	epoch := e.window.epoch
	var failed error
	e.subscribing = true
	e.worker(func(ctx context.Context) { failed = e.link.Subscribe(ctx, users, true) }, func() {
		e.subscribing = false
		if failed != nil {
			e.logger.Debug("subscribe", "error", failed)
			if e.up {
				e.at(taskSubscribe, e.cfg.BackoffMin)
			}
			return
		}
		e.announced, e.subscribed = now, epoch
		e.at(taskSubscribe, 0) // what changed meanwhile
	})
	return nil
}

func subset(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// Presence implements link.Handler. A peer that has become mutual releases what
// waited for that, and gets its receipts.
func (e *Engine) Presence(ctx context.Context, states []*wire.PresenceState) {
	err := e.do(ctx, func() error {
		accepted := false
		err := e.update(func(tx *store.Tx) error {
			for _, s := range states {
				addr := identity.Address{User: s.GetAccount(), Domain: e.self.Domain}
				if addr.Validate() != nil {
					continue
				}
				// Nobody asked for others: they would fill memory and journal.
				mine, err := e.watches(tx, addr)
				if err != nil {
					return err
				}
				if !mine {
					continue
				}
				p := local.Presence{Online: s.GetMutual() && s.GetOnline(), Mutual: s.GetMutual()}
				if s.GetMutual() {
					// Nobody was seen later than now, whatever the server says.
					p.LastSeen = history.TimeMS(min(wire.KnownTime(s.GetLastSeenMs()), e.now().UnixMilli()))
				}
				accepted = accepted || p.Mutual
				old, known := e.presence[addr.User]
				p.LastSeen = laterSeen(old, p)
				e.presence[addr.User] = p // at once: the same peer may come again in this list
				tx.OnUndo(func() {
					if known {
						e.presence[addr.User] = old
					} else {
						delete(e.presence, addr.User)
					}
				})
				if known && old.Online == p.Online && old.Mutual == p.Mutual || !known && !p.Mutual {
					continue
				}
				if err := e.history.Presence(tx, addr.String(), p); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			e.presenceEpoch = e.window.epoch
			e.announceReady()
		}
		if accepted {
			e.at(taskRelease, 0)
			e.at(taskReceipts, 0)
		}
		return err
	})
	if err != nil {
		e.logger.Warn("presence", "error", err)
	}
}

// laterSeen is when a peer was last seen, of what was known and what is told: a
// server that crashed has forgotten the last of it. Who is not mutual any more
// has no such time.
func laterSeen(old, told local.Presence) local.Time {
	if told.Mutual && old.Mutual && old.LastSeen.After(told.LastSeen.Time) {
		return old.LastSeen
	}
	return told.LastSeen
}

// watches reports whether an address is that of a contact of mine.
func (e *Engine) watches(tx *store.Tx, addr identity.Address) (bool, error) {
	peer, err := tx.FindPeer(e.account, addr.String())
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return e.trust.IsContact(tx, e.account, peer)
}

// PresenceList returns the presence of contacts, of all or of those named. It
// waits a little for a connection; without one, who is online is not known.
func (e *Engine) PresenceList(ctx context.Context, names []string) (local.PresenceList, error) {
	out := local.PresenceList{Presence: []local.PresenceEntry{}}
	if err := e.store.View(ctx, func(tx *store.Tx) error { _, err := e.presenceOf(tx, names); return err }); err != nil {
		return out, toLocal(err)
	}
	why := e.awaitPresence(ctx)
	if Stopped(why) || ctx.Err() != nil {
		return out, why
	}
	if why != nil {
		out.Offline = local.As(toLocal(why))
	}
	err := e.do(ctx, func() error {
		return e.store.View(ctx, func(tx *store.Tx) error {
			want, err := e.presenceOf(tx, names)
			if err != nil {
				return err
			}
			for _, addr := range want {
				p, known := e.presence[addr.User]
				entry := local.PresenceEntry{Peer: addr.String(), LastSeen: p.LastSeen}
				// What the server does not tell of a peer is not known either: one
				// that is no contact, or a contact since a moment ago.
				if why == nil && e.up && known {
					entry.Online, entry.Mutual = &p.Online, &p.Mutual
				}
				out.Presence = append(out.Presence, entry)
			}
			return nil
		})
	})
	return out, toLocal(err)
}

func (e *Engine) presenceOf(tx *store.Tx, names []string) ([]identity.Address, error) {
	var out []identity.Address
	for _, name := range names {
		addr, err := e.trust.Resolve(tx, e.account, name)
		if err == nil && addr != e.self {
			_, err = e.trust.Contact(tx, e.account, addr) // a name that nobody has is not "offline"
		}
		if err != nil {
			return nil, err
		}
		out = append(out, addr)
	}
	if len(names) > 0 {
		return out, nil
	}
	all, err := tx.Contacts(e.account)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Relation != store.RelationContact {
			continue
		}
		addr, err := e.address(tx, c.Peer)
		if store.DamagedValue(err) != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, addr)
	}
	return out, nil
}
