package relay

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"secmsg/rpc/wire"
)

// accountLimits holds the rate limits of one account, shared by all its devices.
type accountLimits struct {
	messages  *rate.Limiter // nil for no limit
	strangers *rate.Limiter
	watched   *rate.Limiter
	refs      int // guarded by accounts.mu
}

// message charges one message. It returns how long to wait if the rate is used up, else 0.
func (a *accountLimits) message() time.Duration {
	if a.messages == nil {
		return 0
	}
	return take(a.messages)
}

// stranger charges one guess at an account name that does not exist.
func (a *accountLimits) stranger() { take(a.strangers) }

// strangerWait returns how long to wait before the next guess, or 0.
func (a *accountLimits) strangerWait() time.Duration {
	if missing := 1 - a.strangers.Tokens(); missing > 0 {
		return time.Duration(missing / float64(a.strangers.Limit()) * float64(time.Second))
	}
	return 0
}

// watch charges a subscription to n names. It returns how long to wait before they are looked up.
func (a *accountLimits) watch(n int) time.Duration {
	return a.watched.ReserveN(time.Now(), n).Delay()
}

func take(l *rate.Limiter) time.Duration {
	if l.Allow() {
		return 0
	}
	missing := 1 - l.Tokens()
	return max(time.Millisecond, time.Duration(missing/float64(l.Limit())*float64(time.Second)))
}

// accounts holds the rate limits of connected accounts. A disconnected account stays until its buckets are full again,
// so that reconnecting does not reset a rate.
type accounts struct {
	limits Limits

	mu sync.Mutex // guards m
	m  map[string]*accountLimits
}

func (a *accounts) init(l Limits) {
	a.limits = l
	a.m = make(map[string]*accountLimits)
}

func (a *accounts) acquire(name string) *accountLimits {
	a.mu.Lock()
	defer a.mu.Unlock()
	al := a.m[name]
	if al == nil {
		al = &accountLimits{
			strangers: rate.NewLimiter(rate.Every(a.limits.StrangerEvery), a.limits.StrangerBurst),
			watched:   rate.NewLimiter(rate.Every(a.limits.WatchEvery), max(a.limits.WatchBurst, 1+wire.MaxSubscribe)),
		}
		if a.limits.MessageBurst > 0 {
			al.messages = rate.NewLimiter(rate.Every(a.limits.MessageEvery), a.limits.MessageBurst)
		}
		a.m[name] = al
	}
	al.refs++
	return al
}

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
		full := al.strangers.Tokens() >= float64(a.limits.StrangerBurst) && al.watched.Tokens() >= float64(al.watched.Burst()) &&
			(al.messages == nil || al.messages.Tokens() >= float64(a.limits.MessageBurst))
		if al.refs == 0 && full {
			delete(a.m, name)
		}
	}
}
