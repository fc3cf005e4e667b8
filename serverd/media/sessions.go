package media

import (
	"crypto/sha1"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"secmsg/serverd/limit"
)

const (
	// maxPermissions and maxChannels bound the memory of one allocation, and pion's search for a
	// packet's channel, which is linear. ICE uses one of each for every candidate of the other side.
	maxPermissions = 128
	maxChannels    = 64
	// maxSeen bounds the remembered Allocate requests of an account, and with it the requests that the
	// account can make within the lifetime of credentials.
	maxSeen = 256
)

// errQuota refuses an allocation beyond the limits.
var errQuota = errors.New("media: the limit of allocations is reached")

// endpoint is a client's transport address.
type endpoint struct {
	stream bool // TCP
	addr   netip.AddrPort
}

// endpointOf converts an address of Go's sockets.
func endpointOf(a net.Addr) (endpoint, bool) {
	switch a := a.(type) {
	case *net.UDPAddr:
		return endpoint{false, unmapped(a.AddrPort())}, true
	case *net.TCPAddr:
		return endpoint{true, unmapped(a.AddrPort())}, true
	}
	return endpoint{}, false
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// session is one allocation.
type session struct {
	// constant
	account  string
	username string
	expires  time.Time // expiry of the credentials that it began with
	created  time.Time
	relay    *relayConn
	bytes    *limit.Bucket // the account's

	from endpoint // guarded by sessions.mu; zero until pion has reported the client

	table atomic.Pointer[table] // replaced under sessions.mu; immutable
}

// usage is the current use by an account.
type usage struct {
	count int
	bytes *limit.Bucket
	seen  map[[sha1.Size]byte]sighting // by the signatures of its Allocate requests
}

// sighting records the sender of an Allocate request, and until when the request could be replayed.
type sighting struct {
	from  endpoint
	until time.Time
}

// sessions is the table of all allocations.
type sessions struct {
	limits Limits // constant
	now    func() time.Time

	mu       sync.Mutex // guards below; nothing of pion is called under it
	byFrom   map[endpoint]*session
	byRelay  map[netip.AddrPort]*session // by relayed address
	accounts map[string]*usage
	drops    map[string]time.Time // the latest expiry of credentials made before the account was dropped

	shut bool
	open sync.WaitGroup // one for each socket
}

func newSessions(limits Limits, now func() time.Time) *sessions {
	return &sessions{
		limits: limits, now: now, byFrom: map[endpoint]*session{}, byRelay: map[netip.AddrPort]*session{},
		accounts: map[string]*usage{}, drops: map[string]time.Time{},
	}
}

// room reports whether account may have another allocation.
func (t *sessions) room(account string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.roomLocked(account)
}

func (t *sessions) roomLocked(account string) bool {
	if account == selfAccount {
		return true
	}
	u := t.accounts[account]
	return len(t.byRelay) < t.limits.Total && (u == nil || u.count < t.limits.Allocations)
}

// add records a new allocation. It returns errQuota beyond the limits, and errCredential if the account
// was dropped while the allocation was being made.
func (t *sessions) add(e *session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.droppedLocked(e.account, e.expires) {
		return errCredential
	}
	if t.shut || !t.roomLocked(e.account) {
		return errQuota
	}
	u := t.usageLocked(e.account)
	u.count++
	e.bytes = u.bytes
	t.byRelay[e.relay.advertised] = e
	t.open.Add(1)
	return nil
}

func (t *sessions) usageLocked(account string) *usage {
	u := t.accounts[account]
	if u == nil {
		u = &usage{bytes: limit.NewBytes(t.limits.Bandwidth, bandwidthBurst, t.now), seen: map[[sha1.Size]byte]sighting{}}
		t.accounts[account] = u
	}
	return u
}

// original records an Allocate request by its signature, and reports whether it has never come from
// another address. Requests cross the network in clear, so an eavesdropper could replay one and use up
// the account's quota (attack F8, crypto/ATTACKS.md).
func (t *sessions) original(account string, signature [sha1.Size]byte, from endpoint) bool {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.usageLocked(account)
	if before, ok := u.seen[signature]; ok {
		return before.from == from
	}
	if len(u.seen) >= maxSeen {
		u.forget(now)
	}
	if len(u.seen) >= maxSeen {
		return false
	}
	u.seen[signature] = sighting{from, now.Add(MaxLifetime + clockSkew)}
	return true
}

// forget removes requests whose credentials have expired.
func (u *usage) forget(now time.Time) {
	for k, s := range u.seen {
		if !now.Before(s.until) {
			delete(u.seen, k)
		}
	}
}

// bind records the client of the allocation with relayed address advertised.
func (t *sessions) bind(advertised netip.AddrPort, from endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byRelay[advertised]; e != nil {
		e.from = from
		e.relay.client = from.addr
		t.byFrom[from] = e
	}
}

// change replaces the table of the allocation with relayed address advertised.
func (t *sessions) change(advertised netip.AddrPort, f func(*session, *table)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byRelay[advertised]; e != nil {
		next := e.table.Load().clone()
		f(e, next)
		e.table.Store(next)
	}
}

// remove removes an allocation whose socket is closed.
func (t *sessions) remove(e *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byRelay, e.relay.advertised)
	if t.byFrom[e.from] == e {
		delete(t.byFrom, e.from)
	}
	t.accounts[e.account].count-- // its bucket stays, or a new allocation would start with a full one
	t.open.Done()
}

// prune removes idle accounts and expired drops.
func (t *sessions) prune() {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, u := range t.accounts {
		u.forget(now)
		if u.count == 0 && len(u.seen) == 0 && u.bytes.Full() {
			delete(t.accounts, name)
		}
	}
	for name, until := range t.drops {
		if !now.Before(until) {
			delete(t.drops, name)
		}
	}
}

// at returns the allocation of a client's address, or nil.
func (t *sessions) at(from endpoint) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byFrom[from]
}

// relayed reports whether an address is the relayed address of a current allocation.
func (t *sessions) relayed(advertised netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byRelay[advertised] != nil
}

// len returns the number of allocations.
func (t *sessions) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byRelay)
}

// dropped reports whether credentials with this expiry may have been issued before the account's last
// drop.
func (t *sessions) dropped(account string, expires time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.droppedLocked(account, expires)
}

func (t *sessions) droppedLocked(account string, expires time.Time) bool {
	until, ok := t.drops[account]
	return ok && !expires.After(until)
}

// drop ends an account's allocations and invalidates its credentials.
func (t *sessions) drop(account string) {
	t.mu.Lock()
	t.drops[account] = t.now().Add(t.limits.Lifetime)
	t.mu.Unlock()
	t.end(func(e *session) bool { return e.account == account })
}

// end closes the sockets of the selected allocations; pion removes an allocation whose socket fails.
func (t *sessions) end(which func(*session) bool) {
	var ended []*session
	t.mu.Lock()
	for _, e := range t.byRelay {
		if which(e) {
			ended = append(ended, e)
		}
	}
	t.mu.Unlock()
	for _, e := range ended {
		_ = e.relay.Close()
	}
}

// close ends all allocations, refuses new ones, and waits.
func (t *sessions) close() {
	t.mu.Lock()
	t.shut = true
	t.mu.Unlock()
	t.end(func(*session) bool { return true })
	t.open.Wait()
}
