package media

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

const (
	// MaxLifetime bounds credentials and the time that one refresh adds to an
	// allocation (attack F8). It is the default of RFC 8656, section 3.2.
	MaxLifetime = 10 * time.Minute
	// secretSize is the length of the secret that a server makes for itself, in bytes.
	secretSize = 32
)

// Rate is a token bucket: Burst at once, then one more per Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// Limits bound what accounts and strangers may use; a zero field takes the
// default of DefaultLimits.
type Limits struct {
	Allocations int           // of one account at a time
	Total       int           // of all accounts at a time: each is a socket
	Bandwidth   int64         // bytes a second that an account may relay, both directions together, with the packets' headers
	Lifetime    time.Duration // what one refresh adds, at most MaxLifetime
	Session     time.Duration // how long an allocation may be refreshed altogether
	Requests    Rate          // what is answered to an address (/64 for IPv6) without an allocation
}

// DefaultLimits returns the defaults. A call of a device behind a strict NAT
// takes two allocations, UDP and TCP, and two more for a moment when its network
// changes; video of good quality takes 0.4 MiB a second each way.
func DefaultLimits() Limits {
	return Limits{
		Allocations: 5, Total: 2_000, Bandwidth: 2 << 20, Lifetime: MaxLifetime, Session: 24 * time.Hour,
		Requests: Rate{Burst: 100, Every: 50 * time.Millisecond},
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

// Options are what a Server is made of.
type Options struct {
	// Realm is the TURN realm: the domain. Needed.
	Realm string
	// Secret is shared with who hands out the credentials; nil: a random one.
	Secret []byte
	// Listen is HOST:PORT for UDP and TCP alike. Without a host it means both
	// IPv4 and IPv6; port 0 is a free one.
	Listen string
	// Public are the addresses that relayed packets come from as the world sees
	// them, at most one of each family. A family without one uses the address of
	// Listen, or that of the route to the world.
	Public []netip.Addr
	// MinPort and MaxPort bound the relayed ports, both included; 0: the dynamic
	// ports of RFC 6335, 49152 to 65535.
	MinPort, MaxPort uint16
	// Loopback makes this the server of one machine: it relays from and to
	// loopback addresses.
	Loopback bool
	// Allow are further peers that may be reached, such as the operator's own
	// private network. This host's own addresses, loopback, multicast and the
	// metadata addresses of clouds stay refused.
	Allow  []netip.Prefix
	Limits Limits
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: none
}

const (
	firstDynamicPort = 49152 // RFC 6335, section 6
	lastPort         = 65535
)

// withDefaults checks the options and fills in what is missing.
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
			return o, errors.New("media: a public address is none")
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
