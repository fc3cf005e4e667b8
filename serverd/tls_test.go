package serverd_test

import (
	"crypto/tls"
	"testing"
)

// TestHybridKeyExchange checks the negotiated key exchange with clients that support more and less.
func TestHybridKeyExchange(t *testing.T) {
	s := start(t, nil)
	for want, offered := range map[tls.CurveID][]tls.CurveID{
		tls.X25519MLKEM768: {tls.X25519, tls.CurveP256, tls.X25519MLKEM768}, tls.X25519: {tls.X25519}, tls.CurveP256: {tls.CurveP256},
	} {
		cfg := s.tlsConfig()
		cfg.CurvePreferences = offered
		c, err := tls.Dial("tcp", s.addr, cfg)
		if err != nil {
			t.Errorf("%v: %v", offered, err)
			continue
		}
		if got := c.ConnectionState(); got.CurveID != want || got.Version != tls.VersionTLS13 {
			t.Errorf("a client with %v: %v was negotiated, TLS %x", offered, got.CurveID, got.Version)
		}
		_ = c.Close()
	}
	if c, err := tls.Dial("tcp", s.addr, func() *tls.Config {
		cfg := s.tlsConfig()
		cfg.CurvePreferences = []tls.CurveID{tls.CurveP521}
		return cfg
	}()); err == nil {
		_ = c.Close()
		t.Error("a client with P-521 alone was served")
	}
}
