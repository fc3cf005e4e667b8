package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"secmsg/crypto/key"
)

// This file implements the profile of SPEC "Certificates" for root and issuing CA, as far as account
// certificates share it.

// Key usages of the profile (RFC 5280, section 4.2.1.3). An issuing CA also signs realm statements.
const (
	rootUsage    = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	issuingUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	accountUsage = x509.KeyUsageDigitalSignature
)

// parseCertificate parses DER of bounded length, with no bytes after it.
func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > MaxCertificate {
		return nil, fmt.Errorf("certificate of %d bytes: %w", len(der), ErrChain)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w (%w)", ErrChain, err)
	}
	return cert, nil
}

// certificateKey returns the certified key, which must be Ed25519 and pass the checks of package key.
func certificateKey(cert *x509.Certificate) (key.SigningPublic, error) {
	std, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || cert.SignatureAlgorithm != x509.PureEd25519 {
		return key.SigningPublic{}, fmt.Errorf("certificate is not Ed25519: %w", ErrChain)
	}
	pub, err := key.ParseSigningPublic(std)
	if err != nil {
		return key.SigningPublic{}, fmt.Errorf("certificate: %w (%w)", ErrChain, err)
	}
	return pub, nil
}

// checkRoot checks the profile of a root, except its self-signature.
func checkRoot(cert *x509.Certificate) error {
	if _, err := certificateKey(cert); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := checkCA(cert, rootPathLen, rootUsage); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if _, ok := extension(cert.Extensions, oidNameConstraints()); ok {
		return fmt.Errorf("root: name constraints: %w", ErrChain)
	}
	return nil
}

// checkIssuing checks the profile of an issuing CA of domain, and root's signature on it. It ignores
// the validity period.
func checkIssuing(root, cert *x509.Certificate, domain string) error {
	if _, err := certificateKey(cert); err != nil {
		return fmt.Errorf("issuing CA: %w", err)
	}
	if err := checkCA(cert, issuingPathLen, issuingUsage); err != nil {
		return fmt.Errorf("issuing CA: %w", err)
	}
	if err := checkSignedBy(cert, root, IssuingLifetime); err != nil {
		return fmt.Errorf("issuing CA: %w", err)
	}
	return checkConfined(cert, domain)
}

// checkConfined checks that a name constraint confines an issuing CA to account URIs of exactly one
// domain. It ignores other kinds of names, because the TLS names of a realm may be elsewhere. The
// extension is compared as a whole, in its only encoding (RFC 5280, section 4.2.1.10).
func checkConfined(cert *x509.Certificate, domain string) error {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { // permittedSubtrees
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tagURI, func(b *cryptobyte.Builder) { b.AddBytes([]byte(domain)) })
			})
		})
	})
	want, err := b.Bytes()
	if err != nil {
		return fmt.Errorf("issuing CA: %w", err)
	}
	ext, ok := extension(cert.Extensions, oidNameConstraints())
	if !ok || !ext.Critical || !bytes.Equal(ext.Value, want) {
		return fmt.Errorf("issuing CA is not confined to %s: %w", domain, ErrName)
	}
	return nil
}

// extension returns the extension with an id; crypto/x509 refuses duplicates.
func extension(exts []pkix.Extension, id asn1.ObjectIdentifier) (pkix.Extension, bool) {
	i := slices.IndexFunc(exts, func(e pkix.Extension) bool { return e.Id.Equal(id) })
	if i < 0 {
		return pkix.Extension{}, false
	}
	return exts[i], true
}

// oidNameConstraints is id-ce-nameConstraints (RFC 5280, section 4.2.1.10).
func oidNameConstraints() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 30} }

// checkCA checks the properties that root and issuing CA share.
func checkCA(cert *x509.Certificate, pathLen int, usage x509.KeyUsage) error {
	switch {
	case cert.Version != 3:
		return fmt.Errorf("X.509 version %d: %w", cert.Version, ErrChain)
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return fmt.Errorf("not a CA: %w", ErrChain)
	case cert.MaxPathLen != pathLen || (pathLen == 0) != cert.MaxPathLenZero:
		return fmt.Errorf("wrong path length: %w", ErrChain)
	case cert.KeyUsage != usage:
		return fmt.Errorf("wrong key usage: %w", ErrChain)
	case len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) != 0:
		return fmt.Errorf("extended key usage on a CA: %w", ErrChain)
	case len(cert.UnhandledCriticalExtensions) != 0:
		return fmt.Errorf("unknown critical extension: %w", ErrChain)
	}
	if _, ok := extension(cert.Extensions, oidSubjectAltName()); ok {
		return fmt.Errorf("alternative name on a CA: %w", ErrChain)
	}
	return nil
}

// checkSignedBy checks that parent signed cert, including names and key ids, and that cert's validity
// period lies within parent's and is at most lifetime.
func checkSignedBy(cert, parent *x509.Certificate, lifetime time.Duration) error {
	switch {
	case !bytes.Equal(cert.RawIssuer, parent.RawSubject):
		return fmt.Errorf("issuer's name does not match: %w", ErrChain)
	case len(parent.SubjectKeyId) == 0 || !bytes.Equal(cert.AuthorityKeyId, parent.SubjectKeyId):
		return fmt.Errorf("issuer's key id does not match: %w", ErrChain)
	case cert.CheckSignatureFrom(parent) != nil:
		return fmt.Errorf("issuer's signature: %w", ErrChain)
	case cert.NotBefore.Before(parent.NotBefore) || cert.NotAfter.After(parent.NotAfter):
		return fmt.Errorf("outlives its issuer: %w", ErrChain)
	case cert.NotAfter.Sub(cert.NotBefore) > lifetime:
		return fmt.Errorf("lives too long: %w", ErrChain)
	}
	return nil
}
