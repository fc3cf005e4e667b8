package store

import (
	"bytes"
	"maps"
	"sync"
)

// maxKnown bounds each cache: several times the number of peers that a user talks to in a
// day.
const maxKnown = 1024

// known caches opened values that every message needs: the names of peers, which never
// change, and contacts and accounts, each with the sealed bytes it was opened from. A row
// is sealed with a fresh nonce at every write, so equal bytes mean an equal value, and no
// entry is ever stale. Locking clears the cache.
type known struct {
	mu        sync.Mutex
	peers     map[peerName]PeerID         // only committed rows; guarded by mu
	addresses map[PeerID]peerName         // inverse of peers; guarded by mu
	contacts  map[PeerID]seen[Contact]    // guarded by mu
	accounts  map[AccountID]seen[Account] // guarded by mu
	epoch     uint64                      // number of clears; guarded by mu
}

// peerName is a peer's address in an account.
type peerName struct {
	account AccountID
	address string
}

// seen is a value with the sealed bytes it was opened from.
type seen[T any] struct {
	sealed []byte
	value  T
}

// clear empties the cache. Values that a running transaction has opened are not added
// afterwards.
func (k *known) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.peers, k.addresses, k.contacts, k.accounts = nil, nil, nil, nil
	k.epoch++
}

func (k *known) now() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.epoch
}

func (k *known) peer(n peerName) (PeerID, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, ok := k.peers[n]
	return id, ok
}

func (k *known) address(id PeerID) (peerName, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, ok := k.addresses[id]
	return n, ok
}

func (k *known) putPeer(id PeerID, n peerName, epoch uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if epoch != k.epoch {
		return
	}
	if k.peers == nil || len(k.peers) >= maxKnown {
		k.peers, k.addresses = map[peerName]PeerID{}, map[PeerID]peerName{}
	}
	k.peers[n], k.addresses[id] = id, n
}

func (k *known) contact(id PeerID, sealed []byte) (Contact, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.contacts[id]
	if !ok || !bytes.Equal(s.sealed, sealed) {
		return Contact{}, false
	}
	s.value.Policy = maps.Clone(s.value.Policy)
	return s.value, true
}

func (k *known) putContact(c Contact, sealed []byte, epoch uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if epoch != k.epoch {
		return
	}
	if k.contacts == nil || len(k.contacts) >= maxKnown {
		k.contacts = map[PeerID]seen[Contact]{}
	}
	c.Policy = maps.Clone(c.Policy)
	k.contacts[c.Peer] = seen[Contact]{sealed: sealed, value: c}
}

func (k *known) accountOf(id AccountID, sealed []byte) (Account, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.accounts[id]
	return s.value, ok && bytes.Equal(s.sealed, sealed)
}

func (k *known) putAccount(a Account, sealed []byte, epoch uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if epoch != k.epoch {
		return
	}
	if k.accounts == nil || len(k.accounts) >= maxKnown {
		k.accounts = map[AccountID]seen[Account]{}
	}
	k.accounts[a.ID] = seen[Account]{sealed: sealed, value: a}
}
