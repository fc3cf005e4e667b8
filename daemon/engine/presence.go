package engine

import (
	"context"
	"errors"
	"maps"
	"slices"

	"secmsg/crypto/identity"
	"secmsg/daemon/codes"
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// presence is the state of contacts as the server reports it, and the subscription
// to those reports. It belongs to the actor.
type presence struct {
	states    map[string]local.Presence // by user; of this run
	told      uint64                    // the epoch in which the server told it last
	announced map[string]bool           // the accounts of the present subscription
	of        uint64                    // the epoch of that subscription
	busy      bool                      // a worker subscribes
}

func newPresence() *presence {
	return &presence{states: make(map[string]local.Presence), announced: make(map[string]bool)}
}

// mutual reports whether a user has accepted this account.
func (p *presence) mutual(user string) bool { return p.states[user].Mutual }

// set records the presence of a user and reports whether there is news in it. The
// server does not tell of a last time seen that it forgot in a crash, so an earlier
// one stays. undo takes the record back.
func (p *presence) set(user string, now local.Presence) (kept local.Presence, news bool, undo func()) {
	old, known := p.states[user]
	now.LastSeen = laterSeen(old, now)
	p.states[user] = now
	undo = func() {
		if known {
			p.states[user] = old
		} else {
			delete(p.states, user)
		}
	}
	if known {
		return now, old.Online != now.Online || old.Mutual != now.Mutual, undo
	}
	return now, now.Mutual, undo
}

// laterSeen returns when a peer was last seen. A peer that is not mutual has no
// such time.
func laterSeen(old, now local.Presence) local.Time {
	if now.Mutual && old.Mutual && old.LastSeen.After(now.LastSeen.Time) {
		return old.LastSeen
	}
	return now.LastSeen
}

// connected forgets the subscription of the connection before.
func (p *presence) connected() { clear(p.announced) }

// begin reports whether these users need a subscription, and which set it covers.
func (p *presence) begin(users []string, epoch uint64) (set map[string]bool, due bool) {
	set = make(map[string]bool, len(users))
	for _, u := range users {
		set[u] = true
	}
	if p.of == epoch && maps.Equal(set, p.announced) {
		return nil, false
	}
	p.busy = true
	return set, true
}

// end records the subscription of a set of users, unless it failed.
func (p *presence) end(set map[string]bool, epoch uint64, failed error) {
	p.busy = false
	if failed == nil {
		p.announced, p.of = set, epoch
	}
}

// subscribe watches the presence of the contacts that the server knows as contacts.
func (e *Engine) subscribe() error {
	if !e.up || e.presence.busy {
		return nil // the end of a running subscription makes the task due
	}
	users, err := inView(e.storeCtx(), e, e.contactNames)
	if err != nil {
		return err
	}
	slices.Sort(users)
	epoch := e.window.epoch
	set, due := e.presence.begin(users, epoch)
	if !due {
		return nil
	}
	var failed error
	e.worker(func(ctx context.Context) { failed = e.link.Subscribe(ctx, users, true) }, func() {
		e.presence.end(set, epoch, failed)
		switch {
		case failed == nil:
			e.schedule(taskSubscribe, 0) // contacts may have changed meanwhile
		case e.up:
			e.schedule(taskSubscribe, e.cfg.BackoffMin)
		}
		if failed != nil {
			e.logger.Debug("subscribe", "error", failed)
		}
	})
	return nil
}

// contactNames returns the local names of the contacts, as many as one
// subscription may have.
func (e *Engine) contactNames(tx *store.Tx) ([]string, error) {
	all, err := e.contacts(tx)
	var users []string
	for _, addr := range all[:min(len(all), wire.MaxSubscribe)] {
		users = append(users, addr.User)
	}
	return users, err
}

// contacts returns the addresses of the contacts that can be read.
func (e *Engine) contacts(tx *store.Tx) ([]identity.Address, error) {
	all, err := tx.Contacts(e.account)
	if err != nil {
		return nil, err
	}
	var out []identity.Address
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

// Presence implements link.Handler. A peer that has become mutual releases the
// messages that waited for that, and gets its receipts.
func (e *Engine) Presence(ctx context.Context, states []*wire.PresenceState) {
	err := e.do(ctx, func() error {
		accepted, err := inTx(e, func(tx *store.Tx) (accepted bool, err error) {
			for _, s := range states {
				mutual, err := e.setPresence(tx, s)
				if err != nil {
					return accepted, err
				}
				accepted = accepted || mutual
			}
			return accepted, nil
		})
		if err != nil {
			return err
		}
		e.presence.told = e.window.epoch
		e.announceReady()
		if accepted {
			e.schedule(taskRelease, 0)
			e.schedule(taskReceipts, 0)
		}
		return nil
	})
	if err != nil {
		e.logger.Warn("presence", "error", err)
	}
}

// setPresence records the presence of one account, and reports whether it is a
// contact that has accepted this account. Other accounts are ignored: the server
// was not asked about them, and they would fill memory and journal.
func (e *Engine) setPresence(tx *store.Tx, s *wire.PresenceState) (mutual bool, err error) {
	addr := identity.Address{User: s.GetAccount(), Domain: e.self.Domain}
	if addr.Validate() != nil {
		return false, nil
	}
	mine, err := e.isContact(tx, addr)
	if err != nil || !mine {
		return false, err
	}
	p := local.Presence{Online: s.GetMutual() && s.GetOnline(), Mutual: s.GetMutual()}
	if s.GetMutual() {
		// Nobody was seen later than now, whatever the server says.
		p.LastSeen = history.TimeMS(min(wire.KnownTime(s.GetLastSeenMs()), e.now().UnixMilli()))
	}
	// Recorded before the commit, since the same peer may come again in this list.
	p, news, undo := e.presence.set(addr.User, p)
	tx.OnUndo(undo)
	if !news {
		return p.Mutual, nil
	}
	return p.Mutual, e.history.Presence(tx, addr.String(), p)
}

// isContact reports whether an address belongs to a contact.
func (e *Engine) isContact(tx *store.Tx, addr identity.Address) (bool, error) {
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
// waits a little for a connection; without one, nobody's presence is known.
func (e *Engine) PresenceList(ctx context.Context, names []string) (local.PresenceList, error) {
	out := local.PresenceList{Presence: []local.PresenceEntry{}}
	query := func(tx *store.Tx) ([]identity.Address, error) { return e.presenceOf(tx, names) }
	if _, err := inView(ctx, e, query); err != nil {
		return out, err
	}
	why := e.awaitPresence(ctx)
	if errors.Is(why, errStopped) || ctx.Err() != nil {
		return out, why
	}
	if why != nil {
		out.Offline = local.As(codes.Local(why))
	}
	err := e.do(ctx, func() error {
		want, err := inView(ctx, e, query)
		for _, addr := range want {
			p, known := e.presence.states[addr.User]
			entry := local.PresenceEntry{Peer: addr.String(), LastSeen: p.LastSeen}
			// The server says nothing about a peer that is no contact, or became one
			// a moment ago: then its presence is not known.
			if why == nil && e.up && known {
				entry.Online, entry.Mutual = &p.Online, &p.Mutual
			}
			out.Presence = append(out.Presence, entry)
		}
		return err
	})
	return out, err
}

// presenceOf returns the addresses that are named, or those of all contacts.
func (e *Engine) presenceOf(tx *store.Tx, names []string) ([]identity.Address, error) {
	if len(names) == 0 {
		return e.contacts(tx)
	}
	var out []identity.Address
	for _, name := range names {
		addr, err := e.trust.Resolve(tx, e.account, name)
		if err == nil && addr != e.self {
			_, err = e.trust.Contact(tx, e.account, addr) // an unknown name is not "offline"
		}
		if err != nil {
			return nil, err
		}
		out = append(out, addr)
	}
	return out, nil
}
