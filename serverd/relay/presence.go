package relay

import (
	"context"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// lastSeenEntries bounds the cache of last-seen times. A full cache is emptied and refilled from the store.
const lastSeenEntries = 100_000

// subscription replaces the list of accounts that a connection watches.
type subscription struct {
	accounts []string
	announce bool
	leave    bool
	was      bool // when leaving: the connection had announced in a subscription that the worker never handled
}

// presence tells mutual contacts who is online. A single worker goroutine handles all changes. So states reach a
// connection in the order in which they were computed, each from the store's state after the change that caused it.
// Pending work is kept in sets, so connections and pairs bound it.
type presence struct {
	relay *Relay
	some  chan struct{} // buffered, capacity 1: signals pending work

	mu    sync.Mutex // guards below
	subs  map[*contact]subscription
	pairs map[direction]struct{}
	names map[string]struct{} // accounts suspended, resumed or deleted

	// owned by the worker
	failed   bool // the store failed in this round; the states not sent are in pairs
	watchers map[string]map[*contact]struct{}
	online   map[string]map[*contact]struct{} // connections that announce their account
	lastSeen map[string]time.Time
	unsaved  map[key.DeviceID]time.Time // last-seen times not yet in the store
}

func (p *presence) init(r *Relay) {
	p.relay = r
	p.some = make(chan struct{}, 1)
	p.reset()
	p.watchers = make(map[string]map[*contact]struct{})
	p.online = make(map[string]map[*contact]struct{})
	p.lastSeen = make(map[string]time.Time)
	p.unsaved = make(map[key.DeviceID]time.Time)
}

func (p *presence) reset() {
	p.subs = make(map[*contact]subscription)
	p.pairs = make(map[direction]struct{})
	p.names = make(map[string]struct{})
}

func (p *presence) mark(change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	select {
	case p.some <- struct{}{}:
	default:
	}
}

// subscribe replaces the accounts that c watches, and sets whether c announces its own.
func (p *presence) subscribe(c *contact, accounts []string, announce bool) {
	p.mark(func() { p.subs[c] = subscription{accounts: accounts, announce: announce} })
}

// leave removes a connection.
func (p *presence) leave(c *contact) {
	p.mark(func() { p.subs[c] = subscription{leave: true, was: p.subs[c].announce} })
}

// pairChanged sends both accounts their state towards each other.
func (p *presence) pairChanged(a, b string) {
	p.mark(func() {
		p.pairs[direction{a, b}] = struct{}{}
		p.pairs[direction{b, a}] = struct{}{}
	})
}

// accountChanged informs everybody who watches the account as a mutual contact.
func (p *presence) accountChanged(name string) {
	p.mark(func() { p.names[name] = struct{}{} })
}

// run is the worker. When ctx ends it does a last round.
func (p *presence) run(ctx context.Context) {
	for {
		var again <-chan time.Time
		if p.failed {
			again = time.After(retryStore)
		}
		select {
		case <-p.some:
			p.round()
		case <-again:
			p.round()
		case <-ctx.Done():
			p.round()
			return
		}
	}
}

// round handles everything that has changed.
func (p *presence) round() {
	p.mu.Lock()
	subs, pairs, names := p.subs, p.pairs, p.names
	p.reset()
	p.mu.Unlock()
	p.failed = false
	accounts := make(map[string]struct{}) // accounts whose online state changes
	for c, sub := range subs {
		p.apply(c, sub, accounts)
	}
	p.save()
	for c, sub := range subs {
		if !sub.leave {
			p.snapshot(c, sub.accounts)
		}
	}
	for account := range accounts {
		for c := range p.watchers[account] {
			p.sendState(c, account, func(before, mutual bool) bool { return mutual })
		}
	}
	for account := range names {
		for c := range p.watchers[account] {
			p.sendState(c, account, func(before, mutual bool) bool { return before != mutual })
		}
	}
	for pair := range pairs {
		for c := range p.watchers[pair.peer] {
			if c.account == pair.owner {
				p.sendState(c, pair.peer, func(bool, bool) bool { return true })
			}
		}
	}
}

// apply puts a subscription into effect and adds accounts whose online state changes to changed.
func (p *presence) apply(c *contact, sub subscription, changed map[string]struct{}) {
	for account := range c.watched {
		unset(p.watchers, account, c)
	}
	c.watched = nil
	if len(sub.accounts) > 0 {
		c.watched = make(map[string]bool, len(sub.accounts))
	}
	for _, account := range sub.accounts {
		c.watched[account] = false
		set(p.watchers, account, c)
	}
	was := len(p.online[c.account]) > 0
	announced := c.announce
	c.announce = sub.announce
	if sub.announce {
		set(p.online, c.account, c)
	} else {
		unset(p.online, c.account, c)
	}
	if (announced || sub.was) && !sub.announce {
		p.seen(c)
	}
	if was != (len(p.online[c.account]) > 0) {
		changed[c.account] = struct{}{}
	}
}

// seen records the last-seen time of a connection that announced its account.
func (p *presence) seen(c *contact) {
	now := p.relay.now()
	if len(p.lastSeen) >= lastSeenEntries {
		clear(p.lastSeen)
	}
	p.lastSeen[c.account] = now
	p.unsaved[c.sock.device] = now
}

// save writes the last-seen times of many devices to the store at once.
func (p *presence) save() {
	if len(p.unsaved) == 0 {
		return
	}
	if err := p.relay.store.SetLastSeen(context.Background(), p.unsaved); err != nil {
		p.relay.log.Warn("set last seen", "error", err)
	}
	p.unsaved = make(map[key.DeviceID]time.Time)
}

// snapshot sends a connection the state of every account that it watches.
func (p *presence) snapshot(c *contact, accounts []string) {
	states := make([]*wire.PresenceState, 0, len(accounts))
	for _, account := range accounts {
		if st, ok := p.state(c, account); ok {
			c.watched[account] = st.Mutual
			states = append(states, st)
		}
	}
	if len(states) > 0 {
		c.queueStates(states, true)
	}
}

// sendState sends one state if due returns true. due gets whether c was last told that the two are mutual contacts, and
// whether they are now. A change of online state concerns mutual contacts only; a change of the relation concerns
// others too.
func (p *presence) sendState(c *contact, account string, due func(before, mutual bool) bool) {
	st, ok := p.state(c, account)
	if ok && due(c.watched[account], st.Mutual) {
		c.watched[account] = st.Mutual
		c.queueStates([]*wire.PresenceState{st}, false)
	}
}

// state computes what c may know about account: nothing unless they are mutual contacts and the account is in use. If
// the store fails, it sends nothing and queues the pair again, because nobody would correct a wrong state.
func (p *presence) state(c *contact, account string) (st *wire.PresenceState, ok bool) {
	ctx := context.Background()
	mutual, err := p.relay.dir.mutual(ctx, c.account, account)
	var info accountInfo
	if mutual && err == nil {
		info, err = p.relay.dir.account(ctx, account, false)
	}
	if err != nil {
		p.relay.log.Warn("presence", "error", err)
		p.failed = true
		p.mu.Lock()
		p.pairs[direction{c.account, account}] = struct{}{}
		p.mu.Unlock()
		return nil, false
	}
	st = &wire.PresenceState{Account: account}
	if !mutual || !info.exists || info.suspended {
		return st, true
	}
	st.Mutual = true
	st.Online = len(p.online[account]) > 0
	if st.Online {
		st.LastSeenMs = p.relay.now().UnixMilli()
	} else if at := p.when(account); !at.IsZero() {
		st.LastSeenMs = at.UnixMilli()
	}
	return st, true
}

// when returns when an account was last seen, or the zero time if never.
func (p *presence) when(account string) time.Time {
	if at, ok := p.lastSeen[account]; ok {
		return at
	}
	devices, err := p.relay.store.Devices(context.Background(), account)
	if err != nil {
		p.relay.log.Warn("presence", "error", err)
		return time.Time{}
	}
	var at time.Time
	for _, d := range devices {
		if d.LastSeen.After(at) {
			at = d.LastSeen
		}
	}
	if len(p.lastSeen) >= lastSeenEntries {
		clear(p.lastSeen)
	}
	p.lastSeen[account] = at
	return at
}

func set(m map[string]map[*contact]struct{}, account string, c *contact) {
	if m[account] == nil {
		m[account] = make(map[*contact]struct{})
	}
	m[account][c] = struct{}{}
}

func unset(m map[string]map[*contact]struct{}, account string, c *contact) {
	delete(m[account], c)
	if len(m[account]) == 0 {
		delete(m, account)
	}
}
