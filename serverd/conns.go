package serverd

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"secmsg/config"
	"secmsg/serverd/api"
	"secmsg/serverd/limit"
)

// Defaults for the bound of connections without a token.
const (
	fdShare      = 10   // a tenth of the file descriptors (rpc/DELIVERY.md, "Limits")
	fdUnknown    = 1024 // if the system does not say
	minStrangers = 16
)

// gate bounds the connections that have not shown a token: per address, new ones per address, and in
// total. A connection above a bound is closed at once, before it costs a TLS handshake.
type gate struct {
	limits config.ConnLimits // constant
	fresh  *limit.Keyed[string]

	mu        sync.Mutex
	strangers map[string]int // by address key; guarded by mu
	total     int            // guarded by mu
	most      int            // guarded by mu; the most simultaneous connections of one address

	accepted, refused, open atomic.Int64
}

func newGate(limits config.ConnLimits, now func() time.Time) *gate {
	if limits.Total <= 0 {
		limits.Total = max(fileDescriptors()/fdShare, minStrangers)
	}
	return &gate{limits: limits, fresh: limit.NewKeyed[string](limit.Rate(limits.New), 0, now), strangers: map[string]int{}}
}

// listener wraps l with the gate.
func (g *gate) listener(l net.Listener) net.Listener { return &gatedListener{Listener: l, gate: g} }

// enter counts a stranger's new connection, or refuses it.
func (g *gate) enter(key string) bool {
	if ok, _ := g.fresh.Take(key); !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.limits.Total || g.strangers[key] >= g.limits.PerAddress {
		return false
	}
	g.strangers[key]++
	g.total++
	g.most = max(g.most, g.strangers[key])
	return true
}

// leave ends a stranger's connection, because it closed or showed a token.
func (g *gate) leave(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.strangers[key]--; g.strangers[key] <= 0 {
		delete(g.strangers, key)
	}
}

// counters are the gate's part of the statistics.
func (g *gate) counters() map[string]int64 {
	g.mu.Lock()
	total, most := g.total, g.most
	g.mu.Unlock()
	return map[string]int64{
		"open": g.open.Load(), "without_token": int64(total), "without_token_most": int64(most), "accepted": g.accepted.Load(), "refused": g.refused.Load(),
	}
}

type gatedListener struct {
	net.Listener
	gate *gate
}

// Accept returns the next connection within the bounds.
func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key := api.AddressKey(c.RemoteAddr().String())
		if !l.gate.enter(key) {
			l.gate.refused.Add(1)
			_ = c.Close() // refused either way
			continue
		}
		l.gate.accepted.Add(1)
		l.gate.open.Add(1)
		return &gatedConn{Conn: c, gate: l.gate, key: key}, nil
	}
}

// gatedConn is a connection that counts as a stranger's until it has shown a token.
type gatedConn struct {
	net.Conn
	gate *gate
	key  string

	known  atomic.Bool // it has shown a token or is closed
	closed atomic.Bool
}

// Close ends the connection.
func (c *gatedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.gate.open.Add(-1)
	}
	c.welcome()
	return c.Conn.Close()
}

// welcome ends the connection's time as a stranger's.
func (c *gatedConn) welcome() {
	if c.known.CompareAndSwap(false, true) {
		c.gate.leave(c.key)
	}
}

type connKey struct{}

// withConn is for http.Server.ConnContext: it lets welcomeContext find the connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	for {
		switch t := c.(type) {
		case *gatedConn:
			return context.WithValue(ctx, connKey{}, t)
		case interface{ NetConn() net.Conn }: // TLS, the relay's
			c = t.NetConn()
		default:
			return ctx
		}
	}
}

// welcomeContext is the API's hook for a request that has shown a token.
func welcomeContext(ctx context.Context) {
	if g, ok := ctx.Value(connKey{}).(*gatedConn); ok {
		g.welcome()
	}
}
