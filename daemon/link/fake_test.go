package link

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

const testDomain = "chat.example.com"

// realm is a certificate authority with a TLS key.
type realm struct {
	root, issuing *identity.Authority
	tls           tls.Certificate
	statement     []byte
}

func newRealm(t *testing.T, hosts ...string) *realm {
	t.Helper()
	now := time.Now()
	root, err := identity.NewRoot(testDomain, now)
	check(t, err)
	issuing, err := root.NewIssuing(testDomain, now)
	check(t, err)
	if hosts == nil {
		hosts = []string{"127.0.0.1"}
	}
	r := &realm{root: root, issuing: issuing, tls: serverCert(t, issuing, hosts)}
	r.sign(t)
	return r
}

func serverCert(t *testing.T, issuing *identity.Authority, hosts []string) tls.Certificate {
	t.Helper()
	priv := key.GenerateSigning()
	der, err := issuing.IssueServer(testDomain, hosts, priv.Public().Std(), time.Now())
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der, issuing.Cert.Raw}, PrivateKey: priv.Signer()}
}

// sign signs the statement with additional TLS keys.
func (r *realm) sign(t *testing.T, keys ...[32]byte) {
	t.Helper()
	now := time.Now()
	var err error
	r.statement, err = identity.RealmStatement{
		Domain: testDomain, Entry: []string{"127.0.0.1:8443"}, TLSKeys: keys, Issued: now, Expires: now.Add(time.Hour),
	}.Sign(r.issuing)
	check(t, err)
}

func (r *realm) fingerprint() identity.Fingerprint { return identity.RootFingerprint(r.root.Cert) }

// fake is a scripted server.
type fake struct {
	t      *testing.T
	realm  *realm
	server *httptest.Server
	device key.SigningPrivate
	id     key.DeviceID
	addr   identity.Address

	contact func(*peer) // script of a contact connection, after the upgrade
	replica func(*peer)
	rest    http.HandlerFunc // everything else
	revoked bool             // refuse tokens for good; set before the link starts

	mu    sync.Mutex
	paths []string // every request, in order of arrival
	seen  []string // every request line and header, to detect leaks
	conns []net.Conn
}

func newFake(t *testing.T, r *realm) *fake {
	t.Helper()
	f := &fake{t: t, realm: r, device: key.GenerateSigning(), id: key.DeviceID{1, 2, 3}, addr: identity.Address{User: "alice", Domain: testDomain}}
	f.contact = func(p *peer) { p.fence(); p.drain() }
	f.replica = func(p *peer) { p.opened(); p.drain() }
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.server.TLS = &tls.Config{Certificates: []tls.Certificate{r.tls}, MinVersion: tls.VersionTLS13}
	f.server.Config.ErrorLog = nil
	f.server.StartTLS()
	t.Cleanup(f.close)
	return f
}

func (f *fake) close() {
	f.mu.Lock()
	conns := f.conns
	f.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	f.server.Close()
}

func (f *fake) endpoint() Endpoint {
	return Endpoint{
		Server: f.server.Listener.Addr().String(), Realm: f.realm.fingerprint(), Domain: testDomain,
		Timing: Timing{
			BackoffMin: 5 * time.Millisecond, BackoffMax: 40 * time.Millisecond, Stable: time.Hour,
			Ping: 10 * time.Second, Write: 2 * time.Second, Dial: 5 * time.Second, Open: 2 * time.Second, Request: 5 * time.Second,
		},
	}
}

// SignChallenge implements Signer.
func (f *fake) SignChallenge(role wire.Role, nonce []byte) ([]byte, error) {
	return identity.Challenge{Address: f.addr, Device: f.id, Role: string(role), Nonce: nonce}.Sign(f.device)
}

func (f *fake) options(h Handler) Options {
	return Options{Endpoint: f.endpoint(), Account: "alice", Device: f.id, Signer: f, Handler: h}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.paths = append(f.paths, r.URL.Path)
	line := r.Method + " " + r.URL.String()
	for k, v := range r.Header {
		line += "\n" + k + ": " + strings.Join(v, ",")
	}
	f.seen = append(f.seen, line)
	f.mu.Unlock()
	switch r.URL.Path {
	case "/v1/realm":
		f.answer(w, wire.Realm{Protocol: 1, Root: f.realm.root.Cert.Raw, Issuing: f.realm.issuing.Cert.Raw,
			Statement: f.realm.statement, TimeMS: time.Now().UnixMilli()})
	case "/v1/challenges":
		f.answer(w, wire.Challenged{Nonce: make([]byte, identity.ChallengeNonceSize)})
	case "/v1/tokens":
		if f.revoked {
			f.refuse(w, http.StatusForbidden, wire.CodeRevoked)
			return
		}
		f.token(w, r)
	case "/v1/contact":
		f.upgrade(w, r, wire.RoleContact, f.contact)
	case "/v1/replica":
		f.upgrade(w, r, wire.RoleReplica, f.replica)
	default:
		if f.rest == nil {
			f.refuse(w, http.StatusNotFound, wire.CodeNotFound)
			return
		}
		f.rest(w, r)
	}
}

func (f *fake) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		f.t.Log("answer:", err)
	}
}

func (f *fake) refuse(w http.ResponseWriter, status int, code wire.Code) {
	w.WriteHeader(status)
	f.answer(w, wire.ErrorBody{Error: &wire.Error{Code: code, Message: "no", RetryAfter: 2.5}})
}

// token issues the token "role token" for a valid signature.
func (f *fake) token(w http.ResponseWriter, r *http.Request) {
	var req wire.TokenRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		f.refuse(w, http.StatusBadRequest, wire.CodeMalformed)
		return
	}
	err := identity.Challenge{Address: f.addr, Device: f.id, Role: string(req.Role), Nonce: req.Nonce}.Verify(f.device.Public(), req.Signature)
	if err != nil || req.Device != f.id.String() {
		f.refuse(w, http.StatusUnauthorized, wire.CodeUnauthorized)
		return
	}
	now := time.Now().UnixMilli()
	f.answer(w, wire.Token{Token: string(req.Role) + "-token", TimeMS: now, ExpiresMS: now + wire.TokenLife.Milliseconds()})
}

func (f *fake) upgrade(w http.ResponseWriter, r *http.Request, role wire.Role, script func(*peer)) {
	if r.Header.Get("Authorization") != "Bearer "+string(role)+"-token" {
		f.refuse(w, http.StatusUnauthorized, wire.CodeUnauthorized)
		return
	}
	up := websocket.Upgrader{}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		f.t.Log("upgrade:", err)
		return
	}
	f.mu.Lock()
	f.conns = append(f.conns, ws.NetConn())
	f.mu.Unlock()
	defer ws.Close()
	script(&peer{f: f, ws: ws})
}

// count returns the number of requests for a path.
func (f *fake) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, p := range f.paths {
		if p == path {
			n++
		}
	}
	return n
}

// peer is the server's end of a WebSocket.
type peer struct {
	f  *fake
	ws *websocket.Conn
}

func (p *peer) write(b []byte, err error) {
	if err == nil {
		err = p.ws.WriteMessage(websocket.BinaryMessage, b)
	}
	if err != nil {
		p.f.t.Log("fake write:", err)
	}
}

func (p *peer) contact(m *wire.ContactServer) { p.write(wire.Marshal(m)) }
func (p *peer) replica(m *wire.ReplicaServer) { p.write(wire.Marshal(m)) }

func (p *peer) bye(r wire.Reason, text string) {
	p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Bye{Bye: &wire.Bye{Reason: r, Text: text}}})
}

func (p *peer) readContact() *wire.ContactClient {
	_, b, err := p.ws.ReadMessage()
	if err != nil {
		return nil
	}
	m := new(wire.ContactClient)
	if err := wire.Unmarshal(b, m); err != nil {
		p.f.t.Error("client sent a bad frame:", err)
		return nil
	}
	return m
}

func (p *peer) readReplica() *wire.ReplicaClient {
	_, b, err := p.ws.ReadMessage()
	if err != nil {
		return nil
	}
	m := new(wire.ReplicaClient)
	if err := wire.Unmarshal(b, m); err != nil {
		p.f.t.Error("client sent a bad frame:", err)
		return nil
	}
	return m
}

// fence passes the fence with a fixed value and returns the value that the client
// presented.
func (p *peer) fence() *wire.Fence {
	m := p.readContact()
	if m.GetFence() == nil {
		p.f.t.Error("no fence first")
		return nil
	}
	value := []byte("fence value 0001")
	p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Issued{Issued: &wire.FenceIssued{Value: value, TimeMs: time.Now().UnixMilli()}}})
	if c := p.readContact(); string(c.GetConfirm().GetValue()) != string(value) {
		p.f.t.Error("fence not confirmed")
	}
	p.contact(&wire.ContactServer{Frame: &wire.ContactServer_Confirmed{Confirmed: &wire.FenceConfirmed{}}})
	return m.GetFence()
}

func (p *peer) opened() {
	m := p.readReplica()
	if string(m.GetOpen().GetValue()) != "fence value 0001" {
		p.f.t.Error("replica shows another value than was confirmed")
	}
	p.replica(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Opened{Opened: &wire.ReplicaOpened{TimeMs: time.Now().UnixMilli()}}})
}

// drain reads until the connection ends.
func (p *peer) drain() {
	for {
		if _, _, err := p.ws.ReadMessage(); err != nil {
			return
		}
	}
}

// recorder is a Handler that records its calls.
type recorder struct {
	mu     sync.Mutex
	value  []byte
	events []string
	// serverTimes holds the time that each new connection brought.
	serverTimes []time.Time

	ups       chan wire.Role
	downs     chan down
	delivered chan []*wire.Envelope
	results   chan []Result
	stale     chan string
	presence  chan []*wire.PresenceState
	fatal     chan wire.Reason
	caughtUp  chan struct{}
	deliver   func([]*wire.Envelope) error
}

type down struct {
	role wire.Role
	err  error
}

func newRecorder() *recorder {
	const room = 1024
	return &recorder{
		ups: make(chan wire.Role, room), downs: make(chan down, room), delivered: make(chan []*wire.Envelope, room),
		results: make(chan []Result, room), stale: make(chan string, room),
		presence: make(chan []*wire.PresenceState, room), caughtUp: make(chan struct{}, 64), fatal: make(chan wire.Reason, room),
	}
}

func (r *recorder) Fence(context.Context) ([]byte, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, 7, nil
}

func (r *recorder) StoreFence(_ context.Context, v []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value = v
	return nil
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, s)
}

func (r *recorder) Up(role wire.Role, serverTime time.Time) {
	r.note("up " + string(role))
	r.mu.Lock()
	r.serverTimes = append(r.serverTimes, serverTime)
	r.mu.Unlock()
	r.ups <- role
}
func (r *recorder) Down(role wire.Role, err error) {
	r.note("down " + string(role))
	r.downs <- down{role, err}
}

func (r *recorder) Deliver(_ context.Context, e []*wire.Envelope) (uint64, error) {
	if r.deliver != nil {
		if err := r.deliver(e); err != nil {
			return 0, err
		}
	}
	r.delivered <- e
	return 9, nil
}

func (r *recorder) Results(_ context.Context, x []Result)               { r.results <- x }
func (r *recorder) Stale(_ context.Context, account string, _ [][]byte) { r.stale <- account }
func (r *recorder) Presence(_ context.Context, s []*wire.PresenceState) { r.presence <- s }
func (r *recorder) CaughtUp()                                           { r.caughtUp <- struct{}{} }
func (r *recorder) Fatal(reason wire.Reason)                            { r.fatal <- reason }

// start runs a link until the test ends, or the returned function is called.
func start(t *testing.T, o Options) (*Link, <-chan error, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := New(o)
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- l.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l, ended, cancel
}

const patience = time.Minute

func get[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func up(t *testing.T, r *recorder) {
	t.Helper()
	for _, want := range []wire.Role{wire.RoleContact, wire.RoleReplica} {
		if got := get(t, r.ups, "connection"); got != want {
			t.Fatalf("%s came up, expected %s", got, want)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, expected %v", err, want)
	}
}
