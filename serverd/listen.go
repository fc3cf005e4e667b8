package serverd

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"secmsg/config"
	"secmsg/serverd/admin"
	"secmsg/serverd/api"
	"secmsg/serverd/relay"
)

const (
	// maxHeader bounds a request's header in bytes; ours contain a token of about 300.
	maxHeader = 16 << 10
	// proxySocketMode lets a proxy of the same group connect to a Unix socket.
	proxySocketMode = 0o660
	// adminTimeout bounds a request on the admin socket.
	adminTimeout = time.Minute
)

// httpServer is a server and its listener.
type httpServer struct {
	srv *http.Server
	l   net.Listener
}

// listen opens the listeners of the configuration.
func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	var err error
	if s.admin, err = admin.Listen(AdminSocket(s.cfg.Data), s.logger.With("part", "admin")); err != nil {
		return err
	}
	if s.cfg.Listen != "" {
		l, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		s.public = tls.NewListener(relay.Listener(s.gate.listener(l)), s.tlsConfig())
	}
	if s.cfg.ListenPlain == "" {
		return nil
	}
	path, isUnix := strings.CutPrefix(s.cfg.ListenPlain, "unix:")
	if !isUnix {
		if s.plain, err = lc.Listen(ctx, "tcp", s.cfg.ListenPlain); err != nil {
			return fmt.Errorf("listen_plain: %w", err)
		}
		return nil
	}
	path = s.path(path)
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		// The directory is locked, so this socket belongs to a dead server.
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("listen_plain: %w", err)
		}
	}
	if s.plain, err = lc.Listen(ctx, "unix", path); err != nil {
		return fmt.Errorf("listen_plain: %w", err)
	}
	if err := os.Chmod(path, proxySocketMode); err != nil {
		return fmt.Errorf("listen_plain: %w", err)
	}
	return nil
}

// tlsConfig is TLS 1.3 with the current certificate. It offers HTTP/1.1 only: the long-lived traffic is
// WebSockets, and HTTP/2 would only add attack surface. The hybrid key exchange is preferred, so that a
// recording of the traffic does not reveal to a later quantum computer who wrote to whom. The groups
// are listed here so that a change of the library's defaults cannot silently add or drop one.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256},
		NextProtos:       []string{"http/1.1"},
		GetCertificate:   s.ca.Certificate,
	}
}

// httpServers makes one for each listener.
func (s *Server) httpServers() []httpServer {
	list := []httpServer{{s.newHTTP(s.adminHandler(), "admin"), s.admin}}
	list[0].srv.WriteTimeout = adminTimeout
	if s.public != nil {
		srv := s.newHTTP(s.publicHandler(), "public")
		srv.ConnContext = withConn
		list = append(list, httpServer{srv, s.public})
	}
	if s.plain != nil {
		srv := s.newHTTP(s.publicHandler(), "plain")
		srv.BaseContext = func(net.Listener) context.Context { return api.TrustProxy(context.Background()) }
		list = append(list, httpServer{srv, s.plain})
	}
	return list
}

// newHTTP creates a server with a bound on every wait. A WebSocket leaves these bounds when it is
// hijacked; the relay has its own.
func (s *Server) newHTTP(h http.Handler, name string) *http.Server {
	l := s.cfg.Limits
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: l.Header,
		ReadTimeout:       l.Header + l.Body,
		WriteTimeout:      l.Header + l.Body + l.Write,
		IdleTimeout:       l.Idle,
		MaxHeaderBytes:    maxHeader,
		Protocols:         &protocols,
		ErrorLog:          log.New(httpLog{s.logger.With("listener", name)}, "", 0),
	}
}

// publicHandler routes between the roles.
func (s *Server) publicHandler() http.Handler {
	rest, sockets := s.api.Handler(), s.sockets()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case pathReplica, pathContact:
			if s.serves(config.RoleRelay) {
				sockets.ServeHTTP(w, r)
				return
			}
		case api.PathHealth:
		default:
			if !s.serves(config.RoleAPI) {
				http.NotFound(w, r)
				return
			}
		}
		rest.ServeHTTP(w, r)
	})
}
