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

// Signer signs the challenges for access tokens. The keyring implements it.
type Signer interface {
	// SignChallenge signs domain, account, device, role and nonce with the device key.
	SignChallenge(role wire.Role, nonce []byte) ([]byte, error)
}

// Result is the relay's answer to one outgoing envelope.
type Result struct {
	MessageID  [16]byte
	Recipient  string // local name
	Device     key.DeviceID
	Class      wire.Class
	Accepted   bool
	Reason     wire.Reason   // if not accepted
	Final      bool          // the same envelope can never be accepted
	RetryAfter time.Duration // 0: not given
}

// Handler receives the events of a Link. Calls for one role are sequential, and the last
// Down of a role precedes the return of Run. Calls for different roles may overlap. Every
// call except Deliver should return quickly.
type Handler interface {
	// Fence returns the newest durable fence value (nil: none yet) and the number of
	// transactions that changed sessions.
	Fence(ctx context.Context) (value []byte, steps uint64, err error)
	// StoreFence makes value durable.
	StoreFence(ctx context.Context, value []byte) error
	// Up reports that a connection is open: contact after the fence was confirmed, replica
	// after it was opened.
	Up(role wire.Role, serverTime time.Time)
	// Down reports that a connection, or an attempt to open one, has ended.
	Down(role wire.Role, err error)
	// Deliver commits envelopes in order and returns the step count after the commit. When
	// it returns, the envelopes are acknowledged. After an error the connection is closed
	// without acknowledgement.
	Deliver(ctx context.Context, envelopes []*wire.Envelope) (steps uint64, err error)
	// CaughtUp reports that all envelopes that waited on the server when the replica
	// connection was opened are committed.
	CaughtUp()
	// Results reports answers to envelopes that were passed to Send on the present contact
	// connection.
	Results(ctx context.Context, results []Result)
	// Stale passes newer manifests of an account, oldest first, before the results of the
	// send that named an outdated one. They are not verified.
	Stale(ctx context.Context, account string, manifests [][]byte)
	// Presence reports states of watched accounts.
	Presence(ctx context.Context, states []*wire.PresenceState)
	// Fatal reports that this copy of the device is outdated (REASON_STALE_FENCE) or
	// revoked (REASON_REVOKED). Run returns afterwards.
	Fatal(reason wire.Reason)
}

// Timing holds the intervals of a link. A zero field means the default.
type Timing struct {
	BackoffMin time.Duration // first delay before a reconnect; 1 s
	BackoffMax time.Duration // longest delay; 60 s
	Stable     time.Duration // a connection that lasted this long resets the backoff; 5 s
	Ping       time.Duration // keep-alive; a silence of two intervals ends a connection; 25 s
	Write      time.Duration // one write; 10 s
	Dial       time.Duration // TCP, TLS, realm statement and upgrade together; 15 s
	Open       time.Duration // each answer while a connection is opened; 10 s
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

// Endpoint identifies a realm's server.
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
	// Proxy returns the proxy for a server or store; nil: connect directly.
	Proxy ProxyFunc
}

// Options configure a Link.
type Options struct {
	Endpoint Endpoint
	Account  string // local name
	Device   key.DeviceID
	Signer   Signer
	Handler  Handler
	Logger   *slog.Logger
	// Network describes the network of this machine, for example by its addresses. When the
	// text changes, the delay before the next attempt ends. nil: not checked.
	Network func() string
}
