package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/key"
)

// mold is a chain that is valid unless a test changes something before it is signed.
type mold struct {
	root, issuing, leaf          *x509.Certificate // templates
	rootKey, issuingKey, leafKey crypto.Signer
	issuingSigner, leafSigner    crypto.Signer     // zero: the parent's key
	leafParent, issuingParent    *x509.Certificate // zero: the parent
	chain                        func(leaf, issuing, root []byte) [][]byte
	cut                          func(leaf, issuing []byte)
}

func newMold() *mold {
	start := now.Add(-ClockSkew)
	m := &mold{
		rootKey:    key.GenerateSigning().Signer(),
		issuingKey: key.GenerateSigning().Signer(),
		leafKey:    key.GenerateSigning().Signer(),
		root: &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"},
			NotBefore: start, NotAfter: start.Add(RootLifetime),
			BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1, KeyUsage: rootUsage,
		},
		issuing: &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "issuing"},
			NotBefore: start, NotAfter: start.Add(IssuingLifetime),
			BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: issuingUsage,
			PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{alice.Domain},
		},
		leaf: &x509.Certificate{
			SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "alice"},
			NotBefore: start, NotAfter: start.Add(AccountLifetime),
			BasicConstraintsValid: true, KeyUsage: accountUsage,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			URIs:        []*url.URL{addressURL(alice)},
		},
		chain: func(leaf, issuing, _ []byte) [][]byte { return [][]byte{leaf, issuing} },
	}
	return m
}

// build signs the chain.
func (m *mold) build(t testing.TB) (*x509.Certificate, [][]byte) {
	t.Helper()
	create := func(tmpl, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	or := func(a, b crypto.Signer) crypto.Signer {
		if a != nil {
			return a
		}
		return b
	}
	root := create(m.root, m.root, m.rootKey.Public(), m.rootKey)
	parent := root
	if m.issuingParent != nil {
		parent = m.issuingParent
	}
	issuing := create(m.issuing, parent, m.issuingKey.Public(), or(m.issuingSigner, m.rootKey))
	parent = issuing
	if m.leafParent != nil {
		parent = m.leafParent
	}
	leaf := create(m.leaf, parent, m.leafKey.Public(), or(m.leafSigner, m.issuingKey))
	return root, m.chain(leaf.Raw, issuing.Raw, root.Raw)
}

func TestMoldIsRight(t *testing.T) {
	root, chain := newMold().build(t)
	if _, err := VerifyAccount(root, chain, alice, now); err != nil {
		t.Fatal(err)
	}
}

// san makes a subject alternative name from raw GeneralNames.
func san(critical bool, names ...asn1.RawValue) pkix.Extension {
	value, err := asn1.Marshal(names)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidSubjectAltName(), Critical: critical, Value: value}
}

func uriName(s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(s)}
}

func ecdsaKey(t *testing.T) crypto.Signer {
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

// A22: chains that are valid except for one property.
func TestBadChains(t *testing.T) {
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}
	other := newMold()
	otherRoot, otherChain := other.build(t)
	setSAN := func(ext pkix.Extension) func(*mold) {
		return func(m *mold) { m.leaf.URIs, m.leaf.ExtraExtensions = nil, []pkix.Extension{ext} }
	}
	for name, tt := range map[string]struct {
		change func(m *mold)
		want   error
	}{
		"empty chain":   {func(m *mold) { m.chain = func(_, _, _ []byte) [][]byte { return nil } }, ErrChain},
		"leaf alone":    {func(m *mold) { m.chain = func(l, _, _ []byte) [][]byte { return [][]byte{l} } }, ErrChain},
		"with the root": {func(m *mold) { m.chain = func(l, i, r []byte) [][]byte { return [][]byte{l, i, r} } }, ErrChain},
		"wrong order":   {func(m *mold) { m.chain = func(l, i, _ []byte) [][]byte { return [][]byte{i, l} } }, ErrChain},
		"leaf twice":    {func(m *mold) { m.chain = func(l, _, _ []byte) [][]byte { return [][]byte{l, l} } }, ErrChain},
		"trailing byte": {func(m *mold) { m.chain = func(l, i, _ []byte) [][]byte { return [][]byte{append(l, 0), i} } }, ErrChain},
		"trailing byte of the issuing CA": {func(m *mold) {
			m.chain = func(l, i, _ []byte) [][]byte { return [][]byte{l, append(i, 0)} }
		}, ErrChain},
		"too large":    {func(m *mold) { m.leaf.Subject.Organization = []string{strings.Repeat("x", MaxCertificate)} }, ErrChain},
		"other realm":  {func(m *mold) { m.chain = func(_, _, _ []byte) [][]byte { return otherChain } }, ErrChain},
		"other issuer": {func(m *mold) { m.chain = func(l, _, _ []byte) [][]byte { return [][]byte{l, otherChain[1]} } }, ErrChain},
		"self-signed leaf": {func(m *mold) {
			m.leaf.Subject = m.issuing.Subject
			m.leafParent, m.leafSigner = m.leaf, m.leafKey
		}, ErrChain},
		"self-signed issuing CA": {func(m *mold) {
			m.issuing.Subject = m.root.Subject
			m.issuingParent, m.issuingSigner = m.issuing, m.issuingKey
		}, ErrChain},
		"leaf signed by the root": {func(m *mold) {
			m.leafSigner = m.rootKey
			m.leafParent = &x509.Certificate{Subject: m.root.Subject}
		}, ErrChain},
		"leaf forged under the issuer's name": {func(m *mold) {
			m.issuing.SubjectKeyId = []byte("issuing key")
			fake := *m.issuing
			m.leafParent, m.leafSigner = &fake, key.GenerateSigning().Signer()
		}, ErrChain},
		"issuer's name differs": {func(m *mold) {
			m.issuing.SubjectKeyId = []byte("issuing key")
			m.leafParent = &x509.Certificate{Subject: pkix.Name{CommonName: "another"}, SubjectKeyId: m.issuing.SubjectKeyId}
		}, ErrChain},
		"issuer's key id differs": {func(m *mold) {
			m.leafParent = &x509.Certificate{Subject: m.issuing.Subject, SubjectKeyId: []byte("another")}
		}, ErrChain},

		"root is no CA":          {func(m *mold) { m.root.IsCA, m.root.MaxPathLen = false, 0 }, ErrChain},
		"root path length 0":     {func(m *mold) { m.root.MaxPathLen, m.root.MaxPathLenZero = 0, true }, ErrChain},
		"root path length none":  {func(m *mold) { m.root.MaxPathLen = -1 }, ErrChain},
		"root may not sign":      {func(m *mold) { m.root.KeyUsage = x509.KeyUsageDigitalSignature }, ErrChain},
		"root is ECDSA":          {func(m *mold) { m.rootKey = ecdsaKey(t) }, ErrChain},
		"issuing is no CA":       {func(m *mold) { m.issuing.IsCA, m.issuing.MaxPathLenZero = false, false }, ErrChain},
		"issuing without limits": {func(m *mold) { m.issuing.MaxPathLenZero, m.issuing.MaxPathLen = false, -1 }, ErrChain},
		"issuing path length 1":  {func(m *mold) { m.issuing.MaxPathLenZero, m.issuing.MaxPathLen = false, 1 }, ErrChain},
		"issuing no constraints": {func(m *mold) { m.issuing.BasicConstraintsValid = false }, ErrChain},
		"issuing may not sign":   {func(m *mold) { m.issuing.KeyUsage = x509.KeyUsageDigitalSignature }, ErrChain},
		"issuing may encipher":   {func(m *mold) { m.issuing.KeyUsage |= x509.KeyUsageKeyEncipherment }, ErrChain},
		"issuing has an EKU":     {func(m *mold) { m.issuing.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, ErrChain},
		"issuing is ECDSA":       {func(m *mold) { m.issuingKey = ecdsaKey(t) }, ErrChain},
		"issuing unknown critical": {func(m *mold) {
			m.issuing.ExtraExtensions = []pkix.Extension{unknown}
		}, ErrChain},
		"issuing outlives the root": {func(m *mold) { m.root.NotAfter = m.issuing.NotAfter.Add(-time.Second) }, ErrChain},
		"issuing lives too long":    {func(m *mold) { m.issuing.NotAfter = m.issuing.NotAfter.Add(time.Second) }, ErrChain},
		"issuing older than root":   {func(m *mold) { m.issuing.NotBefore = m.root.NotBefore.Add(-time.Second) }, ErrChain},
		"issuing not confined":      {func(m *mold) { m.issuing.PermittedURIDomains = nil }, ErrName},
		"issuing of another domain": {func(m *mold) { m.issuing.PermittedURIDomains = []string{"example.org"} }, ErrName},
		"issuing of two domains": {func(m *mold) {
			m.issuing.PermittedURIDomains = []string{alice.Domain, "example.org"}
		}, ErrName},
		"issuing of subdomains":       {func(m *mold) { m.issuing.PermittedURIDomains = []string{".example.com"} }, ErrName},
		"issuing weakly confined":     {func(m *mold) { m.issuing.PermittedDNSDomainsCritical = false }, ErrName},
		"issuing of DNS names too":    {func(m *mold) { m.issuing.PermittedDNSDomains = []string{alice.Domain} }, ErrName},
		"issuing with an exclusion":   {func(m *mold) { m.issuing.ExcludedURIDomains = []string{"example.org"} }, ErrName},
		"issuing has a name":          {func(m *mold) { m.issuing.URIs = m.leaf.URIs }, ErrChain},
		"root has a name":             {func(m *mold) { m.root.URIs = m.leaf.URIs }, ErrChain},
		"root is confined":            {func(m *mold) { m.root.PermittedURIDomains = []string{alice.Domain} }, ErrChain},
		"leaf is confined":            {func(m *mold) { m.leaf.PermittedURIDomains = []string{alice.Domain} }, ErrChain},
		"leaf is a CA":                {func(m *mold) { m.leaf.IsCA = true }, ErrChain},
		"leaf no constraints":         {func(m *mold) { m.leaf.BasicConstraintsValid = false }, ErrChain},
		"leaf may sign certificates":  {func(m *mold) { m.leaf.KeyUsage |= x509.KeyUsageCertSign }, ErrChain},
		"leaf no key usage":           {func(m *mold) { m.leaf.KeyUsage = 0 }, ErrChain},
		"leaf for servers":            {func(m *mold) { m.leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, ErrChain},
		"leaf for anything":           {func(m *mold) { m.leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, ErrChain},
		"leaf no extended key usage":  {func(m *mold) { m.leaf.ExtKeyUsage = nil }, ErrChain},
		"leaf two extended usages":    {func(m *mold) { m.leaf.ExtKeyUsage = append(m.leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }, ErrChain},
		"leaf unknown extended usage": {func(m *mold) { m.leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, ErrChain},
		"leaf unknown critical":       {func(m *mold) { m.leaf.ExtraExtensions = []pkix.Extension{unknown} }, ErrChain},
		"leaf is ECDSA":               {func(m *mold) { m.leafKey = ecdsaKey(t) }, ErrChain},
		"leaf key of small order":     {func(m *mold) { m.leafKey = smallOrderSigner{m.leafKey} }, ErrChain},
		"leaf outlives the issuer":    {func(m *mold) { m.issuing.NotAfter = m.leaf.NotAfter.Add(-time.Second) }, ErrChain},
		"leaf lives too long":         {func(m *mold) { m.leaf.NotAfter = m.leaf.NotAfter.Add(time.Second) }, ErrChain},
		"leaf no name":                {func(m *mold) { m.leaf.URIs = nil }, ErrChain},
		"leaf DNS name":               {func(m *mold) { m.leaf.URIs, m.leaf.DNSNames = nil, []string{alice.Domain} }, ErrChain},
		"leaf DNS name too":           {func(m *mold) { m.leaf.DNSNames = []string{alice.Domain} }, ErrChain},
		"leaf two accounts":           {func(m *mold) { m.leaf.URIs = append(m.leaf.URIs, addressURL(bob)) }, ErrChain},
		"leaf the account twice":      {func(m *mold) { m.leaf.URIs = append(m.leaf.URIs, m.leaf.URIs[0]) }, ErrChain},
		"leaf mail address too":       {func(m *mold) { m.leaf.EmailAddresses = []string{alice.String()} }, ErrChain},
		"leaf hidden other name": {setSAN(san(false, uriName(alice.URI()), asn1.RawValue{
			Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{0x2a},
		})), ErrChain},
		"leaf another user":     {func(m *mold) { m.leaf.URIs = []*url.URL{addressURL(bob)} }, ErrName},
		"leaf another scheme":   {setSAN(san(false, uriName("https://chat.example.com/alice"))), ErrName},
		"leaf escaped name":     {setSAN(san(false, uriName("secmsg://chat.example.com/%61lice"))), ErrName},
		"leaf upper case":       {setSAN(san(false, uriName("secmsg://Chat.example.com/alice"))), ErrName},
		"leaf with a port":      {setSAN(san(false, uriName("secmsg://chat.example.com:1/alice"))), ErrName},
		"leaf with a query":     {setSAN(san(false, uriName("secmsg://chat.example.com/alice?"))), ErrName},
		"leaf with a slash":     {setSAN(san(false, uriName("secmsg://chat.example.com/alice/"))), ErrName},
		"leaf with a user part": {setSAN(san(false, uriName("secmsg://alice@chat.example.com/alice"))), ErrName},
		"leaf broken name":      {func(m *mold) { m.cut = breakName }, ErrChain},
		"leaf broken signature": {func(m *mold) { m.cut = func(l, _ []byte) { l[len(l)-1] ^= 1 } }, ErrChain},
		"issuer's broken signature": {func(m *mold) {
			m.cut = func(_, i []byte) { i[len(i)-1] ^= 1 }
		}, ErrChain},
		"expired leaf": {func(m *mold) {
			m.leaf.NotAfter = now.Add(-time.Second)
		}, ErrExpired},
		"leaf of the future": {func(m *mold) {
			m.leaf.NotBefore, m.leaf.NotAfter = now.Add(time.Second), now.Add(time.Hour)
		}, ErrNotYetValid},
		"expired issuing CA": {func(m *mold) {
			m.leaf.NotAfter = now.Add(-time.Second)
			m.issuing.NotAfter = m.leaf.NotAfter
		}, ErrExpired},
		"expired root": {func(m *mold) {
			m.leaf.NotAfter = now.Add(-time.Second)
			m.issuing.NotAfter, m.root.NotAfter = m.leaf.NotAfter, m.leaf.NotAfter
		}, ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMold()
			tt.change(m)
			root, chain := m.build(t)
			if m.cut != nil {
				m.cut(chain[0], chain[1])
			}
			cert, err := VerifyAccount(root, chain, alice, now)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			t.Log(err)
			if IsValidity(err) == cert.Key.IsZero() {
				t.Errorf("with %v the certificate is %+v", err, cert)
			}
		})
	}
	if _, err := VerifyAccount(nil, otherChain, alice, now); !errors.Is(err, ErrChain) {
		t.Errorf("no root: %v", err)
	}
	if _, err := VerifyAccount(otherRoot, otherChain, Address{}, now); !errors.Is(err, ErrFormat) {
		t.Errorf("no address: %v", err)
	}
	if _, err := VerifyAccount(otherRoot, otherChain, bob, now); !errors.Is(err, ErrName) {
		t.Errorf("other user: %v", err)
	}
	if _, err := VerifyAccount(otherRoot, otherChain, Address{"alice", "example.org"}, now); !errors.Is(err, ErrName) {
		t.Errorf("other domain: %v", err)
	}
}

// breakName puts a NUL into the name of a signed leaf.
func breakName(leaf, _ []byte) {
	i := bytes.Index(leaf, []byte(alice.URI()))
	leaf[i+len(alice.URI())-1] = 0
}

// smallOrderSigner certifies a public key of small order.
type smallOrderSigner struct{ crypto.Signer }

func (smallOrderSigner) Public() crypto.PublicKey {
	b := make([]byte, key.SigningPublicSize)
	b[0] = 1
	return ed25519.PublicKey(b)
}

// The clock is moved before and after all validity periods. The key stays proved, and the grace period
// ends as specified.
func TestValidity(t *testing.T) {
	r := newRealm(t)
	chain := r.chain(t, now)
	start, end := now.Add(-ClockSkew), now.Add(-ClockSkew).Add(AccountLifetime)
	for _, tt := range []struct {
		at   time.Time
		want error
	}{
		{start.Add(-time.Second), ErrNotYetValid}, {start, nil}, {now, nil}, {end, nil}, {end.Add(time.Second), ErrExpired},
		{now.AddDate(-10, 0, 0), ErrNotYetValid}, {now.AddDate(20, 0, 0), ErrExpired},
	} {
		cert, err := VerifyAccount(r.root.Cert, chain, alice, tt.at)
		if !errors.Is(err, tt.want) {
			t.Errorf("at %s: %v, want %v", tt.at, err, tt.want)
		}
		if cert.Key != r.alice.Public() || cert.Address != alice || !cert.NotBefore.Equal(start) || !cert.NotAfter.Equal(end) {
			t.Errorf("at %s: %+v", tt.at, cert)
		}
		if !cert.InGrace(end.Add(AccountGrace)) || cert.InGrace(end.Add(AccountGrace+time.Second)) {
			t.Error("grace")
		}
		if !cert.RenewAt().Equal(start.Add(AccountLifetime / 3 * 2)) {
			t.Errorf("renew at %s", cert.RenewAt())
		}
	}
}

// A change anywhere in the chain is refused without a panic.
func TestChainChanged(t *testing.T) {
	r := newRealm(t)
	chain := r.chain(t, now)
	for n := range chain {
		flips(chain[n], func(i int, bad []byte) {
			c := [][]byte{chain[0], chain[1]}
			c[n] = bad
			if _, err := VerifyAccount(r.root.Cert, c, alice, now); err == nil {
				t.Errorf("certificate %d, byte %d", n, i)
			}
		})
	}
}

func FuzzVerifyAccount(f *testing.F) {
	// The same keys in every process of the fuzzer.
	signer := func(n byte) key.SigningPrivate { return must[key.SigningPrivate](f)(key.ParseSigningSeed(seed(n))) }
	m := newMold()
	m.rootKey, m.issuingKey, m.leafKey = signer(1).Signer(), signer(2).Signer(), signer(3).Signer()
	root, chain := m.build(f)
	certified := signer(3).Public()
	f.Add(chain[0], chain[1])
	f.Add(chain[1], chain[0])
	f.Add(root.Raw, chain[1])
	f.Add([]byte{}, []byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, leaf, issuing []byte) {
		cert, err := VerifyAccount(root, [][]byte{leaf, issuing}, alice, now)
		if err == nil && cert.Key != certified {
			t.Errorf("certified %s", cert.Key)
		}
		if err != nil && !errors.Is(err, ErrChain) && !errors.Is(err, ErrName) && !IsValidity(err) {
			t.Errorf("untyped error: %v", err)
		}
		_, _ = ParseRoot(leaf)
		_, _ = VerifyAccountCSR(leaf, alice)
	})
}
