package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// maxCachedDevices bounds the device cache: about 20 MiB when full.
const maxCachedDevices = 1 << 17

// deviceState is the data that a token is checked against.
type deviceState struct {
	account   string
	signing   key.SigningPublic
	revoked   bool
	suspended bool
	read      time.Time
}

// deviceCache caches device rows for a short time, so that a burst of requests from one device costs
// one read.
type deviceCache struct {
	mu   sync.Mutex
	rows map[key.DeviceID]deviceState // guarded by mu
	// generation counts drops, so that a row read before a drop is not cached after it; guarded by mu.
	generation uint64
}

func newDeviceCache() *deviceCache {
	return &deviceCache{rows: map[key.DeviceID]deviceState{}}
}

func (c *deviceCache) get(id key.DeviceID) (state deviceState, ok bool, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, ok = c.rows[id]
	return state, ok, c.generation
}

// put caches a row unless a drop happened since generation. If the cache is full, rows older than keep
// make room.
func (c *deviceCache) put(id key.DeviceID, s deviceState, generation uint64, keep time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if _, known := c.rows[id]; !known && len(c.rows) >= maxCachedDevices {
		for k, v := range c.rows {
			if s.read.Sub(v.read) > keep {
				delete(c.rows, k)
			}
		}
		if len(c.rows) >= maxCachedDevices {
			return
		}
	}
	c.rows[id] = s
}

// drop removes all devices of an account.
func (c *deviceCache) drop(account string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	for id, s := range c.rows {
		if s.account == account {
			delete(c.rows, id)
		}
	}
}

// Forget removes the cached data of an account, so that a suspension, deletion or revocation made
// elsewhere in this process takes effect at once.
func (a *API) Forget(account string) { a.devices.drop(account) }

// device returns the state of a device, from the cache for DeviceCache, else from the store. While the
// store cannot be read, a known device is accepted for StoreGrace; after that, and for an unknown
// device, it returns an error.
func (a *API) device(ctx context.Context, id key.DeviceID) (deviceState, error) {
	now := a.opt.Now()
	cached, ok, generation := a.devices.get(id)
	if ok && age(now, cached.read) < a.opt.Limits.DeviceCache {
		return cached, nil
	}
	s, err := a.readDevice(ctx, id, now)
	switch {
	case err == nil:
		a.devices.put(id, s, generation, a.opt.Limits.StoreGrace)
		return s, nil
	case errors.Is(err, store.ErrNotFound):
		return deviceState{}, err
	case ok && age(now, cached.read) < a.opt.Limits.StoreGrace:
		return cached, nil
	}
	if ctx.Err() == nil {
		a.opt.Logger.ErrorContext(ctx, "device row could not be read", "request", requestID(ctx), "error", err)
	}
	return deviceState{}, refuse(wire.CodeUnavailable, "the server cannot check the device now")
}

// age returns the time since t. If the clock went back, everything counts as old.
func age(now, t time.Time) time.Duration {
	if now.Before(t) {
		return 1<<63 - 1
	}
	return now.Sub(t)
}

func (a *API) readDevice(ctx context.Context, id key.DeviceID, now time.Time) (deviceState, error) {
	d, err := a.opt.Store.Device(ctx, id)
	if err != nil {
		return deviceState{}, fmt.Errorf("read device: %w", err)
	}
	s := deviceState{account: d.Account, revoked: d.Revoked, read: now}
	if s.signing, err = key.ParseSigningPublic(d.Signing); err != nil {
		return deviceState{}, fmt.Errorf("stored device key: %w", err)
	}
	if d.Revoked {
		return s, nil
	}
	acc, err := a.opt.Store.Account(ctx, d.Account)
	if err != nil {
		return deviceState{}, fmt.Errorf("read account of device: %w", err)
	}
	s.suspended = acc.Suspended
	return s, nil
}
