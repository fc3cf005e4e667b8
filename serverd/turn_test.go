package serverd_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"

	"secmsg/config"
	"secmsg/rpc/wire"
	"secmsg/scripts/loadgen"
	"secmsg/serverd"
)

// relayWith allocates at the server named in the credentials and returns the error.
func relayWith(t *testing.T, c wire.TurnCredentials) (net.PacketConn, error) {
	t.Helper()
	u, err := url.Parse(c.URLs[0])
	if err != nil || u.Scheme != "turn" {
		t.Fatalf("%v %v", c.URLs, err)
	}
	to, _, _ := strings.Cut(u.Opaque, "?")
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: to, TURNServerAddr: to, Username: c.Username, Password: c.Password, Conn: conn,
		LoggerFactory: &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); _ = conn.Close() })
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	return client.Allocate()
}

// With the API's credentials an account can relay until it is suspended.
func TestTurnServed(t *testing.T) {
	s := start(t, nil)
	c := s.client()
	bob := s.join("bob")
	token := bob.token(c, wire.RoleAPI)
	var got wire.TurnCredentials
	if status := s.call(c, "POST", "/v1/turn", token, nil, &got); status != http.StatusOK || len(got.URLs) != 3 {
		t.Fatalf("%d %+v", status, got)
	}
	if life := time.Until(time.UnixMilli(got.ExpiresMS)); life > 10*time.Minute || life < 9*time.Minute || !strings.Contains(got.Username, ":bob:") {
		t.Errorf("%s for %v", got.Username, life)
	}
	for _, u := range got.URLs {
		if !strings.Contains(u, ":127.0.0.1:") {
			t.Errorf("%s in a realm on this machine", u)
		}
	}
	relay, err := relayWith(t, got)
	if err != nil {
		t.Fatal(err)
	}
	if !net.ParseIP(relay.LocalAddr().(*net.UDPAddr).IP.String()).IsLoopback() {
		t.Errorf("relayed at %v", relay.LocalAddr())
	}
	stats, err := s.admin().Stats(t.Context())
	if err != nil || stats.Counters["media"]["allocations"] < 1 || len(stats.Warnings) > 0 {
		t.Errorf("%+v %v", stats, err)
	}
	if err := s.admin().Suspend(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := relayWith(t, got); err == nil {
		t.Error("a suspended account relays with old credentials")
	}
	if status := s.call(c, "POST", "/v1/turn", token, nil, &got); status == http.StatusOK {
		t.Error("a suspended account gets credentials")
	}
	_ = relay.Close()
}

// A busy port causes a warning; the server runs and reports it.
func TestMediaPortBusy(t *testing.T) {
	busy, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	s := start(t, func(c *config.Server) { c.Media.Listen = busy.LocalAddr().String() })
	c := s.client()
	token := s.join("bob").token(c, wire.RoleAPI)
	if status := s.call(c, "POST", "/v1/turn", token, nil, nil); status != http.StatusServiceUnavailable {
		t.Errorf("credentials: %d", status)
	}
	resp, err := c.Get("https://" + s.addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || string(text) != "ok\nwarning: calls cannot be relayed\n" {
		t.Errorf("health: %d %q %v", resp.StatusCode, text, err)
	}
	stats, err := s.admin().Stats(t.Context())
	if err != nil || !stats.Healthy || len(stats.Warnings) != 1 || !strings.Contains(stats.Warnings[0], "calls cannot be relayed") {
		t.Errorf("%+v %v", stats, err)
	}
}

// With an external media server we run none, and the same API issues credentials under its secret.
func TestTurnExternal(t *testing.T) {
	external := []string{"turn:turn.example.com:3478?transport=udp"}
	s := start(t, func(c *config.Server) {
		c.Turn.External, c.Turn.SecretFile = external, "turn.secret"
		if err := os.WriteFile(filepath.Join(c.Data, "turn.secret"), []byte("of both\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	c := s.client()
	var got wire.TurnCredentials
	if status := s.call(c, "POST", "/v1/turn", s.join("bob").token(c, wire.RoleAPI), nil, &got); status != http.StatusOK || len(got.URLs) != 1 || got.URLs[0] != external[0] {
		t.Errorf("%d %+v", status, got)
	}
	to, err := loadgen.StartCoturn(t.Context(), domain, "of both")
	if errors.Is(err, loadgen.ErrNoCoturn) {
		t.Log("NOT PROVED: no turnserver on this machine (Debian: apt install coturn), so the credentials were not tried")
	} else if err != nil {
		t.Error(err)
	} else {
		got.URLs = []string{"turn:" + to.Addr + "?transport=udp"}
		relay, err := relayWith(t, got)
		if err != nil {
			t.Errorf("coturn: %v", err)
		} else {
			_ = relay.Close()
		}
		if err := to.Close(); err != nil {
			t.Error(err)
		}
	}
	if stats, err := s.admin().Stats(t.Context()); err != nil || stats.Counters["media"] != nil {
		t.Errorf("an own media server runs: %+v %v", stats.Counters, err)
	}
}

// A server without the role has no such route; a missing secret file prevents the start.
func TestNoMedia(t *testing.T) {
	s := start(t, func(c *config.Server) { c.Roles = []string{config.RoleAPI} })
	c := s.client()
	if status := s.call(c, "POST", "/v1/turn", s.join("bob").token(c, wire.RoleAPI), nil, nil); status != http.StatusNotFound {
		t.Errorf("%d", status)
	}
	dir, _ := initDir(t)
	cfg := serverConfig(t, dir, func(c *config.Server) { c.Turn.SecretFile = "nowhere" })
	if srv, err := serverd.Open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("started: %v", srv.Addr())
	}
}
