package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"secmsg/crypto/identity"
	"secmsg/serverd/store"
)

// Names that an account has looked up within a day do not count again. The cache is bounded; an evicted
// name counts once more.
const (
	nameFresh     = 24 * time.Hour
	maxKnownNames = 1 << 17
)

// nameCache records which account has looked up which names.
type nameCache struct {
	mu    sync.Mutex
	known map[[2]string]time.Time // {account, name}; guarded by mu
}

func newNameCache() *nameCache { return &nameCache{known: map[[2]string]time.Time{}} }

func (c *nameCache) has(account, name string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.known[[2]string{account, name}]
	return ok && age(now, t) < nameFresh
}

func (c *nameCache) add(account, name string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnownNames {
		clear(c.known)
	}
	c.known[[2]string{account, name}] = now
}

// lookup guards every route that reveals whether a name exists. It counts a name that is new to the
// caller, whether it exists or not, and returns the account.
func (a *API) lookup(ctx context.Context, c caller, name string) (store.Account, error) {
	if identity.ValidUser(name) != nil {
		return store.Account{}, errNoAccount()
	}
	now := a.opt.Now()
	if name != c.account && !a.names.has(c.account, name, now) {
		relation, err := a.opt.Store.Relation(ctx, c.account, name)
		if err != nil {
			return store.Account{}, fmt.Errorf("look for contact: %w", err)
		}
		if relation == store.RelationNone {
			if ok, wait := a.lookups.Take(c.account); !ok {
				return store.Account{}, limited(wait)
			}
		}
		a.names.add(c.account, name, now)
	}
	acc, err := a.opt.Store.Account(ctx, name)
	return acc, noAccount(err)
}
