package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/serverd/store"
)

// directoryEntries bounds each cache. A full cache is emptied.
const directoryEntries = 100_000

// accountInfo is the part of an account that admission uses.
type accountInfo struct {
	exists    bool
	suspended bool
	version   uint64
	devices   map[key.DeviceID]struct{} // immutable
}

type accountEntry struct {
	info accountInfo
	at   time.Duration
}

// direction is one account's view of another.
type direction struct{ owner, peer string }

type relationEntry struct {
	relation store.Relation
	at       time.Duration
}

// directory caches accounts and relations for a short time. A change made through this node's API
// removes the entry at once.
type directory struct {
	relay *Relay

	mu        sync.RWMutex // guards below
	accounts  map[string]accountEntry
	relations map[direction]relationEntry
	changes   uint64 // number of removals; a read that began before one is not cached
}

func (d *directory) init(r *Relay) {
	d.relay = r
	d.accounts = make(map[string]accountEntry)
	d.relations = make(map[direction]relationEntry)
}

func (d *directory) valid(at time.Duration) bool {
	return d.relay.since()-at < d.relay.limits.Directory
}

// account returns an account. fresh reads it from the store instead of the cache.
func (d *directory) account(ctx context.Context, name string, fresh bool) (accountInfo, error) {
	d.mu.RLock()
	e, ok := d.accounts[name]
	changes := d.changes
	d.mu.RUnlock()
	if ok && !fresh && d.valid(e.at) {
		return e.info, nil
	}
	at := d.relay.since()
	info, err := d.readAccount(ctx, name)
	if err != nil {
		return accountInfo{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == changes {
		if len(d.accounts) >= directoryEntries {
			clear(d.accounts)
		}
		d.accounts[name] = accountEntry{info: info, at: at}
	}
	return info, nil
}

func (d *directory) readAccount(ctx context.Context, name string) (accountInfo, error) {
	a, err := d.relay.store.Account(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return accountInfo{}, nil
	}
	if err != nil {
		return accountInfo{}, err
	}
	devices, err := d.relay.store.Devices(ctx, name)
	if err != nil {
		return accountInfo{}, err
	}
	info := accountInfo{exists: true, suspended: a.Suspended, version: a.ManifestVersion, devices: make(map[key.DeviceID]struct{}, len(devices))}
	for _, dev := range devices {
		if !dev.Revoked {
			info.devices[dev.ID] = struct{}{}
		}
	}
	return info, nil
}

// relation returns owner's relation to peer. fresh reads it from the store instead of the cache.
func (d *directory) relation(ctx context.Context, owner, peer string, fresh bool) (store.Relation, error) {
	k := direction{owner, peer}
	d.mu.RLock()
	e, ok := d.relations[k]
	changes := d.changes
	d.mu.RUnlock()
	if ok && !fresh && d.valid(e.at) {
		return e.relation, nil
	}
	at := d.relay.since()
	rel, err := d.relay.store.Relation(ctx, owner, peer)
	if err != nil {
		return store.RelationNone, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == changes {
		if len(d.relations) >= directoryEntries {
			clear(d.relations)
		}
		d.relations[k] = relationEntry{relation: rel, at: at}
	}
	return rel, nil
}

// mutual reports whether each has the other as a contact.
func (d *directory) mutual(ctx context.Context, a, b string) (bool, error) {
	if a == b {
		return false, nil
	}
	ab, err := d.relation(ctx, a, b, false)
	if err != nil || ab != store.RelationContact {
		return false, err
	}
	ba, err := d.relation(ctx, b, a, false)
	return ba == store.RelationContact, err
}

func (d *directory) forgetRelation(owner, peer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	delete(d.relations, direction{owner, peer})
}

func (d *directory) forgetAccount(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	delete(d.accounts, name)
}

// forgetRelationsOf removes all relations to a deleted account: its name may be registered again by
// somebody else.
func (d *directory) forgetRelationsOf(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	for k := range d.relations {
		if k.owner == name || k.peer == name {
			delete(d.relations, k)
		}
	}
}
