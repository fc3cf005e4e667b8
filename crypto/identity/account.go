package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"secmsg/crypto/key"
)

// MaxCSR bounds a certificate request's DER in bytes.
const MaxCSR = 2048

// NewAccountCSR creates the PKCS #10 request by which the holder of an account's identity key proves
// possession of it and asks for a certificate for addr.
func NewAccountCSR(priv key.SigningPrivate, addr Address) ([]byte, error) {
	if err := addr.Validate(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if priv.IsZero() {
		return nil, fmt.Errorf("certificate request: %w", key.ErrNoKey)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: addr.User},
		URIs:    []*url.URL{addressURL(addr)},
	}, priv.Signer())
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return der, nil
}

// VerifyAccountCSR checks a certificate request and returns the key whose possession it proves. It
// returns [ErrFormat], [ErrSignature], [ErrName], [ErrChain] if the alternative names are not exactly
// one URI, or an error of package key.
func VerifyAccountCSR(csrDER []byte, addr Address) (key.SigningPublic, error) {
	pub, err := verifyCSR(csrDER, addr)
	if err != nil {
		return key.SigningPublic{}, fmt.Errorf("certificate request: %w", err)
	}
	return pub, nil
}

func verifyCSR(csrDER []byte, addr Address) (key.SigningPublic, error) {
	var none key.SigningPublic
	if err := addr.Validate(); err != nil {
		return none, err
	}
	if len(csrDER) > MaxCSR {
		return none, fmt.Errorf("%d bytes: %w", len(csrDER), ErrFormat)
	}
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return none, fmt.Errorf("%w (%w)", ErrFormat, err)
	}
	std, ok := csr.PublicKey.(ed25519.PublicKey)
	if !ok || csr.SignatureAlgorithm != x509.PureEd25519 {
		return none, fmt.Errorf("not Ed25519: %w", ErrFormat)
	}
	pub, err := key.ParseSigningPublic(std)
	if err != nil {
		return none, err
	}
	if csr.CheckSignature() != nil {
		return none, ErrSignature
	}
	return pub, checkSAN(csr.Extensions, addr)
}

// IssueAccount certifies the key of a request for addr and returns the leaf's DER. The certificate is
// valid for [AccountLifetime], but never longer than its issuer. The request's signature and name are
// checked; nothing else from the request gets into the certificate.
func (iss *Authority) IssueAccount(csrDER []byte, addr Address, now time.Time) ([]byte, error) {
	pub, err := VerifyAccountCSR(csrDER, addr)
	if err != nil {
		return nil, err
	}
	return iss.CertifyAccount(pub, addr, now)
}

// CertifyAccount certifies an identity key whose possession was proved earlier, to reissue the
// certificate for the same key. Otherwise it works like IssueAccount.
func (iss *Authority) CertifyAccount(pub key.SigningPublic, addr Address, now time.Time) ([]byte, error) {
	if err := addr.Validate(); err != nil {
		return nil, fmt.Errorf("certify account: %w", err)
	}
	if pub.IsZero() {
		return nil, fmt.Errorf("certify account: %w", key.ErrNoKey)
	}
	start, end, err := iss.life(now, AccountLifetime)
	if err != nil {
		return nil, fmt.Errorf("certify account: %w", err)
	}
	cert, err := sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: addr.User},
		NotBefore:             start,
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              accountUsage,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{addressURL(addr)},
	}, iss.Cert, pub, iss.Key)
	if err != nil {
		return nil, fmt.Errorf("certify account: %w", err)
	}
	return cert.Raw, nil
}

// AccountCert is the content of a valid chain.
type AccountCert struct {
	Address   Address
	Key       key.SigningPublic // the account's identity key
	NotBefore time.Time
	NotAfter  time.Time // the earliest end of validity in the chain
}

// InGrace reports whether at is before the end of [AccountGrace]. A caller may downgrade the error for
// an expired certificate to a warning only if the key was pinned earlier and has not changed.
func (c AccountCert) InGrace(at time.Time) bool { return !at.After(c.NotAfter.Add(AccountGrace)) }

// RenewAt returns when the server reissues the certificate: after two thirds of its lifetime, which
// leaves a month to a client that is offline.
func (c AccountCert) RenewAt() time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// VerifyAccount checks that chain (leaf and issuing CA as DER) certifies addr under root at a time. It
// is stricter than X.509: every certificate must have exactly the profile of SPEC "Realm, certificates,
// statement, invite".
//
// It returns [ErrChain], or [ErrName] if a valid chain names another account. The validity period is
// checked last: with [ErrExpired] and [ErrNotYetValid] everything else is proved and the AccountCert is
// filled in, so that a caller may treat expiry as a warning for a pinned, unchanged key. With every
// other error the AccountCert is zero.
func VerifyAccount(root *x509.Certificate, chain [][]byte, addr Address, at time.Time) (AccountCert, error) {
	if err := addr.Validate(); err != nil {
		return AccountCert{}, fmt.Errorf("verify account: %w", err)
	}
	leaf, issuing, err := checkAccount(root, chain, addr)
	if err != nil {
		return AccountCert{}, fmt.Errorf("verify account %s: %w", addr, err)
	}
	pub, err := certificateKey(leaf)
	if err != nil {
		return AccountCert{}, fmt.Errorf("verify account %s: %w", addr, err)
	}
	// Validity periods are nested (checkSignedBy), so the leaf's is that of the chain.
	cert := AccountCert{Address: addr, Key: pub, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	for _, c := range []*x509.Certificate{root, issuing, leaf} {
		if err := within(at, c.NotBefore, c.NotAfter); err != nil {
			return cert, fmt.Errorf("verify account %s: certificate %q %w", addr, c.Subject.CommonName, err)
		}
	}
	return cert, nil
}

// checkAccount checks everything about a chain except the validity period.
func checkAccount(root *x509.Certificate, chain [][]byte, addr Address) (leaf, issuing *x509.Certificate, err error) {
	if root == nil || len(chain) != ChainLength {
		return nil, nil, fmt.Errorf("%d certificates: %w", len(chain), ErrChain)
	}
	if err := checkRoot(root); err != nil {
		return nil, nil, err
	}
	if leaf, err = parseCertificate(chain[0]); err != nil {
		return nil, nil, fmt.Errorf("leaf: %w", err)
	}
	if issuing, err = parseCertificate(chain[1]); err != nil {
		return nil, nil, fmt.Errorf("issuing CA: %w", err)
	}
	if err := checkIssuing(root, issuing, addr.Domain); err != nil {
		return nil, nil, err
	}
	if err := checkLeaf(leaf, issuing); err != nil {
		return nil, nil, fmt.Errorf("leaf: %w", err)
	}
	if err := checkSAN(leaf.Extensions, addr); err != nil {
		return nil, nil, fmt.Errorf("leaf: %w", err)
	}
	return leaf, issuing, nil
}

// checkLeaf checks the profile of an account certificate, except its name.
func checkLeaf(leaf, issuing *x509.Certificate) error {
	if _, err := certificateKey(leaf); err != nil {
		return err
	}
	switch {
	case leaf.Version != 3:
		return fmt.Errorf("X.509 version %d: %w", leaf.Version, ErrChain)
	case !leaf.BasicConstraintsValid || leaf.IsCA:
		return fmt.Errorf("basic constraints: %w", ErrChain)
	case leaf.KeyUsage != accountUsage:
		return fmt.Errorf("wrong key usage: %w", ErrChain)
	case len(leaf.UnknownExtKeyUsage) != 0 || len(leaf.ExtKeyUsage) != 1 ||
		leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth:
		return fmt.Errorf("wrong extended key usage: %w", ErrChain)
	case len(leaf.UnhandledCriticalExtensions) != 0:
		return fmt.Errorf("unknown critical extension: %w", ErrChain)
	}
	if _, ok := extension(leaf.Extensions, oidNameConstraints()); ok {
		return fmt.Errorf("name constraints: %w", ErrChain)
	}
	return checkSignedBy(leaf, issuing, AccountLifetime)
}

// checkSAN checks that the subject alternative name is exactly one URI, the account's. It parses the
// extension itself, because crypto/x509 ignores kinds of names that it does not know, and compares URIs
// after parsing.
func checkSAN(exts []pkix.Extension, addr Address) error {
	ext, ok := extension(exts, oidSubjectAltName())
	if !ok {
		return fmt.Errorf("no alternative name: %w", ErrChain)
	}
	s := cryptobyte.String(ext.Value)
	var names, uri cryptobyte.String
	if !s.ReadASN1(&names, casn1.SEQUENCE) || !s.Empty() ||
		!names.ReadASN1(&uri, tagURI) || !names.Empty() {
		return fmt.Errorf("alternative names are not one URI: %w", ErrChain)
	}
	if string(uri) != addr.URI() {
		return fmt.Errorf("certified is %q: %w", printable(uri), ErrName)
	}
	return nil
}

// tagURI is the context-specific tag of a uniformResourceIdentifier in a GeneralName (RFC 5280, section
// 4.2.1.6).
const tagURI = casn1.Tag(6 | 0x80)

// oidSubjectAltName is id-ce-subjectAltName (RFC 5280, section 4.2.1.6).
func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

// printable bounds the quotation of a peer's bytes in an error.
func printable(b []byte) string {
	if len(b) > MaxAddress {
		b = b[:MaxAddress]
	}
	return string(b)
}

func addressURL(a Address) *url.URL {
	return &url.URL{Scheme: URIScheme, Host: a.Domain, Path: "/" + a.User}
}

// IsValidity reports whether err concerns the validity period only: then [VerifyAccount] or
// [VerifyStatement] has proved everything else.
func IsValidity(err error) bool {
	return errors.Is(err, ErrExpired) || errors.Is(err, ErrNotYetValid)
}
