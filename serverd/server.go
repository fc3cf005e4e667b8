package serverd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"secmsg/config"
	rpcadmin "secmsg/rpc/admin"
	"secmsg/serverd/admin"
	"secmsg/serverd/api"
	"secmsg/serverd/ca"
	"secmsg/serverd/clock"
	"secmsg/serverd/limit"
	"secmsg/serverd/media"
	"secmsg/serverd/relay"
	"secmsg/serverd/stats"
	"secmsg/serverd/store"
)

// Server is a server whose directory is locked and whose listeners are open.
type Server struct {
	cfg    config.Server // constant
	logger *slog.Logger
	wall   func() time.Time // for certificates and statements
	clock  *clock.Clock     // for everything else

	unlock func() error
	store  *store.SQLite
	ca     *ca.CA
	api    *api.API
	relay  *relay.Relay  // nil unless served
	blobs  *blobs        // nil unless served
	media  *media.Server // nil unless served
	stats  *stats.Registry
	gate   *gate

	public, plain, admin net.Listener // public and plain may be nil
}

// Open prepares a server: it checks and locks the directory, opens store and CA, and listens.
// Connections wait until Serve. It returns ErrNoServer, ErrRunning, store.ErrTooNew, a
// *config.LooseError or a *LooseFileError, among others; then everything is closed again.
func Open(ctx context.Context, cfg config.Server, logger *slog.Logger) (s *Server, err error) {
	if err := CheckDir(cfg.Data); err != nil {
		return nil, err
	}
	s = &Server{cfg: cfg, logger: logger, wall: time.Now, stats: stats.New(time.Now)}
	defer func() {
		if err != nil {
			err, s = errors.Join(err, s.close(ctx)), nil
		}
	}()
	if s.unlock, err = lock(cfg.Data); err != nil {
		return s, err
	}
	if s.store, err = store.Open(ctx, filepath.Join(cfg.Data, storeFile), store.Options{}); err != nil {
		return s, err
	}
	if s.clock, err = clock.Open(ctx, s.store, s.wall, logger.With("part", "clock")); err != nil {
		return s, err
	}
	if err := s.openRoles(ctx); err != nil {
		return s, err
	}
	s.observe()
	return s, s.listen(ctx)
}

// Run opens a server and serves until ctx ends.
func Run(ctx context.Context, cfg config.Server, logger *slog.Logger) error {
	s, err := Open(ctx, cfg, logger)
	if err != nil {
		return err
	}
	return s.Serve(ctx)
}

// Addr returns the address of the public listener, or nil if there is none.
func (s *Server) Addr() net.Addr { return addrOf(s.public) }

// PlainAddr returns the address of the listener for a reverse proxy, or nil if there is none.
func (s *Server) PlainAddr() net.Addr { return addrOf(s.plain) }

func addrOf(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// openRoles opens the CA, the media server, the API and the relay.
func (s *Server) openRoles(ctx context.Context) error {
	address := s.cfg.Address
	if address == "" {
		address = s.cfg.Domain
	}
	address, err := fullAddress(address, s.cfg.Domain)
	if err != nil {
		return err
	}
	s.cfg.Address = address
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	s.ca, err = ca.Open(ca.Options{
		Dir: s.cfg.Data, Domain: s.cfg.Domain, Entry: []string{address}, Hosts: certificateHosts(host),
		TLSCert: s.path(s.cfg.TLS.Cert), TLSKey: s.path(s.cfg.TLS.Key), Also: s.paths(s.cfg.TLS.Also),
		StatementLife: s.cfg.Limits.Statement, Now: s.wall, Logger: s.logger.With("part", "ca"),
	})
	if err != nil {
		return err
	}
	tokenKey, err := readTokenKey(s.cfg.Data)
	if err != nil {
		return err
	}
	blobOptions, err := s.openBlobs(tokenKey)
	if err != nil {
		return err
	}
	turnOptions, err := s.openTurn(ctx)
	if err != nil {
		return err
	}
	s.gate = newGate(s.cfg.Limits.Connections, s.clock.Now)
	s.api, err = api.New(api.Options{
		Store: s.store, CA: s.ca, Domain: s.cfg.Domain, Hosts: []string{host}, TokenKey: tokenKey,
		Limits: apiLimits(s.cfg.Limits), Hooks: s.hooks(), Blobs: blobOptions, Turn: turnOptions,
		Healthy: s.stats.Healthy, Warnings: s.mediaWarnings, Now: s.clock.Now, Logger: s.logger.With("part", "api"),
	})
	if err != nil {
		return err
	}
	return s.openRelay()
}

// path resolves a path of the configuration against the data directory.
func (s *Server) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.cfg.Data, p)
}

func (s *Server) paths(list []string) []string {
	out := make([]string, 0, len(list))
	for _, p := range list {
		out = append(out, s.path(p))
	}
	return out
}

// apiLimits returns the API's part of the configuration.
func apiLimits(l config.ServerLimits) api.Limits {
	rate := func(r config.Rate) limit.Rate { return limit.Rate(r) }
	return api.Limits{
		Lookups: rate(l.Lookups), Bundles: rate(l.Bundles), Registration: rate(l.Registration), Manifests: rate(l.Manifests), Logins: rate(l.Logins),
		Contacts: l.Contacts, OneTimeKeys: l.OneTimeKeys, TokenLife: l.TokenLife, NonceLife: l.NonceLife,
		DeviceCache: l.DeviceCache, StoreGrace: l.StoreGrace, Body: l.Body,
	}
}

// observe registers counters and health checks.
func (s *Server) observe() {
	s.stats.Check("store", s.store.Ping)
	s.stats.Check("clock", s.checkClock)
	s.stats.Warnings(s.ca.Problems)
	s.stats.Warnings(upgraded)
	s.stats.Counters("connections", s.gate.counters)
	s.stats.Counters("api", s.api.Counters)
	s.stats.Counters("process", processCounters)
}

func (s *Server) serves(role string) bool { return slices.Contains(s.cfg.Roles, role) }

// Serve serves until ctx ends or a listener fails, then stops cleanly: it accepts no new requests,
// sends a Bye on every socket, and makes everything in flight durable.
func (s *Server) Serve(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var owned sync.WaitGroup
	owned.Go(func() { s.ca.Run(work) })
	owned.Go(func() { s.clock.Run(work) })
	owned.Go(func() { keepMemory(work) })
	owned.Go(func() { s.blobs.run(work) })
	owned.Go(func() { s.runMedia(work) })

	servers := s.httpServers()
	failed := make(chan error, len(servers))
	for _, h := range servers {
		owned.Go(func() {
			if err := h.srv.Serve(h.l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listener %s: %w", h.l.Addr(), err)
			}
		})
	}
	s.ready()
	owned.Go(func() { s.watch(work) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.notify(daemon.SdNotifyStopping)
	s.logger.Info("stopping")

	stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Limits.Shutdown)
	defer cancelStop()
	err = errors.Join(err, s.shutdown(stop, servers))
	cancel()
	owned.Wait()
	err = errors.Join(err, s.close(stop))
	s.logger.Info("stopped")
	return err
}

// shutdown ends the HTTP servers and the relay's sockets.
func (s *Server) shutdown(ctx context.Context, servers []httpServer) error {
	var all sync.WaitGroup
	errs := make([]error, len(servers))
	for i, h := range servers {
		all.Go(func() {
			if h.srv.Shutdown(ctx) != nil {
				// Requests that take longer than the bound are aborted.
				errs[i] = h.srv.Close()
			}
		})
	}
	relayErr := s.closeRelay(ctx)
	all.Wait()
	return errors.Join(append(errs, relayErr)...)
}

// close closes what Open opened and Serve does not close. Listeners that a http.Server has already
// closed are closed again, without an error.
func (s *Server) close(ctx context.Context) error {
	var errs []error
	for _, l := range []net.Listener{s.public, s.plain, s.admin} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	errs = append(errs, s.closeRelay(ctx), s.blobs.close(), s.closeMedia())
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// clockHeld tells the relay not to sweep while the clock is held.
func (s *Server) clockHeld() bool {
	_, held := s.clock.Held()
	return held
}

// checkClock is the clock's part of the server's health.
func (s *Server) checkClock(context.Context) error {
	if ahead, held := s.clock.Held(); held {
		return fmt.Errorf("the wall clock jumped, or the server was down for over a week: the clock is %v ahead of the server's time, and nothing expires; "+
			"check the clock, then confirm it with: secmsg admin check --confirm-clock", ahead.Round(time.Second))
	}
	return nil
}

// ready informs the log and the service manager.
func (s *Server) ready() {
	attrs := []any{"domain", s.cfg.Domain, "fingerprint", s.ca.Fingerprint().String(), "roles", s.cfg.Roles}
	if s.public != nil {
		attrs = append(attrs, "listen", s.public.Addr().String())
	}
	if s.plain != nil {
		attrs = append(attrs, "listen_plain", s.plain.Addr().String())
	}
	s.logger.Info("READY", attrs...)
	for _, w := range s.ca.Problems() {
		s.logger.Warn(w)
	}
	s.notify(daemon.SdNotifyReady)
}

// upgraded warns of a server that still runs the binary from before an upgrade.
func upgraded() []string {
	if !config.BinaryReplaced() {
		return nil
	}
	return []string{"the secmsg binary was replaced since the server was started; restart the server to run the new one"}
}

// adminHandler returns the admin socket's routes.
func (s *Server) adminHandler() http.Handler {
	return admin.New(admin.Options{
		Store: s.store, Stats: s.stats, Domain: s.cfg.Domain, Address: s.cfg.Address, Fingerprint: s.ca.Fingerprint(),
		BlobQuota: int64(s.cfg.Limits.Blobs.Quota), Changed: s.accountChanged, Connected: s.connected, Trace: s.tracer(), ConfirmClock: s.clock.Confirm, Now: s.clock.Now, Logger: s.logger.With("part", "admin"),
	}).Handler()
}

// AdminSocket returns the path of the admin socket of a server directory.
func AdminSocket(dir string) string { return filepath.Join(dir, rpcadmin.SocketName) }
