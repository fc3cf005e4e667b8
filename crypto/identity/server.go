package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"time"
)

// Limits of TLS certificates.
const (
	// MaxServerHosts bounds the names in a TLS certificate.
	MaxServerHosts = 32
	// MaxServerChain bounds the certificates of a TLS chain that [VerifyServer] accepts.
	MaxServerChain = 4
)

// IssueServer issues a TLS certificate for the realm's server and returns its DER. domain is always one
// of its names; hosts are additional DNS names and IP addresses (without ports or brackets). pub may be
// any key that crypto/x509 supports. The certificate is valid for [ServerLifetime], but never longer
// than its issuer. It cannot serve as an account certificate: its extended key usage is serverAuth.
func (iss *Authority) IssueServer(domain string, hosts []string, pub crypto.PublicKey, now time.Time) ([]byte, error) {
	if err := ValidDomain(domain); err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	if len(hosts) > MaxServerHosts {
		return nil, fmt.Errorf("server certificate for %d hosts: %w", len(hosts), ErrFormat)
	}
	start, end, err := iss.life(now, ServerLifetime)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "secmsg server"},
		NotBefore:             start,
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:              []string{domain},
	}
	for _, h := range hosts {
		if ip, err := netip.ParseAddr(h); err == nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip.Unmap().AsSlice())
			continue
		}
		if err := ValidDomain(h); err != nil {
			return nil, fmt.Errorf("server certificate: %w", err)
		}
		if h != domain {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, iss.Cert, pub, iss.Key.Signer())
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	return der, nil
}

// VerifyServer checks that a TLS chain, leaf first, leads to root and is valid for host at a time.
// System roots are not used. It returns [ErrExpired], [ErrNotYetValid], [ErrName] or [ErrChain].
func VerifyServer(root *x509.Certificate, chain []*x509.Certificate, host string, at time.Time) error {
	if root == nil || len(chain) == 0 || len(chain) > MaxServerChain {
		return fmt.Errorf("verify server: %d certificates: %w", len(chain), ErrChain)
	}
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: inter,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		for _, c := range chain {
			if timeErr := within(at, c.NotBefore, c.NotAfter); timeErr != nil {
				return fmt.Errorf("verify server: %w", timeErr)
			}
		}
		return fmt.Errorf("verify server: %w (%w)", ErrChain, err)
	}
	if err := chain[0].VerifyHostname(host); err != nil {
		return fmt.Errorf("verify server: %w (%w)", ErrName, err)
	}
	return nil
}

// TLSKeyHash returns the SHA-256 of a certificate's SubjectPublicKeyInfo, which identifies a TLS key in
// a realm statement.
func TLSKeyHash(cert *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}
