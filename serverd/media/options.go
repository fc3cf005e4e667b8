package media

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"secmsg/serverd/limit"
)

const (
	// MaxLifetime bounds the validity of credentials and the time that one refresh adds to an
	// allocation (attack F8, crypto/ATTACKS.md). It is the default of RFC 8656, section 3.2.
	MaxLifetime = 10 * time.Minute
	// secretSize is the length of the secret that a server generates for itself, in bytes.
	secretSize = 32
)

// Limits bound the use by accounts and strangers. A zero field means the default of DefaultLimits.
type Limits struct {
	Allocations int           // of one account at a time
	Total       int           // of all accounts at a time; each needs a socket
	Bandwidth   int64         // bytes per second that an account may relay, both directions together, packet headers included
	Lifetime    time.Duration // time that one refresh adds, at most MaxLifetime
	Session     time.Duration // total time for which an allocation may be refreshed
	Requests    limit.Rate    // answers to an address (/64 for IPv6) without an allocation
}

// DefaultLimits returns the defaults. A device behind a strict NAT needs two allocations for a call,
// UDP and TCP, and two more for a moment when its network changes. Good video takes 0.4 MiB per second
// each way.
func DefaultLimits() Limits {
	return Limits{
		Allocations: 5, Total: 2_000, Bandwidth: 2 << 20, Lifetime: MaxLifetime, Session: 24 * time.Hour,
		Requests: limit.Rate{Burst: 100, Every: 50 * time.Millisecond},
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.Allocations <= 0 {
		l.Allocations = d.Allocations
	}
	if l.Total <= 0 {
		l.Total = d.Total
	}
	if l.Bandwidth <= 0 {
		l.Bandwidth = d.Bandwidth
	}
	if l.Lifetime <= 0 || l.Lifetime > MaxLifetime {
		l.Lifetime = d.Lifetime
	}
	if l.Session <= 0 {
		l.Session = d.Session
	}
	if l.Requests.Burst <= 0 || l.Requests.Every <= 0 {
		l.Requests = d.Requests
	}
	return l
}

// Options configure a Server.
type Options struct {
	// Realm is the TURN realm: the server's domain. Required.
	Realm string
	// Secret is shared with the issuer of the credentials. Nil means a random one.
	Secret []byte
	// Listen is HOST:PORT for both UDP and TCP. Without a host it means IPv4 and IPv6; port 0 picks a
	// free port.
	Listen string
	// Public lists the public addresses of relayed packets, at most one of each family. A family
	// without one uses the address of Listen, or that of the route to the Internet.
	Public []netip.Addr
	// MinPort and MaxPort bound the relayed ports, both included. 0 means the dynamic ports of RFC
	// 6335, 49152 to 65535.
	MinPort, MaxPort uint16
	// Loopback allows relaying from and to loopback addresses, for a server whose clients are all on
	// the same machine.
	Loopback bool
	// Allow lists further peers that may be reached, such as the operator's own private network. This
	// host's own addresses, loopback, multicast and clouds' metadata addresses stay refused.
	Allow  []netip.Prefix
	Limits Limits
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil for none
}

const (
	firstDynamicPort = 49152 // RFC 6335, section 6
	lastPort         = 65535
)

// withDefaults checks the options and fills in defaults.
func (o Options) withDefaults() (Options, error) {
	if o.Realm == "" {
		return o, errors.New("media: the realm is missing")
	}
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		return o, fmt.Errorf("media: listen: %w", err)
	}
	if o.MinPort == 0 && o.MaxPort == 0 {
		o.MinPort, o.MaxPort = firstDynamicPort, lastPort
	}
	if o.MinPort == 0 || o.MaxPort < o.MinPort {
		return o, errors.New("media: the range of relayed ports is empty")
	}
	for i, a := range o.Public {
		if !a.IsValid() || a.IsUnspecified() || a.Zone() != "" {
			return o, errors.New("media: a public address is invalid")
		}
		o.Public[i] = a.Unmap()
	}
	if o.Secret == nil {
		o.Secret = make([]byte, secretSize)
		rand.Read(o.Secret)
	}
	if len(o.Secret) == 0 {
		return o, errors.New("media: the secret is empty")
	}
	o.Limits = o.Limits.withDefaults()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
