package relay

import (
	"sync"
	"time"

	"secmsg/rpc/wire"
	"secmsg/serverd/limit"
)

// accountLimits holds the rate limits of one account, shared by all its devices.
type accountLimits struct {
	messages  *limit.Bucket // nil for no limit
	strangers *limit.Bucket
	watched   *limit.Bucket
	refs      int // connections; guarded by accounts.mu
}

// message charges one message. It returns how long to wait if the rate is used up, else 0.
func (a *accountLimits) message() time.Duration {
	if a.messages == nil {
		return 0
	}
	_, wait := a.messages.Take()
	return wait
}

// stranger charges one guess at an account name that does not exist.
func (a *accountLimits) stranger() { a.strangers.Allow(1) }

// strangerWait returns how long to wait before the next guess, or 0.
func (a *accountLimits) strangerWait() time.Duration { return a.strangers.Wait() }

// watch charges a subscription to n names. It returns how long to wait before they are looked up.
func (a *accountLimits) watch(n int) time.Duration { return a.watched.Reserve(n) }

// full reports whether new buckets would allow no more than these.
func (a *accountLimits) full() bool {
	return a.strangers.Full() && a.watched.Full() && (a.messages == nil || a.messages.Full())
}

// accounts holds the rate limits of connected accounts. A disconnected account stays until its buckets are full again,
// so that reconnecting does not reset a rate. Only accounts of this server get here, so their number bounds the memory.
type accounts struct {
	limits Limits

	mu sync.Mutex // guards m
	m  map[string]*accountLimits
}

func (a *accounts) init(l Limits) {
	a.limits = l
	a.m = make(map[string]*accountLimits)
}

// acquire returns the buckets of an account for one connection.
func (a *accounts) acquire(name string) *accountLimits {
	a.mu.Lock()
	defer a.mu.Unlock()
	al := a.m[name]
	if al == nil {
		watched := a.limits.Watched
		watched.Burst = max(watched.Burst, 1+wire.MaxSubscribe) // one subscription is always possible
		al = &accountLimits{
			strangers: limit.NewBucket(a.limits.Strangers, time.Now),
			watched:   limit.NewBucket(watched, time.Now),
		}
		if a.limits.Messages.Burst > 0 {
			al.messages = limit.NewBucket(a.limits.Messages, time.Now)
		}
		a.m[name] = al
	}
	al.refs++
	return al
}

// release ends a connection's use of the buckets.
func (a *accounts) release(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.m[name].refs--
}

// sweep removes disconnected accounts whose buckets are full.
func (a *accounts) sweep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, al := range a.m {
		if al.refs == 0 && al.full() {
			delete(a.m, name)
		}
	}
}
