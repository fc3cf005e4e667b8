package relay

import (
	"context"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// lastSeenEntries bounds the remembered times; a full map is emptied and filled from the store again.
const lastSeenEntries = 100_000

// subscription replaces what a connection watches.
type subscription struct {
	accounts []string
	announce bool
	leave    bool
	was      bool // leaving: had announced in a subscription that nobody worked on
}

// presence tells mutual contacts who is online. One goroutine works on what has
// changed, so that states reach a connection in the order in which they were
// computed, each from the store's state after the change that caused it. What
// waits for it is bounded by connections and pairs, since it is held in sets.
type presence struct {
	relay *Relay
	some  chan struct{} // 1 buffered: there is work

	mu    sync.Mutex // guards below
	subs  map[*contact]subscription
	pairs map[direction]struct{}
	names map[string]struct{} // accounts that were suspended, resumed or deleted

	// owned by the worker
	failed   bool // the store failed in this round; what is missing is in pairs
	watchers map[string]map[*contact]struct{}
	online   map[string]map[*contact]struct{} // connections that announce
	lastSeen map[string]time.Time
	unsaved  map[key.DeviceID]time.Time // last seen, not yet in the store
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

// subscribe replaces what c watches and whether it announces its account.
func (p *presence) subscribe(c *contact, accounts []string, announce bool) {
	p.mark(func() { p.subs[c] = subscription{accounts: accounts, announce: announce} })
}

// leave ends a connection's part.
func (p *presence) leave(c *contact) {
	p.mark(func() { p.subs[c] = subscription{leave: true, was: p.subs[c].announce} })
}

// pairChanged has the state between two accounts told to both.
func (p *presence) pairChanged(a, b string) {
	p.mark(func() {
		p.pairs[direction{a, b}] = struct{}{}
		p.pairs[direction{b, a}] = struct{}{}
	})
}

// accountChanged has those told whose mutual contact an account was or becomes.
func (p *presence) accountChanged(name string) {
	p.mark(func() { p.names[name] = struct{}{} })
}

// run is the worker; it ends with ctx, after a last round.
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

// round works on all that has changed.
func (p *presence) round() {
	p.mu.Lock()
	subs, pairs, names := p.subs, p.pairs, p.names
	p.reset()
	p.mu.Unlock()
	p.failed = false
	accounts := make(map[string]struct{}) // whose online state changes
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
			p.tell(c, account, func(told, mutual bool) bool { return mutual })
		}
	}
	for account := range names {
		for c := range p.watchers[account] {
			p.tell(c, account, func(told, mutual bool) bool { return told != mutual })
		}
	}
	for pair := range pairs {
		for c := range p.watchers[pair.peer] {
			if c.account == pair.owner {
				p.tell(c, pair.peer, func(bool, bool) bool { return true })
			}
		}
	}
}

// apply takes over a subscription; accounts whose state changes are added to changed.
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

// seen remembers when an announced connection was last there.
func (p *presence) seen(c *contact) {
	now := p.relay.now()
	if len(p.lastSeen) >= lastSeenEntries {
		clear(p.lastSeen)
	}
	p.lastSeen[c.account] = now
	p.unsaved[c.sock.device] = now
}

// save stores when devices were last seen, many at once.
func (p *presence) save() {
	if len(p.unsaved) == 0 {
		return
	}
	if err := p.relay.store.SetLastSeen(context.Background(), p.unsaved); err != nil {
		p.relay.log.Warn("set last seen", "error", err)
	}
	p.unsaved = make(map[key.DeviceID]time.Time)
}

// snapshot tells a connection the state of all it watches.
func (p *presence) snapshot(c *contact, accounts []string) {
	states := make([]*wire.PresenceState, 0, len(accounts))
	for _, account := range accounts {
		if st, ok := p.state(c, account); ok {
			c.watched[account] = st.Mutual
			states = append(states, st)
		}
	}
	if len(states) > 0 {
		c.tell(states, true)
	}
}

// tell tells one state if due says so, which gets whether c was told that they
// are mutual contacts, and whether they are. A change of online state is
// nothing to those who are not; a change of the relation is.
func (p *presence) tell(c *contact, account string, due func(told, mutual bool) bool) {
	st, ok := p.state(c, account)
	if ok && due(c.watched[account], st.Mutual) {
		c.watched[account] = st.Mutual
		c.tell([]*wire.PresenceState{st}, false)
	}
}

// state computes what c may know of account: nothing unless they are mutual
// contacts and account is in use. If the store fails it is not told, since
// nobody would correct it, but computed again later.
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

// when returns when an account was last seen, the zero time if never.
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
