package relay

import (
	"context"
	"errors"
	"maps"
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

// direction is one account's view of another.
type direction struct{ owner, peer string }

// directory caches accounts and relations for a short time. A change made through this node's API
// removes the entry at once.
type directory struct {
	relay     *Relay
	accounts  cached[string, accountInfo]
	relations cached[direction, store.Relation]
}

func (d *directory) init(r *Relay) {
	d.relay = r
	d.accounts.entries = make(map[string]entry[accountInfo])
	d.relations.entries = make(map[direction]entry[store.Relation])
}

// cached holds values that were read from the store.
type cached[K comparable, V any] struct {
	mu      sync.RWMutex // guards below
	entries map[K]entry[V]
	changes uint64 // number of removals; a read that began before one is not cached
}

type entry[V any] struct {
	value V
	at    time.Duration // when it was read, on the relay's monotonic clock
}

// get returns the value of k, at most d.relay.limits.Directory old. fresh reads it from the store
// instead of the cache.
func (c *cached[K, V]) get(d *directory, k K, fresh bool, read func() (V, error)) (V, error) {
	c.mu.RLock()
	e, ok := c.entries[k]
	changes := c.changes
	c.mu.RUnlock()
	at := d.relay.since()
	if ok && !fresh && at-e.at < d.relay.limits.Directory {
		return e.value, nil
	}
	v, err := read()
	if err != nil {
		var none V
		return none, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changes {
		if len(c.entries) >= directoryEntries {
			clear(c.entries)
		}
		c.entries[k] = entry[V]{v, at}
	}
	return v, nil
}

// forget removes the keys that match.
func (c *cached[K, V]) forget(match func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	maps.DeleteFunc(c.entries, func(k K, _ entry[V]) bool { return match(k) })
}

// forgetOne removes one key.
func (c *cached[K, V]) forgetOne(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.entries, k)
}

// account returns an account. fresh reads it from the store instead of the cache.
func (d *directory) account(ctx context.Context, name string, fresh bool) (accountInfo, error) {
	return d.accounts.get(d, name, fresh, func() (accountInfo, error) { return d.readAccount(ctx, name) })
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
	return d.relations.get(d, direction{owner, peer}, fresh, func() (store.Relation, error) {
		return d.relay.store.Relation(ctx, owner, peer)
	})
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

func (d *directory) forgetRelation(owner, peer string) { d.relations.forgetOne(direction{owner, peer}) }

func (d *directory) forgetAccount(name string) { d.accounts.forgetOne(name) }

// forgetRelationsOf removes all relations to a deleted account: its name may be registered again by
// somebody else.
func (d *directory) forgetRelationsOf(name string) {
	d.relations.forget(func(k direction) bool { return k.owner == name || k.peer == name })
}
