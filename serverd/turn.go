package serverd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"secmsg/config"
	"secmsg/rpc/wire"
	"secmsg/serverd/api"
	"secmsg/serverd/limit"
	"secmsg/serverd/media"
)

// noRelay is the line that /healthz adds when calls cannot be relayed. Details are for the
// administrator only.
const noRelay = "calls cannot be relayed"

// openTurn opens the media server, if it is served, and returns the API's options for it, or nil if
// there is no media server to issue credentials for. If the media server cannot listen, the start does
// not fail; there is a warning.
func (s *Server) openTurn(ctx context.Context) (*api.TurnOptions, error) {
	secret, err := s.turnSecret()
	if err != nil {
		return nil, err
	}
	opt := &api.TurnOptions{Rate: limit.Rate(s.cfg.Limits.Turn.Credentials)}
	if external := s.cfg.Turn.External; len(external) > 0 {
		opt.Credentials = func(account string) (wire.TurnCredentials, error) {
			username, password, expires := media.Mint(secret, account, s.wall(), s.cfg.Limits.Turn.Lifetime)
			return wire.TurnCredentials{URLs: external, Username: username, Password: password, ExpiresMS: expires.UnixMilli()}, nil
		}
		return opt, nil
	}
	if !s.serves(config.RoleMedia) {
		return nil, nil
	}
	o, err := s.mediaOptions(secret)
	if err != nil {
		return nil, err
	}
	if s.media, err = media.New(o); err != nil {
		return nil, err
	}
	if err := s.media.Open(ctx); err != nil {
		s.logger.Warn("the media server cannot listen; it will retry", "error", err)
	}
	s.stats.Counters("media", s.media.Counters)
	s.stats.Warnings(s.media.Problems)
	opt.Credentials = s.turnCredentials
	return opt, nil
}

// turnSecret reads the configured secret, or returns nil if there is none.
func (s *Server) turnSecret() ([]byte, error) {
	t := s.cfg.Turn
	if t.SecretFile == "" {
		if t.Secret == "" {
			return nil, nil
		}
		return []byte(t.Secret), nil
	}
	text, err := os.ReadFile(s.path(t.SecretFile))
	if err != nil {
		return nil, fmt.Errorf("turn.secret_file: %w", err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 || len(text) > maxSecret {
		return nil, fmt.Errorf("turn.secret_file: %s contains no secret", filepath.Base(t.SecretFile))
	}
	return text, nil
}

// mediaOptions translates the validated configuration.
func (s *Server) mediaOptions(secret []byte) (media.Options, error) {
	c, l := s.cfg.Media, s.cfg.Limits.Turn
	first, last, err1 := c.Ports()
	public, err2 := c.Addresses()
	allow, err3 := c.Networks()
	if err := errors.Join(err1, err2, err3); err != nil {
		return media.Options{}, err
	}
	listen := c.Listen
	if host := loopbackHost(s.cfg.Listen); host != "" && listen == config.DefaultMediaListen {
		listen = net.JoinHostPort(host, "0")
	}
	return media.Options{
		Realm: s.cfg.Domain, Secret: secret, Listen: listen, Loopback: loopbackHost(listen) != "",
		Public: public, MinPort: first, MaxPort: last, Allow: allow,
		Limits: media.Limits{
			Allocations: l.Allocations, Total: l.Total, Bandwidth: int64(l.Bandwidth), Lifetime: l.Lifetime, Session: l.Session,
			Requests: limit.Rate(l.Requests),
		},
		Now: s.wall, Logger: s.logger.With("part", "media"),
	}, nil
}

// loopbackHost returns the address of a loopback HOST:PORT, else "".
func loopbackHost(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	if host == "localhost" {
		return "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return ip.Unmap().String()
	}
	return ""
}

// turnCredentials issues credentials for our own media server.
func (s *Server) turnCredentials(account string) (wire.TurnCredentials, error) {
	at := s.media.Addr()
	if !at.IsValid() {
		return wire.TurnCredentials{}, api.ErrNoTurn
	}
	username, password, expires := s.media.Mint(account)
	out := wire.TurnCredentials{Username: username, Password: password, ExpiresMS: expires.UnixMilli()}
	for _, host := range s.turnHosts(at) {
		hostPort := net.JoinHostPort(host, fmt.Sprint(at.Port()))
		out.URLs = append(out.URLs, "turn:"+hostPort+"?transport=udp", "turn:"+hostPort+"?transport=tcp", "stun:"+hostPort)
	}
	return out, nil
}

// turnHosts returns the names by which devices reach the media server: its public addresses, else the
// one address it listens on, else the host name in invites.
func (s *Server) turnHosts(at netip.AddrPort) []string {
	if len(s.cfg.Media.PublicAddress) > 0 {
		return s.cfg.Media.PublicAddress
	}
	host, _, err := net.SplitHostPort(s.cfg.Media.Listen)
	if ip, parseErr := netip.ParseAddr(host); err == nil && parseErr == nil && !ip.IsUnspecified() || loopbackHost(s.cfg.Media.Listen) != "" ||
		loopbackHost(s.cfg.Listen) != "" && s.cfg.Media.Listen == config.DefaultMediaListen {
		return []string{at.Addr().String()}
	}
	host, _, err = net.SplitHostPort(s.cfg.Address)
	if err != nil {
		return []string{s.cfg.Domain}
	}
	return []string{host}
}

// mediaWarnings is the media server's part of /healthz.
func (s *Server) mediaWarnings() []string {
	if s.media == nil || s.media.Status().Err == nil {
		return nil
	}
	return []string{noRelay}
}

// runMedia runs the media server until ctx ends.
func (s *Server) runMedia(ctx context.Context) {
	if s.media != nil {
		s.media.Run(ctx)
	}
}

// closeMedia closes the media server. A second call does nothing.
func (s *Server) closeMedia() error {
	if s.media == nil {
		return nil
	}
	return s.media.Close()
}

// dropCalls ends the relayed calls of an account that is suspended or deleted. If the store cannot
// tell, they are ended too; a call finds another path.
func (s *Server) dropCalls(account string) {
	if s.media != nil && s.api.MayTransfer(context.Background(), account) != nil {
		s.media.Drop(account)
	}
}
