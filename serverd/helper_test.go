package serverd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/admin"
	"secmsg/rpc/wire"
	"secmsg/serverd"
	"secmsg/serverd/api"
)

const domain = "chat.example.com"

// server is a running server in its own directory.
type server struct {
	t      *testing.T
	dir    string
	addr   string
	plain  net.Addr
	invite identity.Invite
	root   *x509.Certificate
	cancel context.CancelFunc
	done   chan error
}

// initDir makes a server's directory.
func initDir(t *testing.T) (dir string, res serverd.InitResult) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "srv")
	res, err := serverd.Init(t.Context(), serverd.InitOptions{Dir: dir, Domain: domain, Address: "127.0.0.1:8443", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return dir, res
}

func serverConfig(t *testing.T, dir string, change func(*config.Server)) config.Server {
	t.Helper()
	cfg, err := config.LoadServer(dir, "", map[string]any{"listen": "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Limits.Registration = config.Rate{Burst: 1000, Every: time.Millisecond}
	cfg.Limits.Connections = config.ConnLimits{PerAddress: 1000, Total: 1000, New: config.Rate{Burst: 1000, Every: time.Millisecond}}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// start creates and runs a server, which stops when the test ends.
func start(t *testing.T, change func(*config.Server)) *server {
	t.Helper()
	dir, res := initDir(t)
	inv, err := identity.ParseInvite(res.Invite)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, invite: inv}
	data, err := os.ReadFile(filepath.Join(dir, "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if s.root, err = identity.ParseRoot(block.Bytes); err != nil {
		t.Fatal(err)
	}
	if identity.RootFingerprint(s.root).String() != res.Fingerprint || inv.Fingerprint.String() != res.Fingerprint {
		t.Fatal("the fingerprints differ")
	}
	s.run(change)
	t.Cleanup(s.stop)
	return s
}

func (s *server) run(change func(*config.Server)) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := serverd.Open(ctx, serverConfig(s.t, s.dir, change), slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	if a := srv.Addr(); a != nil {
		s.addr = a.String()
	}
	s.plain, s.cancel, s.done = srv.PlainAddr(), cancel, make(chan error, 1)
	go func() { s.done <- srv.Serve(ctx) }()
}

func (s *server) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("stop: %v", err)
		}
	case <-time.After(20 * time.Second):
		s.t.Error("the server does not stop")
	}
}

func (s *server) tlsConfig() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(s.root)
	return &tls.Config{RootCAs: pool, ServerName: domain, MinVersion: tls.VersionTLS12}
}

// client trusts only this realm's root. Each client has its own connections.
func (s *server) client() *http.Client {
	tr := &http.Transport{TLSClientConfig: s.tlsConfig(), ForceAttemptHTTP2: true}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (s *server) admin() *admin.Client {
	c := admin.NewClient(serverd.AdminSocket(s.dir))
	s.t.Cleanup(c.Close)
	return c
}

// call makes a REST call and decodes its answer.
func (s *server) call(c *http.Client, method, path, token string, in, out any) int {
	s.t.Helper()
	return callURL(s.t, c, method, "https://"+s.addr+path, token, in, out)
}

func callURL(t *testing.T, c *http.Client, method, url, token string, in, out any) int {
	t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(api.ProtocolHeader, "1")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode < 300 && out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// user is a registered account with one device.
type user struct {
	s        *server
	addr     identity.Address
	identity key.SigningPrivate
	signing  key.SigningPrivate
	manifest []byte
	devices  []identity.Device
}

// join registers an account with an invite from the admin socket.
func (s *server) join(name string) *user {
	s.t.Helper()
	made, err := s.admin().CreateInvite(s.t.Context(), admin.CreateInvite{Uses: 1, LifeSec: 60})
	if err != nil {
		s.t.Fatal(err)
	}
	inv, err := identity.ParseInvite(made.Invite)
	if err != nil {
		s.t.Fatal(err)
	}
	u := &user{s: s, addr: identity.Address{User: name, Domain: domain}, identity: key.GenerateSigning(), signing: key.GenerateSigning()}
	if status := s.call(s.client(), "POST", "/v1/accounts", "", u.registration(inv), nil); status != http.StatusOK {
		s.t.Fatalf("register: %d", status)
	}
	return u
}

func (u *user) registration(inv identity.Invite) wire.Register {
	t := u.s.t
	t.Helper()
	exchange := key.GenerateExchange().Public()
	u.devices = []identity.Device{{ID: key.NewDeviceID(u.signing.Public(), exchange), Signing: u.signing.Public(), Exchange: exchange, Name: "laptop", Added: time.Now()}}
	var err error
	if u.manifest, err = (identity.Manifest{Address: u.addr, Version: 1, Devices: u.devices, Time: time.Now()}).Sign(u.identity); err != nil {
		t.Fatal(err)
	}
	csr, err := identity.NewAccountCSR(u.identity, u.addr)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := identity.Registration{Address: u.addr, Identity: u.identity.Public(), Exchange: exchange}.Sign(u.signing)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Register{Token: inv.Token.Bytes(), Name: u.addr.User, CSR: csr, Manifest: u.manifest, Proof: proof}
}

// token gets a token for a role over the client's connection.
func (u *user) token(c *http.Client, role wire.Role) string {
	u.s.t.Helper()
	device := u.devices[0].ID.String()
	var ch wire.Challenged
	if status := u.s.call(c, "POST", "/v1/challenges", "", wire.Challenge{Account: u.addr.User, Device: device}, &ch); status != 200 {
		u.s.t.Fatalf("challenge: %d", status)
	}
	sig, err := identity.Challenge{Address: u.addr, Device: u.devices[0].ID, Role: string(role), Nonce: ch.Nonce}.Sign(u.signing)
	if err != nil {
		u.s.t.Fatal(err)
	}
	var tok wire.Token
	if status := u.s.call(c, "POST", "/v1/tokens", "", wire.TokenRequest{Account: u.addr.User, Device: device, Role: role, Nonce: ch.Nonce, Signature: sig}, &tok); status != 200 {
		u.s.t.Fatalf("token: %d", status)
	}
	return tok.Token
}
