package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"secmsg/crypto/key"
)

// Limits of certificates.
const (
	// MaxCertificate bounds a certificate's DER in bytes. Ours have 500 to 900; the rest is room for a
	// domain of 253 bytes in several places.
	MaxCertificate = 2048
	// ChainLength is the number of certificates in an account's chain: leaf and issuing CA. The root is
	// known from the invite and never sent.
	ChainLength = 2

	// rootPathLen lets a root sign issuing CAs only; issuingPathLen lets those sign leaves only.
	rootPathLen    = 1
	issuingPathLen = 0
)

// Authority is a certificate authority of a realm: its root or an issuing CA.
type Authority struct {
	Cert *x509.Certificate
	Key  key.SigningPrivate
}

// NewRoot creates a realm's root: a new key and a self-signed certificate, valid from an hour before
// now for [RootLifetime].
func NewRoot(domain string, now time.Time) (*Authority, error) {
	if err := ValidDomain(domain); err != nil {
		return nil, fmt.Errorf("new root: %w", err)
	}
	start := seconds(now.Add(-ClockSkew))
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "secmsg root CA", Organization: []string{domain}},
		NotBefore:             start,
		NotAfter:              start.Add(RootLifetime),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            rootPathLen,
		KeyUsage:              rootUsage,
	}
	priv := key.GenerateSigning()
	cert, err := sign(tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		return nil, fmt.Errorf("new root: %w", err)
	}
	return &Authority{Cert: cert, Key: priv}, nil
}

// NewIssuing creates an issuing CA below root: a new key and a certificate that may sign leaves only,
// is confined to the domain by a name constraint, and never outlives the root. It returns [ErrExpired]
// if the root has expired.
func (root *Authority) NewIssuing(domain string, now time.Time) (*Authority, error) {
	if err := ValidDomain(domain); err != nil {
		return nil, fmt.Errorf("new issuing CA: %w", err)
	}
	start, end, err := root.life(now, IssuingLifetime)
	if err != nil {
		return nil, fmt.Errorf("new issuing CA: %w", err)
	}
	tmpl := &x509.Certificate{
		// The date distinguishes the generations for people; programs use the key ids.
		Subject: pkix.Name{
			CommonName:   "secmsg issuing CA " + seconds(now).Format(time.DateOnly),
			Organization: []string{domain},
		},
		NotBefore:                   start,
		NotAfter:                    end,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLen:                  issuingPathLen,
		MaxPathLenZero:              true,
		KeyUsage:                    issuingUsage,
		PermittedDNSDomainsCritical: true, // applies to the whole extension
		PermittedURIDomains:         []string{domain},
	}
	priv := key.GenerateSigning()
	cert, err := sign(tmpl, root.Cert, priv.Public(), root.Key)
	if err != nil {
		return nil, fmt.Errorf("new issuing CA: %w", err)
	}
	return &Authority{Cert: cert, Key: priv}, nil
}

// ParseAuthority combines a stored certificate and its key. It returns [ErrChain] if they do not match.
func ParseAuthority(der []byte, priv key.SigningPrivate) (*Authority, error) {
	cert, err := parseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	pub, err := certificateKey(cert)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if !cert.IsCA || pub != priv.Public() {
		return nil, fmt.Errorf("authority: certificate and key do not match: %w", ErrChain)
	}
	return &Authority{Cert: cert, Key: priv}, nil
}

// ParseRoot parses a realm's root certificate and checks its profile and self-signature. Only its
// fingerprint can show that it is the right root. It returns [ErrChain].
func ParseRoot(der []byte) (*x509.Certificate, error) {
	cert, err := parseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if err := checkRoot(cert); err != nil {
		return nil, err
	}
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) || cert.CheckSignatureFrom(cert) != nil {
		return nil, fmt.Errorf("root: not self-signed: %w", ErrChain)
	}
	return cert, nil
}

// RootFingerprint returns the realm's fingerprint.
func RootFingerprint(root *x509.Certificate) Fingerprint { return sha256.Sum256(root.Raw) }

// life returns the validity period of a certificate that a signs now: dated back by ClockSkew, but
// within a's own validity at both ends.
func (a *Authority) life(now time.Time, lifetime time.Duration) (start, end time.Time, err error) {
	if err := within(now, a.Cert.NotBefore, a.Cert.NotAfter); err != nil {
		return start, end, fmt.Errorf("the issuer's certificate: %w", err)
	}
	start = seconds(now.Add(-ClockSkew))
	if start.Before(a.Cert.NotBefore) {
		start = a.Cert.NotBefore
	}
	end = start.Add(lifetime)
	if end.After(a.Cert.NotAfter) {
		end = a.Cert.NotAfter
	}
	return start, end, nil
}

// sign makes a certificate, with a random serial number from crypto/x509.
func sign(tmpl, parent *x509.Certificate, pub key.SigningPublic, priv key.SigningPrivate) (*x509.Certificate, error) {
	if priv.IsZero() {
		return nil, key.ErrNoKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub.Std(), priv.Signer())
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return parseCertificate(der)
}
