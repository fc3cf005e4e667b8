package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/scripts/poll"
	"secmsg/serverd/api"
	"secmsg/serverd/blob"
	"secmsg/serverd/ca"
	"secmsg/serverd/clock/clocktest"
	"secmsg/serverd/limit"
	"secmsg/serverd/store"
)

const domain = "chat.example.com"

// brokenStore is a store whose device and account rows can become unreadable.
type brokenStore struct {
	store.Store
	mu     sync.Mutex
	broken bool
	reads  bool // completing a blob fails
}

var errBroken = errors.New("broken on purpose")

func (b *brokenStore) fail(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = on
}

func (b *brokenStore) readOnly(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads = on
}

func (b *brokenStore) CompleteBlob(ctx context.Context, id [16]byte, owner string, parts []store.BlobPart, now, expires time.Time) error {
	b.mu.Lock()
	reads := b.reads
	b.mu.Unlock()
	if reads {
		return errBroken
	}
	return b.Store.CompleteBlob(ctx, id, owner, parts, now, expires)
}

func (b *brokenStore) Device(ctx context.Context, id key.DeviceID) (store.Device, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return store.Device{}, errBroken
	}
	return b.Store.Device(ctx, id)
}

// realm is an API over a real store and CA.
type realm struct {
	t         testing.TB
	clock     *clocktest.Clock
	store     *brokenStore
	ca        *ca.CA
	api       *api.API
	log       *poll.Buffer
	fp        identity.Fingerprint
	contact   chan [2]string
	revoked   chan []key.DeviceID
	blobs     blob.Store
	server    *httptest.Server       // for tests that need a connection: the bytes of blobs
	swept     atomic.Int64           // how often the sweeper was called
	noTurn    atomic.Bool            // the media server does not work
	onTurn    atomic.Pointer[func()] // called while credentials are issued; nil for nothing
	manifests atomic.Int64           // newer manifests that the relay was informed of
}

// wide are limits that never apply.
func wide() api.Limits {
	r := limit.Rate{Burst: 1 << 20, Every: time.Millisecond}
	return api.Limits{Lookups: r, Bundles: r, Registration: r, Logins: r, TokenLife: time.Hour}
}

func newRealm(t testing.TB, limits api.Limits) *realm {
	t.Helper()
	return newBlobRealm(t, limits, api.BlobOptions{})
}

// newBlobRealm is newRealm with limits for blobs. Unless a store is given, it is a directory.
func newBlobRealm(t testing.TB, limits api.Limits, blobs api.BlobOptions) *realm {
	t.Helper()
	r := &realm{
		t: t, clock: clocktest.At(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)), log: new(poll.Buffer),
		contact: make(chan [2]string, 100), revoked: make(chan []key.DeviceID, 100),
	}
	dir := t.TempDir()
	var err error
	if r.fp, err = ca.Create(dir, domain, r.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if r.ca, err = ca.Open(ca.Options{Dir: dir, Domain: domain, Entry: []string{domain + ":8443"}, Now: r.clock.Now}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), filepath.Join(dir, "server.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	r.store = &brokenStore{Store: st}
	if r.blobs = blobs.Store; r.blobs == nil {
		r.blobs, err = blob.OpenDisk(blob.DiskOptions{
			Dir: filepath.Join(dir, "blobs"), Key: bytes.Repeat([]byte{9}, blob.KeySize), Now: r.clock.Now, Stall: 5 * time.Second,
			Allowed: func(ctx context.Context, account string) error { return r.api.MayTransfer(ctx, account) },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	blobs.Store, blobs.Swept = r.blobs, func() { r.swept.Add(1) }
	r.api, err = api.New(api.Options{
		Store: r.store, CA: r.ca, Domain: domain, TokenKey: bytes.Repeat([]byte{7}, api.TokenKeySize), Limits: limits,
		Hooks: api.Hooks{
			ContactsChanged: func(owner, peer string) { r.contact <- [2]string{owner, peer} },
			ManifestChanged: func(_ string, ids []key.DeviceID) {
				r.manifests.Add(1)
				if len(ids) > 0 {
					r.revoked <- ids
				}
			},
		},
		Blobs: &blobs,
		Turn: &api.TurnOptions{
			Rate: limit.Rate{Burst: 3, Every: time.Minute},
			Credentials: func(account string) (wire.TurnCredentials, error) {
				if r.noTurn.Load() {
					return wire.TurnCredentials{}, api.ErrNoTurn
				}
				if f := r.onTurn.Load(); f != nil {
					(*f)()
				}
				return wire.TurnCredentials{URLs: []string{"stun:127.0.0.1:3478"}, Username: "1:" + account + ":0", Password: "p", ExpiresMS: 1000}, nil
			},
		},
		Warnings: func() []string {
			if r.noTurn.Load() {
				return []string{"calls cannot be relayed"}
			}
			return nil
		},
		Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(r.api.Handler())
	t.Cleanup(func() {
		r.server.Close()
		if err := r.blobs.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// reply is the answer to a call.
type reply struct {
	status int
	code   wire.Code
	header http.Header
	body   []byte
}

// request makes a request that reaches the handlers.
func request(method, path, token string, body any) *http.Request {
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		rd = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			panic(err)
		}
		rd = bytes.NewReader(raw)
	}
	req := httptest.NewRequest(method, "https://"+domain+path, rd)
	req.Header.Set(api.ProtocolHeader, "1")
	if rd != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

func (r *realm) do(req *http.Request) reply {
	rec := httptest.NewRecorder()
	r.api.Handler().ServeHTTP(rec, req)
	out := reply{status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
	var e wire.ErrorBody
	if json.Unmarshal(out.body, &e) == nil && e.Error != nil {
		out.code = e.Error.Code
	}
	r.asDescribed(req, out)
	return out
}

// call makes a call and decodes its answer into out, which may be nil.
func (r *realm) call(method, path, token string, in, out any) reply {
	r.t.Helper()
	rep := r.do(request(method, path, token, in))
	if rep.status < 300 && out != nil {
		if err := json.Unmarshal(rep.body, out); err != nil {
			r.t.Fatalf("%s %s: %v in %s", method, path, err, rep.body)
		}
	}
	return rep
}

// want fails unless a reply has the status and code.
func want(t *testing.T, what string, rep reply, status int, code wire.Code) {
	t.Helper()
	if rep.status != status || rep.code != code {
		t.Errorf("%s: got %d %s, want %d %q", what, rep.status, rep.body, status, code)
	}
}

// invite stores an invite and returns its token.
func (r *realm) invite(uses int, life time.Duration) (token []byte, id string) {
	r.t.Helper()
	tok := identity.NewInviteToken()
	id = newDevice("").id().String()[:8]
	err := r.store.CreateInvite(r.t.Context(), store.Invite{ID: id, TokenHash: tok.Hash(), Uses: uses, Created: r.clock.Now(), Expires: r.clock.Now().Add(life)})
	if err != nil {
		r.t.Fatal(err)
	}
	return tok.Bytes(), id
}

// device is a device's private side.
type device struct {
	signing  key.SigningPrivate
	exchange key.ExchangePrivate
	name     string
}

func newDevice(name string) device {
	return device{signing: key.GenerateSigning(), exchange: key.GenerateExchange(), name: name}
}

func (d device) id() key.DeviceID { return key.NewDeviceID(d.signing.Public(), d.exchange.Public()) }

func (d device) entry(at time.Time) identity.Device {
	return identity.Device{ID: d.id(), Signing: d.signing.Public(), Exchange: d.exchange.Public(), Name: d.name, Added: at}
}

// user is an account's private side.
type user struct {
	r        *realm
	addr     identity.Address
	identity key.SigningPrivate
	device   device
	manifest []byte
	version  uint64
	// one key of each kind is enough for all prekeys, because the server does not compare them
	kem      key.KEMPublic
	exchange key.ExchangePublic
}

func (r *realm) newUser(name string) *user {
	r.t.Helper()
	u := &user{
		r: r, addr: identity.Address{User: name, Domain: domain}, identity: key.GenerateSigning(), device: newDevice("laptop"),
	}
	u.manifest = u.sign(identity.Manifest{Version: 1}, u.device)
	u.version = 1
	return u
}

func (u *user) sign(m identity.Manifest, devices ...device) []byte {
	u.r.t.Helper()
	m.Address, m.Time = u.addr, u.r.clock.Now()
	for _, d := range devices {
		m.Devices = append(m.Devices, d.entry(u.r.clock.Now()))
	}
	signed, err := m.Sign(u.identity)
	if err != nil {
		u.r.t.Fatal(err)
	}
	return signed
}

// next returns the manifest after the current one.
func (u *user) next(devices ...device) wire.PutManifest {
	u.r.t.Helper()
	previous := identity.ManifestHash(u.manifest)
	return wire.PutManifest{Previous: previous[:], Manifest: u.sign(identity.Manifest{Version: u.version + 1, Previous: previous}, devices...)}
}

func (u *user) registration(token []byte) wire.Register {
	u.r.t.Helper()
	csr, err := identity.NewAccountCSR(u.identity, u.addr)
	if err != nil {
		u.r.t.Fatal(err)
	}
	proof, err := identity.Registration{Address: u.addr, Identity: u.identity.Public(), Exchange: u.device.exchange.Public()}.Sign(u.device.signing)
	if err != nil {
		u.r.t.Fatal(err)
	}
	return wire.Register{Token: token, Name: u.addr.User, CSR: csr, Manifest: u.manifest, Proof: proof}
}

// join makes and registers an account.
func (r *realm) join(name string) *user {
	r.t.Helper()
	u := r.newUser(name)
	token, _ := r.invite(1, time.Hour)
	if rep := r.call("POST", "/v1/accounts", "", u.registration(token), nil); rep.status != http.StatusOK {
		r.t.Fatalf("register %s: %d %s", name, rep.status, rep.body)
	}
	return u
}

// tokenRequest asks for a challenge and signs it.
func (u *user) tokenRequest(d device, role wire.Role) wire.TokenRequest {
	u.r.t.Helper()
	var c wire.Challenged
	rep := u.r.call("POST", "/v1/challenges", "", wire.Challenge{Account: u.addr.User, Device: d.id().String()}, &c)
	if rep.status != http.StatusOK {
		u.r.t.Fatalf("challenge: %d %s", rep.status, rep.body)
	}
	sig, err := identity.Challenge{Address: u.addr, Device: d.id(), Role: string(role), Nonce: c.Nonce}.Sign(d.signing)
	if err != nil {
		u.r.t.Fatal(err)
	}
	return wire.TokenRequest{Account: u.addr.User, Device: d.id().String(), Role: role, Nonce: c.Nonce, Signature: sig}
}

func (u *user) token(role wire.Role) string {
	u.r.t.Helper()
	return u.tokenFor(u.device, role)
}

func (u *user) tokenFor(d device, role wire.Role) string {
	u.r.t.Helper()
	var tok wire.Token
	if rep := u.r.call("POST", "/v1/tokens", "", u.tokenRequest(d, role), &tok); rep.status != http.StatusOK {
		u.r.t.Fatalf("token: %d %s", rep.status, rep.body)
	}
	return tok.Token
}

// prekey makes a signed prekey of the user's device.
func (u *user) prekey(kind identity.PrekeyKind, id uint32, life time.Duration) []byte {
	u.r.t.Helper()
	p := identity.Prekey{Kind: kind, ID: id, Expires: u.r.clock.Now().Add(life)}
	if u.exchange.IsZero() {
		u.kem, u.exchange = key.GenerateKEM().Public(), key.GenerateExchange().Public()
	}
	if kind.IsKEM() {
		p.KEM = u.kem
	} else {
		p.Exchange = u.exchange
	}
	p, err := identity.SignPrekey(u.device.signing, u.device.id(), u.addr, p)
	if err != nil {
		u.r.t.Fatal(err)
	}
	b, err := p.Marshal()
	if err != nil {
		u.r.t.Fatal(err)
	}
	return b
}

// stock makes an upload with n one-time keys of each kind.
func (u *user) stock(n int) wire.PutPrekeys {
	p := wire.PutPrekeys{
		SignedPrekey:  u.prekey(identity.SignedExchange, 1, identity.PrekeyLifetime),
		LastResortKEM: u.prekey(identity.LastResortKEM, 1, identity.PrekeyLifetime),
		Steps:         1,
	}
	for i := range n {
		p.OneTimeExchange = append(p.OneTimeExchange, u.prekey(identity.OneTimeExchange, uint32(i+1), identity.PrekeyLifetime))
		p.OneTimeKEM = append(p.OneTimeKEM, u.prekey(identity.OneTimeKEM, uint32(i+1), identity.PrekeyLifetime))
	}
	return p
}
