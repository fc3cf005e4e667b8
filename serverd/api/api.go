package api

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

// Store is the part of the server's store that the API uses.
type Store interface {
	store.Accounts
	store.PrekeyStock
	store.ContactLists
	store.Blobs
	// RaiseSteps keeps the higher step count of a device (see store.Fences).
	RaiseSteps(ctx context.Context, steps map[key.DeviceID]uint64) error
}

// Authority is the part of the realm's CA that the API uses.
type Authority interface {
	Root() *x509.Certificate
	IssueAccount(csr []byte, addr identity.Address) ([][]byte, error)
	Reissue(pub key.SigningPublic, addr identity.Address) ([][]byte, error)
	Statement() (statement, issuing []byte, err error)
}

// Hooks are called after a change, so that the relay learns of it early. They must not block. Each may
// be nil.
type Hooks struct {
	// ContactsChanged: owner's entry for peer has changed.
	ContactsChanged func(owner, peer string)
	// ManifestChanged: the account has a newer manifest, which removed the dropped devices.
	ManifestChanged func(account string, dropped []key.DeviceID)
	// Authenticated: the connection of this request has shown a valid token or login.
	Authenticated func(ctx context.Context)
}

// Limits are the operator's options. A zero field means its default (rpc/DELIVERY.md, "Limits").
type Limits struct {
	Lookups      limit.Rate    // new names, per account
	Bundles      limit.Rate    // per requester and target
	Registration limit.Rate    // accounts, and devices linked to them; per address
	Manifests    limit.Rate    // new manifests, per account: the server keeps each
	Logins       limit.Rate    // challenges and token requests, per address
	Contacts     int           // entries of an account's list
	OneTimeKeys  int           // of each kind, per device
	TokenLife    time.Duration // of an access token
	NonceLife    time.Duration // of a challenge
	DeviceCache  time.Duration // how long a cached device row is used
	StoreGrace   time.Duration // how long a known device is accepted while the store cannot be read
	Body         time.Duration // time for a request's body to arrive
}

// DefaultLimits returns the defaults (rpc/DELIVERY.md, "Limits").
func DefaultLimits() Limits {
	return Limits{
		Lookups:      limit.Rate{Burst: 60, Every: time.Minute},
		Bundles:      limit.Rate{Burst: 6, Every: 10 * time.Minute},
		Registration: limit.Rate{Burst: 6, Every: 2 * time.Minute},
		Manifests:    limit.Rate{Burst: 60, Every: time.Minute},
		Logins:       limit.Rate{Burst: 600, Every: 100 * time.Millisecond},
		Contacts:     10_000,
		OneTimeKeys:  100,
		TokenLife:    10 * time.Minute,
		NonceLife:    time.Minute,
		DeviceCache:  2 * time.Second,
		StoreGrace:   10 * time.Second,
		Body:         20 * time.Second,
	}
}

// TokenKeySize is the length of the key that signs tokens, in bytes (RFC 7518, section 3.2: at least
// the size of the hash).
const TokenKeySize = 32

// Options configure an API.
type Options struct {
	Store    Store
	CA       Authority
	Domain   string
	Hosts    []string // additional names allowed in a Host header; the domain and loopback are always allowed
	TokenKey []byte   // TokenKeySize bytes
	Limits   Limits
	Hooks    Hooks
	Blobs    *BlobOptions                    // nil for no blobs
	Turn     *TurnOptions                    // nil for no media server
	Healthy  func(ctx context.Context) error // nil means always healthy
	Warnings func() []string                 // added to the "ok" of /healthz, which is public; nil for nothing
	Now      func() time.Time                // nil means time.Now
	Logger   *slog.Logger                    // nil for no log
}

// API serves the REST API.
type API struct {
	opt     Options // constant
	hosts   map[string]bool
	blobs   *BlobOptions // nil for no blobs
	handler http.Handler
	routes  []Route
	openapi []byte
	// describeErr reports a route without a description; used by New only.
	describeErr error

	lookups, bundles, registration, manifests, logins, turns, uploads *limit.Keyed[string]

	names   *nameCache
	nonces  *nonces
	devices *deviceCache
	// decoy is the key that a login is verified against if its account does not exist, so that it takes
	// as long as any other.
	decoy key.SigningPublic

	// answers counts responses by the first digit of their status.
	answers [6]atomic.Int64
	panics  atomic.Int64
}

// New creates an API. It returns an error if a required option is missing.
func New(opt Options) (*API, error) {
	if opt.Store == nil || opt.CA == nil || opt.Domain == "" {
		return nil, errors.New("api: store, CA and domain are required")
	}
	if len(opt.TokenKey) != TokenKeySize {
		return nil, errors.New("api: the token key has the wrong length")
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	opt.Limits = withDefaults(opt.Limits)
	l := opt.Limits
	a := &API{
		opt:          opt,
		hosts:        allowedHosts(opt.Domain, opt.Hosts),
		lookups:      limit.NewKeyed[string](l.Lookups, 0, opt.Now),
		bundles:      limit.NewKeyed[string](l.Bundles, 0, opt.Now),
		registration: limit.NewKeyed[string](l.Registration, 0, opt.Now),
		manifests:    limit.NewKeyed[string](l.Manifests, 0, opt.Now),
		logins:       limit.NewKeyed[string](l.Logins, 0, opt.Now),
		names:        newNameCache(),
		nonces:       newNonces(l.NonceLife, opt.Now),
		devices:      newDeviceCache(),
		decoy:        key.GenerateSigning().Public(),
	}
	if opt.Turn != nil {
		rate := opt.Turn.Rate
		if rate.Burst <= 0 || rate.Every <= 0 {
			rate = limit.Rate{Burst: 30, Every: 10 * time.Second}
		}
		a.turns = limit.NewKeyed[string](rate, 0, opt.Now)
	}
	if opt.Blobs != nil {
		b := opt.Blobs.withDefaults()
		a.blobs = &b
		a.uploads = limit.NewKeyed[string](b.New, 0, opt.Now)
	}
	if err := a.build(); err != nil {
		return nil, err
	}
	return a, nil
}

// Handler serves every route of the API, /healthz and /v1/openapi.json.
func (a *API) Handler() http.Handler { return a.handler }

// OpenAPI returns the API's description, OpenAPI 3.1 in JSON.
func (a *API) OpenAPI() []byte { return a.openapi }

// Routes returns the router's table.
func (a *API) Routes() []Route { return a.routes }

// Counters returns the API's part of the statistics.
func (a *API) Counters() map[string]int64 {
	return map[string]int64{
		"answers_ok":      a.answers[1].Load() + a.answers[2].Load() + a.answers[3].Load(),
		"answers_refused": a.answers[4].Load(),
		"answers_failed":  a.answers[5].Load() + a.answers[0].Load(),
		"panics":          a.panics.Load(),
	}
}

func withDefaults(l Limits) Limits {
	d := DefaultLimits()
	rate := func(r *limit.Rate, d limit.Rate) {
		if r.Burst <= 0 || r.Every <= 0 {
			*r = d
		}
	}
	rate(&l.Lookups, d.Lookups)
	rate(&l.Bundles, d.Bundles)
	rate(&l.Registration, d.Registration)
	rate(&l.Manifests, d.Manifests)
	rate(&l.Logins, d.Logins)
	for _, p := range []struct {
		v *int
		d int
	}{{&l.Contacts, d.Contacts}, {&l.OneTimeKeys, d.OneTimeKeys}} {
		if *p.v <= 0 {
			*p.v = p.d
		}
	}
	for _, p := range []struct {
		v *time.Duration
		d time.Duration
	}{{&l.TokenLife, d.TokenLife}, {&l.NonceLife, d.NonceLife}, {&l.DeviceCache, d.DeviceCache}, {&l.StoreGrace, d.StoreGrace}, {&l.Body, d.Body}} {
		if *p.v <= 0 {
			*p.v = p.d
		}
	}
	return l
}
