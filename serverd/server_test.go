package serverd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/admin"
	"secmsg/rpc/wire"
	"secmsg/serverd"
	"secmsg/serverd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestInitRunStop(t *testing.T) {
	s := start(t, nil)
	c := s.client()
	if status := s.call(c, "GET", "/healthz", "", nil, nil); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	var realm wire.Realm
	if status := s.call(c, "GET", "/v1/realm", "", nil, &realm); status != 200 {
		t.Fatalf("realm: %d", status)
	}
	st, err := identity.VerifyStatement(s.root, realm.Issuing, realm.Statement, time.Now())
	if err != nil || len(st.Entry) != 1 || st.Entry[0] != "127.0.0.1:8443" {
		t.Errorf("statement %+v: %v", st, err)
	}
	// Use the first invite, from init.
	u := &user{s: s, addr: identity.Address{User: "first", Domain: domain}, identity: key.GenerateSigning(), signing: key.GenerateSigning()}
	var reg wire.Registered
	if status := s.call(c, "POST", "/v1/accounts", "", u.registration(s.invite), &reg); status != 200 {
		t.Fatalf("register: %d", status)
	}
	if _, err := identity.VerifyAccount(s.root, reg.Chain, u.addr, time.Now()); err != nil {
		t.Error(err)
	}
	token := u.token(c, wire.RoleAPI)

	// A restart keeps accounts, keys and tokens, and invalidates nonces.
	s.stop()
	if _, err := os.Stat(serverd.AdminSocket(s.dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the admin socket is left behind: %v", err)
	}
	s.run(nil)
	if status := s.call(s.client(), "GET", "/v1/contacts", token, nil, nil); status != 200 {
		t.Errorf("token after the restart: %d", status)
	}
}

// E20: a revoked token stays invalid, also after a restart.
func TestRevokedTokenStaysDead(t *testing.T) {
	s := start(t, nil)
	u := s.join("alice")
	c := s.client()
	old := u.token(c, wire.RoleAPI)
	second, exchange := key.GenerateSigning(), key.GenerateExchange().Public()
	previous := identity.ManifestHash(u.manifest)
	next, err := identity.Manifest{Address: u.addr, Version: 2, Previous: previous, Time: time.Now(), Devices: []identity.Device{
		{ID: key.NewDeviceID(second.Public(), exchange), Signing: second.Public(), Exchange: exchange, Name: "second", Added: time.Now()},
	}}.Sign(u.identity)
	if err != nil {
		t.Fatal(err)
	}
	if status := s.call(c, "PUT", "/v1/manifest", old, wire.PutManifest{Previous: previous[:], Manifest: next}, nil); status != 204 {
		t.Fatalf("manifest: %d", status)
	}
	if status := s.call(c, "GET", "/v1/contacts", old, nil, nil); status != 401 {
		t.Errorf("at once: %d", status)
	}
	s.stop()
	s.run(nil)
	if status := s.call(s.client(), "GET", "/v1/contacts", old, nil, nil); status != 401 {
		t.Errorf("after the restart: %d", status)
	}
}

func TestDirectoryRules(t *testing.T) {
	dir, _ := initDir(t)
	open := func() error {
		srv, err := serverd.Open(t.Context(), serverConfig(t, dir, nil), slog.New(slog.DiscardHandler))
		if err == nil {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return srv.Serve(ctx)
		}
		return err
	}
	hinted := func(err error, hint string) {
		t.Helper()
		if got, theirs := serverd.Explain(err); !theirs || !strings.Contains(got, hint) {
			t.Errorf("%v: hint %q", err, got)
		}
	}
	if _, err := serverd.Init(t.Context(), serverd.InitOptions{Dir: dir, Domain: domain, Now: time.Now()}); !errors.Is(err, serverd.ErrInUse) {
		t.Errorf("init over a server: %v", err)
	}
	if err := open(); err != nil {
		t.Errorf("a good directory: %v", err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	hinted(open(), "chmod 700")
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chmod(filepath.Join(dir, "issuing.key"), 0o640)); err != nil {
		t.Fatal(err)
	}
	hinted(open(), "chmod 600")
	if err := os.Chmod(filepath.Join(dir, "issuing.key"), 0o600); err != nil {
		t.Fatal(err)
	}

	cfg := serverConfig(t, dir, nil)
	srv, err := serverd.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := open(); !errors.Is(err, serverd.ErrRunning) {
		t.Errorf("two servers on one directory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Serve(ctx); err != nil {
		t.Error(err)
	}

	loose := filepath.Join(t.TempDir(), "loose")
	if err := os.Mkdir(loose, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = serverd.Init(t.Context(), serverd.InitOptions{Dir: loose, Domain: domain, Now: time.Now()})
	hinted(err, "chmod 700")
	for _, o := range []serverd.InitOptions{{Domain: "Not A Domain"}, {Domain: domain, Address: "no port:x"}, {Domain: "192.0.2.1"}} {
		o.Dir, o.Now = filepath.Join(t.TempDir(), "x"), time.Now()
		if _, err := serverd.Init(t.Context(), o); !errors.Is(err, identity.ErrFormat) {
			t.Errorf("%+v: %v", o, err)
		}
		if _, err := os.Stat(o.Dir); err == nil {
			t.Errorf("%+v left a directory behind", o)
		}
	}
	hinted(errors.Join(serverd.CheckDir(t.TempDir())), "serverd init")
}

func TestAdminSocket(t *testing.T) {
	s := start(t, nil)
	info, err := os.Stat(serverd.AdminSocket(s.dir))
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&fs.ModeSocket == 0 {
		t.Fatalf("socket: %v %v", info.Mode(), err)
	}
	ctx, c := t.Context(), s.admin()
	u := s.join("alice")
	s.join("bob")
	users, err := c.Users(ctx, "")
	if err != nil || len(users.Users) != 2 || users.Next != "" || users.Users[0].Address != "alice@"+domain || users.Users[0].Fingerprint != u.identity.Public().Fingerprint() {
		t.Errorf("%+v %v", users, err)
	}
	one, err := c.User(ctx, "alice")
	if err != nil || len(one.Devices) != 1 || one.Devices[0].Name != "laptop" || one.Certificate.IsZero() {
		t.Errorf("%+v %v", one, err)
	}
	if d, err := c.Devices(ctx, "alice"); err != nil || len(d.Devices) != 1 || d.Devices[0].ID != u.devices[0].ID.String() {
		t.Errorf("%+v %v", d, err)
	}
	web := s.client()
	token := u.token(web, wire.RoleAPI)
	for _, step := range []struct {
		do     func() error
		status int
	}{
		{func() error { return c.Suspend(ctx, "alice") }, 403},
		{func() error { return c.Resume(ctx, "alice") }, 200},
		{func() error { return c.DeleteUser(ctx, "alice") }, 401},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if status := s.call(web, "GET", "/v1/contacts", token, nil, nil); status != step.status {
			t.Errorf("got %d, want %d", status, step.status)
		}
	}
	code := func(err error, want admin.Code) {
		t.Helper()
		if e, ok := errors.AsType[*admin.Error](err); !ok || e.Code != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	_, err = c.User(ctx, "alice")
	code(err, admin.CodeNotFound)
	_, err = c.Devices(ctx, "../bob")
	code(err, admin.CodeNotFound)
	code(c.Suspend(ctx, "nobody"), admin.CodeNotFound)
	code(c.DeleteUser(ctx, "nobody"), admin.CodeNotFound)
	code(c.RevokeInvite(ctx, "nothing"), admin.CodeNotFound)
	for _, bad := range []admin.CreateInvite{{Uses: 0, LifeSec: 60}, {Uses: 1 << 20, LifeSec: 60}, {Uses: 1}, {Uses: 1, LifeSec: 1 << 62}, {Uses: 1, LifeSec: -1}} {
		_, err = c.CreateInvite(ctx, bad)
		code(err, admin.CodeMalformed)
	}
	made, err := c.CreateInvite(ctx, admin.CreateInvite{Uses: 2, LifeSec: 60})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RevokeInvite(ctx, made.ID); err != nil {
		t.Error(err)
	}
	inv, err := identity.ParseInvite(made.Invite)
	if err != nil || inv.Addr != "127.0.0.1:8443" {
		t.Fatalf("%s: %v", inv.Addr, err)
	}
	late := &user{s: s, addr: identity.Address{User: "late", Domain: domain}, identity: key.GenerateSigning(), signing: key.GenerateSigning()}
	if status := s.call(web, "POST", "/v1/accounts", "", late.registration(inv), nil); status != 403 {
		t.Errorf("revoked invite: %d", status)
	}
	list, err := c.Invites(ctx)
	states := map[admin.InviteState]int{}
	for _, i := range list.Invites {
		states[i.State]++
	}
	if err != nil || states[admin.InviteOpen] != 1 || states[admin.InviteUsed] != 2 || states[admin.InviteRevoked] != 1 {
		t.Errorf("%v %v", states, err)
	}
	stats, err := c.Stats(ctx)
	if err != nil || !stats.Healthy || stats.Counters["api"]["answers_ok"] == 0 || stats.Counters["connections"]["accepted"] == 0 || stats.Counters["relay"] == nil {
		t.Errorf("%+v %v", stats, err)
	}
	gone := admin.NewClient(filepath.Join(t.TempDir(), "nothing.sock"))
	if _, err := gone.Stats(ctx); !errors.Is(err, admin.ErrUnreachable) {
		t.Errorf("no server: %v", err)
	}
}

// Not offered by the public listener: old TLS, HTTP/2, debug pages (E17), access by browsers (E19), and
// the relay without its token.
func TestPublicListener(t *testing.T) {
	s := start(t, nil)
	old := s.tlsConfig()
	old.MaxVersion = tls.VersionTLS12
	if c, err := tls.Dial("tcp", s.addr, old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.2 was accepted")
	}
	h2 := s.tlsConfig()
	h2.NextProtos = []string{"h2", "http/1.1"}
	conn, err := tls.Dial("tcp", s.addr, h2)
	if err != nil {
		t.Fatal(err)
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("negotiated %q", p)
	}
	_ = conn.Close()
	c := s.client()
	for _, path := range []string{"/debug/pprof/", "/debug/vars", "/metrics", "/users", "/stats", "/invites"} {
		if status := s.call(c, "GET", path, "", nil, nil); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	u := s.join("alice")
	dialer := websocket.Dialer{TLSClientConfig: s.tlsConfig(), HandshakeTimeout: 5 * time.Second}
	dial := func(path, token, origin string) int {
		t.Helper()
		h := http.Header{}
		if token != "" {
			h.Set("Authorization", "Bearer "+token)
		}
		if origin != "" {
			h.Set("Origin", origin)
		}
		ws, resp, err := dialer.Dial("wss://"+s.addr+path, h)
		if err == nil {
			_ = ws.Close()
			return http.StatusSwitchingProtocols
		}
		if resp == nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	contact := u.token(c, wire.RoleContact)
	for _, row := range []struct {
		path, token, origin string
		status              int
	}{
		{"/v1/contact", "", "", 401}, {"/v1/contact", "x", "", 401}, {"/v1/replica", contact, "", 401},
		{"/v1/contact", u.token(c, wire.RoleAPI), "", 401}, {"/v1/contact", contact, "https://" + domain, 403}, {"/v1/contact", contact, "", 101},
	} {
		if got := dial(row.path, row.token, row.origin); got != row.status {
			t.Errorf("%s: got %d, want %d", row.path, got, row.status)
		}
	}
}

// E1 at small size: many connections that send a byte from time to time do not keep others out, and are
// closed when their time is over.
func TestSlowloris(t *testing.T) {
	s := start(t, func(c *config.Server) {
		c.Limits.Header, c.Limits.Body = 500*time.Millisecond, 500*time.Millisecond
	})
	const slow = 60
	closed := make(chan struct{}, slow)
	for i := range slow {
		raw, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = raw.Close() })
		var c net.Conn = raw
		send := []byte("P")
		switch i % 3 {
		case 1: // in the header
			c = tls.Client(raw, s.tlsConfig())
		case 2: // in the body
			c = tls.Client(raw, s.tlsConfig())
			send = []byte("POST /v1/challenges HTTP/1.1\r\nHost: localhost\r\nSecmsg-Protocol: 1\r\nContent-Length: 100\r\n\r\n{")
		}
		go func() {
			defer func() { closed <- struct{}{} }()
			if _, err := c.Write(send); err != nil {
				return
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err := io.Copy(io.Discard, c)
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Error("a slow connection was not closed")
			}
		}()
	}
	began := time.Now()
	if status := s.call(s.client(), "GET", "/v1/realm", "", nil, nil); status != 200 || time.Since(began) > time.Second {
		t.Errorf("a new client: %d after %v", status, time.Since(began))
	}
	for range slow {
		<-closed
	}
}

// The bounds of connections without a token; a connection with a token does not count.
func TestConnectionBounds(t *testing.T) {
	s := start(t, func(c *config.Server) { c.Limits.Connections.PerAddress = 4 })
	u := s.join("alice")
	var kept []*http.Client
	for range 6 { // each holds a connection that has shown a token
		c := s.client()
		token := u.token(c, wire.RoleAPI)
		if status := s.call(c, "GET", "/v1/contacts", token, nil, nil); status != 200 {
			t.Fatal(status)
		}
		kept = append(kept, c)
	}
	open := func() bool {
		c, err := tls.Dial("tcp", s.addr, s.tlsConfig())
		if err != nil {
			return false
		}
		t.Cleanup(func() { _ = c.Close() })
		return true
	}
	n := 0
	for n < 10 && open() {
		n++
	}
	if n > 4 {
		t.Errorf("%d connections without a token", n)
	}
	stats, err := s.admin().Stats(t.Context())
	if err != nil || stats.Counters["connections"]["refused"] == 0 || stats.Counters["connections"]["open"] < 6 {
		t.Errorf("%+v %v", stats.Counters["connections"], err)
	}
	for _, c := range kept {
		if status := s.call(c, "GET", "/healthz", "", nil, nil); status != 200 {
			t.Error("a connection with a token was closed")
		}
	}
}

func TestNewConnectionsAreLimited(t *testing.T) {
	s := start(t, func(c *config.Server) { c.Limits.Connections.New = config.Rate{Burst: 5, Every: time.Hour} })
	good := 0
	for range 10 {
		if c, err := tls.Dial("tcp", s.addr, s.tlsConfig()); err == nil {
			good++
			_ = c.Close()
		}
	}
	if good != 5 {
		t.Errorf("%d of 10", good)
	}
}

// Behind a proxy: plain HTTP on loopback or a Unix socket, with the same routes, and without a TLS
// listener if none is configured.
func TestPlainListener(t *testing.T) {
	s := start(t, func(c *config.Server) {
		c.Listen, c.ListenPlain = "", "unix:proxy.sock"
		c.Limits.Logins = config.Rate{Burst: 1, Every: time.Hour}
	})
	if s.addr != "" {
		t.Fatalf("listens on %s", s.addr)
	}
	path := filepath.Join(s.dir, "proxy.sock")
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr, Timeout: 5 * time.Second}
	try := func(client string) int {
		req, err := http.NewRequest("POST", "http://"+domain+"/v1/challenges", strings.NewReader(`{"account":"a","device":"b"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Secmsg-Protocol", "1")
		req.Header.Set("X-Forwarded-For", client)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for i, row := range []struct {
		client string
		status int
	}{{"192.0.2.1", 200}, {"192.0.2.1", 429}, {"192.0.2.2", 200}, {"192.0.2.9, 192.0.2.2", 429}} {
		if got := try(row.client); got != row.status {
			t.Errorf("request %d: %d", i, got)
		}
	}
	if status := callURL(t, c, "GET", "http://"+domain+"/healthz", "", nil, nil); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

// A role that is not served has no routes.
func TestRoles(t *testing.T) {
	s := start(t, func(c *config.Server) { c.Roles = []string{config.RoleRelay} })
	c := s.client()
	for path, status := range map[string]int{"/healthz": 200, "/v1/realm": 404, "/v1/contact": 401} {
		if got := s.call(c, "GET", path, "", nil, nil); got != status {
			t.Errorf("relay only: %s: %d", path, got)
		}
	}
	s.stop()
	s.run(func(c *config.Server) { c.Roles = []string{config.RoleAPI} })
	c = s.client()
	for path, status := range map[string]int{"/healthz": 200, "/v1/realm": 200, "/v1/contact": 404} {
		if got := s.call(c, "GET", path, "", nil, nil); got != status {
			t.Errorf("API only: %s: %d", path, got)
		}
	}
}

// TestClockIsConfirmed: a server that starts at an implausible time reports it until the administrator
// confirms the clock; a restart does not confirm it.
func TestClockIsConfirmed(t *testing.T) {
	s := start(t, nil)
	s.stop()
	st, err := store.Open(t.Context(), filepath.Join(s.dir, "server.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	saved, err := st.ClockState(t.Context())
	if err != nil || saved.Held || time.Since(saved.At).Abs() > time.Minute {
		t.Errorf("saved at the end: %+v %v", saved, err)
	}
	if err := errors.Join(st.SetClockState(t.Context(), store.ClockState{At: time.Now().Add(-30 * 24 * time.Hour)}), st.Close()); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"started", "started again"} {
		s.run(nil)
		stats, err := s.admin().Stats(t.Context())
		if err != nil || stats.Healthy || time.Since(stats.Time.Time) < 29*24*time.Hour {
			t.Errorf("%s: %+v %v", what, stats, err)
		}
		for _, c := range stats.Checks {
			if c.OK == (c.Name == "clock") || c.Name == "clock" && !strings.Contains(c.Message, "admin check --confirm-clock") {
				t.Errorf("%s: %+v", what, c)
			}
		}
		if what == "started" {
			s.stop()
		}
	}
	if status := s.call(s.client(), "GET", "/healthz", "", nil, nil); status != 503 {
		t.Errorf("healthz: %d", status)
	}
	r, err := s.admin().ConfirmClock(t.Context())
	if err != nil || time.Since(r.Time.Time).Abs() > time.Minute || r.MovedSec < 29*24*3600 {
		t.Errorf("%+v %v", r, err)
	}
	if stats, err := s.admin().Stats(t.Context()); err != nil || !stats.Healthy {
		t.Errorf("confirmed: %+v %v", stats, err)
	}
}
