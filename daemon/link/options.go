package link

import (
	"context"
	"log/slog"
	"net"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// Signer answers the challenges that buy access tokens. The keyring implements it.
type Signer interface {
	// SignChallenge signs domain, account, device, role and nonce with the
	// device key.
	SignChallenge(role wire.Role, nonce []byte) ([]byte, error)
}

// Result is the relay's answer to one outgoing envelope.
type Result struct {
	MessageID  [16]byte
	Recipient  string // local name
	Device     key.DeviceID
	Class      wire.Class
	Accepted   bool
	Reason     wire.Reason   // why not accepted
	Final      bool          // the same envelope can never be accepted
	RetryAfter time.Duration // 0: not said
}

// Handler is what a Link reports to. Calls for one role come one after the
// other, and a role's last Down comes before Run returns; calls for different
// roles may overlap. Every call but Deliver should return quickly.
type Handler interface {
	// Fence returns the newest durable fence value (nil: none yet) and the
	// number of session-changing transactions.
	Fence(ctx context.Context) (value []byte, steps uint64, err error)
	// StoreFence makes value durable before it returns.
	StoreFence(ctx context.Context, value []byte) error
	// Up tells that a connection stands: contact after the fence was confirmed,
	// replica after it was opened.
	Up(role wire.Role, serverTime time.Time)
	// Down tells that a connection, or an attempt to make one, has ended.
	Down(role wire.Role, err error)
	// Deliver commits envelopes in their order and returns the step count after
	// the commit. They are acknowledged when it returns; an error drops the
	// connection without acknowledgement.
	Deliver(ctx context.Context, envelopes []*wire.Envelope) (steps uint64, err error)
	// CaughtUp tells that all envelopes that waited at the server when the replica
	// connection opened are committed.
	CaughtUp()
	// Results brings answers to envelopes that were handed to Send on the
	// present contact connection.
	Results(ctx context.Context, results []Result)
	// Stale brings later manifests of an account, oldest first, before the
	// results of the send that named an old one. Nothing in them is verified.
	Stale(ctx context.Context, account string, manifests [][]byte)
	// Presence brings states of watched accounts.
	Presence(ctx context.Context, states []*wire.PresenceState)
	// Fatal tells that this copy of the device is old (REASON_STALE_FENCE) or
	// revoked (REASON_REVOKED). Run returns after it.
	Fatal(reason wire.Reason)
}

// Timing holds every interval of a link. A zero field means its default.
type Timing struct {
	BackoffMin time.Duration // first wait before a reconnect; 1 s
	BackoffMax time.Duration // longest wait; 60 s
	Stable     time.Duration // a connection that stood so long resets the backoff; 5 s
	Ping       time.Duration // keep-alive; two of them without a byte end a connection; 25 s
	Write      time.Duration // one write; 10 s
	Dial       time.Duration // TCP, TLS, realm statement and upgrade together; 15 s
	Open       time.Duration // each answer while a connection opens; 10 s
	Request    time.Duration // a REST call; 30 s
}

// Defaults of Timing (rpc/DELIVERY.md, "Connections").
const (
	defaultBackoffMin = time.Second
	defaultBackoffMax = time.Minute
	defaultStable     = 5 * time.Second
	defaultDial       = 15 * time.Second
	defaultOpen       = 10 * time.Second
	defaultRequest    = 30 * time.Second
)

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.BackoffMin, defaultBackoffMin)
	set(&t.BackoffMax, defaultBackoffMax)
	set(&t.Stable, defaultStable)
	set(&t.Ping, wire.PingInterval)
	set(&t.Write, wire.WriteTimeout)
	set(&t.Dial, defaultDial)
	set(&t.Open, defaultOpen)
	set(&t.Request, defaultRequest)
	return t
}

// Endpoint says where a realm's server is and how to recognise it.
type Endpoint struct {
	// Server is HOST or HOST:PORT; the port defaults to identity.DefaultPort.
	Server string
	// Realm is the pinned fingerprint of the realm's root certificate.
	Realm identity.Fingerprint
	// Domain is the realm's domain; empty before the account is joined.
	Domain string
	// Now is the wall clock, used for certificates; nil: time.Now.
	Now func() time.Time
	// Timing holds the intervals.
	Timing Timing
	// Dial opens the TCP connection; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy says through which proxy a server or store is reached; nil: directly.
	Proxy ProxyFunc
}

// Options make a Link.
type Options struct {
	Endpoint Endpoint
	Account  string // local name
	Device   key.DeviceID
	Signer   Signer
	Handler  Handler
	Logger   *slog.Logger
	// Network describes the network that this machine is in, such as its addresses:
	// when the text changes, a wait for the next attempt ends. nil: nobody looks.
	Network func() string
}
