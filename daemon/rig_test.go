package daemon_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/config"
	"secmsg/daemon"
	"secmsg/daemon/store"
	"secmsg/rpc/admin"
	"secmsg/rpc/local"
	"secmsg/scripts/poll"
	"secmsg/serverd"
)

func TestMain(m *testing.M) {
	store.GroupsTwice()
	goleak.VerifyTestMain(m)
}

const patience = 2 * time.Minute

// server is a real server on loopback, which can be stopped and started again.
type server struct {
	t       *testing.T
	dir     string
	address string

	cancel context.CancelFunc
	done   chan error
}

func newServer(t *testing.T) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := &server{t: t, dir: filepath.Join(t.TempDir(), "s"), address: ln.Addr().String()}
	check(t, ln.Close())
	_, err = serverd.Init(t.Context(), serverd.InitOptions{Dir: s.dir, Domain: "chat.example.com", Address: s.address, Now: time.Now()})
	check(t, err)
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	s.t.Helper()
	cfg := config.DefaultServer()
	cfg.Data, cfg.Domain, cfg.Address, cfg.Listen = s.dir, "chat.example.com", s.address, s.address
	// Daemons of these tests retry 50 times as often as real ones.
	cfg.Limits.Bundles = config.Rate{Burst: 1000, Every: time.Millisecond}
	cfg.Limits.Registration = config.Rate{Burst: 1000, Every: time.Millisecond}
	cfg.Limits.Connections.New = config.Rate{Burst: 1000, Every: time.Millisecond}
	running, err := serverd.Open(s.t.Context(), cfg, slog.New(slog.DiscardHandler))
	check(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- running.Serve(ctx) }()
}

func (s *server) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	if err := <-s.done; err != nil {
		s.t.Error("server:", err)
	}
}

func (s *server) invite() string {
	s.t.Helper()
	c := admin.NewClient(filepath.Join(s.dir, "admin.sock"))
	defer c.Close()
	out, err := c.CreateInvite(s.t.Context(), admin.CreateInvite{Uses: 1, LifeSec: 3600})
	check(s.t, err)
	return out.Invite
}

// profile is a home directory with a daemon that can be started and stopped.
type profile struct {
	t   *testing.T
	cfg config.Client

	cancel context.CancelFunc
	done   chan error
	client *local.Client
}

func newProfile(t *testing.T) *profile {
	t.Helper()
	return profileIn(t, filepath.Join(t.TempDir(), "p"))
}

func profileIn(t *testing.T, home string) *profile {
	t.Helper()
	p := &profile{t: t, cfg: config.DefaultClient()}
	var err error
	p.cfg.Paths, err = config.ResolvePaths(home)
	check(t, err)
	p.cfg.Intervals.ReconnectMin, p.cfg.Intervals.ReconnectMax = 20*time.Millisecond, 200*time.Millisecond
	t.Cleanup(p.stop)
	return p
}

// run starts the daemon and connects to it.
func (p *profile) run() *local.Client {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan error, 1)
	go func() { p.done <- daemon.Run(ctx, p.cfg, slog.New(slog.DiscardHandler)) }()
	poll.Until(p.t, "the daemon listens", func() bool {
		select {
		case err := <-p.done:
			p.done <- err
			p.t.Fatalf("daemon ended: %v", err)
		default:
		}
		var err error
		p.client, err = local.Dial(p.t.Context(), p.target())
		return err == nil
	})
	return p.client
}

// target is where the daemon of the profile is found.
func (p *profile) target() local.Target {
	return local.Target{Sockets: p.cfg.Paths.Sockets(), Profile: p.cfg.Paths.Data, Lock: p.cfg.Paths.Lock}
}

func (p *profile) stop() {
	if p.cancel == nil {
		return
	}
	if p.client != nil {
		_ = p.client.Close()
	}
	p.cancel()
	if err := <-p.done; err != nil {
		p.t.Error("daemon:", err)
	}
	p.cancel = nil
}

// joined is a running profile with an account.
func (s *server) joined(name string) *profile {
	s.t.Helper()
	p := newProfile(s.t)
	_, err := p.run().Join(s.t.Context(), local.JoinParams{Invite: s.invite(), Name: name})
	check(s.t, err)
	p.connected()
	return p
}

func (p *profile) status() local.AccountStatus {
	p.t.Helper()
	st, err := p.client.Status(p.t.Context())
	check(p.t, err)
	if len(st.Accounts) == 0 {
		return local.AccountStatus{}
	}
	return st.Accounts[0]
}

func (p *profile) connected() {
	p.t.Helper()
	poll.Until(p.t, "both connections stand", func() bool { return p.status().Connected })
}

func (p *profile) send(to, text, wait string) local.SendResult {
	p.t.Helper()
	out, err := p.client.Send(p.t.Context(), local.SendParams{Peers: []string{to}, Text: text, Wait: wait, Timeout: patience.Seconds()})
	check(p.t, err)
	return out.Results[0]
}

// texts returns what came from a peer and what went to him, in order.
func (p *profile) texts(peer string) (out []string) {
	p.t.Helper()
	h, err := p.client.History(p.t.Context(), local.HistoryParams{Peer: peer})
	check(p.t, err)
	for _, e := range h.Events {
		if e.Message != nil && e.Direction == local.DirectionIn {
			out = append(out, e.Message.Text)
		}
	}
	return out
}

// copyTo copies the files of a stopped profile.
func (p *profile) copyTo(home string) *profile {
	p.t.Helper()
	check(p.t, os.CopyFS(home, os.DirFS(p.cfg.Paths.Data)))
	check(p.t, filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	}))
	return profileIn(p.t, home)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code local.Code) *local.Error {
	t.Helper()
	e, ok := errors.AsType[*local.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("error %v, expected the code %s", err, code)
	}
	return e
}
