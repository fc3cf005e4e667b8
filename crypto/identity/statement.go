package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// Limits of a realm statement.
const (
	// MaxEntries bounds the entry points of a realm.
	MaxEntries = 8
	// MaxTLSKeys bounds the additional TLS keys of a realm.
	MaxTLSKeys = 16
	// MaxStatement bounds a signed statement in bytes.
	MaxStatement = 1 + 1 + MaxDomain + EpochSize + 8 + 8 + 1 + MaxEntries*(2+MaxHostPort) +
		1 + MaxTLSKeys*sha256.Size + 1 + key.SigningPublicSize + key.SignatureSize
	// EpochSize is the length of a realm epoch in bytes.
	EpochSize = 16
)

// RealmStatement is a realm's signed description: its entry points, its TLS keys besides those of its
// own CA, and its epoch.
type RealmStatement struct {
	Domain  string
	Entry   []string            // HOST or HOST:PORT, the preferred one first
	TLSKeys [][sha256.Size]byte // see TLSKeyHash; in no particular order
	Epoch   [EpochSize]byte     // random; changes after a restore from a backup
	LogKey  key.SigningPublic   // the transparency log's key; zero while there is no log
	Issued  time.Time           // whole seconds
	Expires time.Time           // whole seconds, at most StatementLifetime after Issued
}

// Sign encodes the statement and signs it with an issuing CA. It cuts times to whole seconds.
func (s RealmStatement) Sign(iss *Authority) ([]byte, error) {
	body, err := s.encode()
	if err != nil {
		return nil, fmt.Errorf("sign realm statement: %w", err)
	}
	signed, err := appendSignature(iss.Key, labelStatement, body)
	if err != nil {
		return nil, fmt.Errorf("sign realm statement: %w", err)
	}
	return signed, nil
}

// VerifyStatement checks a signed statement: issuingDER must be an issuing CA of the statement's domain
// below root, and now must be within the validity of all of them. It returns [ErrFormat], [ErrChain],
// [ErrName] and [ErrSignature]. With [ErrExpired] and [ErrNotYetValid] everything else is proved and
// the statement is filled in.
func VerifyStatement(root *x509.Certificate, issuingDER, signed []byte, now time.Time) (RealmStatement, error) {
	s, err := verifyStatement(root, issuingDER, signed, now)
	if err != nil {
		return s, fmt.Errorf("realm statement: %w", err)
	}
	return s, nil
}

func verifyStatement(root *x509.Certificate, issuingDER, signed []byte, now time.Time) (RealmStatement, error) {
	var none RealmStatement
	body, sig, err := splitSignature(signed, MaxStatement)
	if err != nil {
		return none, err
	}
	s, err := parseStatement(body)
	if err != nil {
		return none, err
	}
	if root == nil {
		return none, fmt.Errorf("no root: %w", ErrChain)
	}
	if err := checkRoot(root); err != nil {
		return none, err
	}
	issuing, err := parseCertificate(issuingDER)
	if err != nil {
		return none, err
	}
	if err := checkIssuing(root, issuing, s.Domain); err != nil {
		return none, err
	}
	pub, err := certificateKey(issuing)
	if err != nil {
		return none, err
	}
	if !pub.Verify(signingInput(labelStatement, body), sig) {
		return none, ErrSignature
	}
	for _, c := range []*x509.Certificate{root, issuing} {
		if err := within(now, c.NotBefore, c.NotAfter); err != nil {
			return s, fmt.Errorf("certificate %q %w", c.Subject.CommonName, err)
		}
	}
	// A client's clock may be slightly slow; certificates are dated back.
	return s, within(now, s.Issued.Add(-ClockSkew), s.Expires)
}

func (s RealmStatement) encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	keys := slices.Clone(s.TLSKeys)
	slices.SortFunc(keys, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	if len(slices.Compact(slices.Clone(keys))) != len(keys) {
		return nil, fmt.Errorf("duplicate TLS key: %w", ErrFormat)
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(version)
	addBytes8(b, []byte(s.Domain))
	b.AddBytes(s.Epoch[:])
	addTime(b, s.Issued)
	addTime(b, s.Expires)
	b.AddUint8(uint8(len(s.Entry)))
	for _, e := range s.Entry {
		b.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes([]byte(e)) })
	}
	b.AddUint8(uint8(len(keys)))
	for _, k := range keys {
		b.AddBytes(k[:])
	}
	if s.LogKey.IsZero() {
		b.AddUint8(0)
	} else {
		addBytes8(b, s.LogKey.Bytes())
	}
	return b.Bytes()
}

// check returns nil if the fields are within their limits.
func (s RealmStatement) check() error {
	if err := ValidDomain(s.Domain); err != nil {
		return err
	}
	if len(s.Entry) == 0 || len(s.Entry) > MaxEntries || len(s.TLSKeys) > MaxTLSKeys {
		return fmt.Errorf("%d entries, %d TLS keys: %w", len(s.Entry), len(s.TLSKeys), ErrFormat)
	}
	for i, e := range s.Entry {
		if err := ValidHostPort(e); err != nil {
			return err
		}
		if slices.Contains(s.Entry[:i], e) {
			return fmt.Errorf("duplicate entry %q: %w", e, ErrFormat)
		}
	}
	life := seconds(s.Expires).Sub(seconds(s.Issued))
	if life <= 0 || life > StatementLifetime {
		return fmt.Errorf("lifetime of %s: %w", life, ErrFormat)
	}
	return nil
}

func parseStatement(body []byte) (RealmStatement, error) {
	malformed := fmt.Errorf("layout: %w", ErrFormat)
	var (
		in      = cryptobyte.String(body)
		out     RealmStatement
		v, n    uint8
		logKey  cryptobyte.String
		keyPrev []byte
	)
	if !in.ReadUint8(&v) || v != version {
		return RealmStatement{}, fmt.Errorf("version: %w", ErrFormat)
	}
	if !readString8(&in, &out.Domain) || !in.CopyBytes(out.Epoch[:]) ||
		!readTime(&in, &out.Issued) || !readTime(&in, &out.Expires) ||
		!in.ReadUint8(&n) || n > MaxEntries {
		return RealmStatement{}, malformed
	}
	for range n {
		var e cryptobyte.String
		if !in.ReadUint16LengthPrefixed(&e) || len(e) > MaxHostPort {
			return RealmStatement{}, malformed
		}
		out.Entry = append(out.Entry, string(e))
	}
	if !in.ReadUint8(&n) || n > MaxTLSKeys {
		return RealmStatement{}, malformed
	}
	for range n {
		var k [sha256.Size]byte
		if !in.CopyBytes(k[:]) || keyPrev != nil && bytes.Compare(keyPrev, k[:]) >= 0 {
			return RealmStatement{}, malformed
		}
		out.TLSKeys, keyPrev = append(out.TLSKeys, k), k[:]
	}
	if !in.ReadUint8LengthPrefixed(&logKey) || !in.Empty() {
		return RealmStatement{}, malformed
	}
	if len(logKey) != 0 {
		var err error
		if out.LogKey, err = key.ParseSigningPublic(logKey); err != nil {
			return RealmStatement{}, fmt.Errorf("log key: %w (%w)", ErrFormat, err)
		}
	}
	return out, out.check()
}
