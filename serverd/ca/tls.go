package ca

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/identity"
)

// tlsState is the listener's certificate and the keys that the statement names.
type tlsState struct {
	cert *tls.Certificate
	also [][32]byte // hashes of keys that are not from our own CA
}

// Certificate returns the current TLS certificate. Its signature is that of tls.Config.GetCertificate,
// so a renewal needs no restart.
func (c *CA) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tls.cert == nil {
		return nil, errors.New("no TLS certificate")
	}
	return c.tls.cert, nil
}

// refreshTLSLocked loads the given certificate files, or renews our own certificate.
func (c *CA) refreshTLSLocked(now time.Time) error {
	var state tlsState
	var err error
	if c.opt.TLSCert != "" {
		state.cert, err = givenCertificate(c.opt.TLSCert, c.opt.TLSKey)
	} else {
		state.cert, err = c.ownCertificateLocked(now)
	}
	if err != nil {
		return err
	}
	if c.opt.TLSCert != "" {
		state.also = append(state.also, identity.TLSKeyHash(state.cert.Leaf))
		if now.After(state.cert.Leaf.NotAfter) {
			c.problems = append(c.problems, fmt.Sprintf("the certificate in %s has expired", c.opt.TLSCert))
		}
	}
	var failed []error
	for _, path := range c.opt.Also {
		data, err := readFile(path)
		if err != nil {
			failed = append(failed, fmt.Errorf("tls.also: %w", err))
			continue
		}
		certs, err := parseCerts(data)
		if err != nil {
			failed = append(failed, fmt.Errorf("tls.also: %s: %w", path, err))
			continue
		}
		if h := identity.TLSKeyHash(certs[0]); !slices.Contains(state.also, h) {
			state.also = append(state.also, h)
		}
	}
	if len(failed) > 0 {
		// The statement still names the keys of the last pass, because the proxy still uses them.
		for _, h := range c.tls.also {
			if !slices.Contains(state.also, h) {
				state.also = append(state.also, h)
			}
		}
	}
	c.tls = state
	return errors.Join(failed...)
}

// givenCertificate loads the administrator's files.
func givenCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("tls.cert: %w", err)
	}
	return &cert, nil
}

// ownCertificateLocked loads our own CA's certificate, and replaces it at two thirds of its lifetime or
// when it lacks a name.
func (c *CA) ownCertificateLocked(now time.Time) (*tls.Certificate, error) {
	var cert tls.Certificate
	_, _, err := loadPair(c.opt.Dir, tlsName, func(cp, kp []byte) (err error) {
		cert, err = tls.X509KeyPair(cp, kp)
		return err
	})
	if err != nil && !missing(err) {
		return nil, err
	}
	if err == nil && c.isUsableLocked(cert.Leaf, now) {
		return &cert, nil
	}
	return c.newCertificateLocked(now)
}

// isUsableLocked reports whether a TLS leaf can be kept.
func (c *CA) isUsableLocked(leaf *x509.Certificate, now time.Time) bool {
	renew := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)
	if !now.Before(renew) {
		return false
	}
	for _, h := range append([]string{c.opt.Domain}, c.opt.Hosts...) {
		if leaf.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

// newCertificateLocked issues a TLS certificate for a new key and saves both.
func (c *CA) newCertificateLocked(now time.Time) (*tls.Certificate, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("TLS key: %w", err)
	}
	leaf, err := c.issuing.IssueServer(c.opt.Domain, c.opt.Hosts, pub, now)
	if err != nil {
		return nil, err
	}
	chain := [][]byte{leaf, c.issuing.Cert.Raw}
	if err := savePair(c.opt.Dir, tlsName, chain, priv); err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	c.opt.Logger.Info("TLS certificate issued", "names", parsed.DNSNames, "until", parsed.NotAfter)
	return &tls.Certificate{Certificate: chain, PrivateKey: priv, Leaf: parsed}, nil
}
