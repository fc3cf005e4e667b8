package identity

import (
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"secmsg/crypto/key"
)

func sortObjects(list []object) {
	slices.SortStableFunc(list, func(a, b object) int {
		return cmp.Or(cmp.Compare(fmt.Sprint(a["form"]), fmt.Sprint(b["form"])), cmp.Compare(fmt.Sprint(a["name"]), fmt.Sprint(b["name"])))
	})
}

func chainResult(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrExpired):
		return "expired"
	case errors.Is(err, ErrNotYetValid):
		return "not yet valid"
	case errors.Is(err, ErrName):
		return "name"
	case errors.Is(err, ErrChain):
		return "chain"
	}
	return err.Error()
}

// makeChains returns a valid chain and its variations.
func makeChains(t *testing.T) (out []chainVector) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 7)
	r := newRealm(t)
	pub := r.alice.Public()
	good := must[[]byte](t)(r.issuing.CertifyAccount(pub, alice, now))
	add := func(name, result string, at time.Time, addr Address, root *x509.Certificate, chain ...[]byte) {
		v := chainVector{Name: name, Root: text(root.Raw), Address: addr.String(), Time: at.Unix(), Result: result}
		for _, c := range chain {
			v.Chain = append(v.Chain, text(c))
		}
		if result == "ok" {
			v.Key = text(pub.Bytes())
		}
		out = append(out, v)
	}
	root, issuing := r.root.Cert, r.issuing.Cert.Raw
	add("a good chain", "ok", now, alice, root, good, issuing)
	add("its last second", "ok", now.Add(AccountLifetime-ClockSkew), alice, root, good, issuing)
	add("a second later", "expired", now.Add(AccountLifetime-ClockSkew+time.Second), alice, root, good, issuing)
	add("before it began", "not yet valid", now.Add(-ClockSkew-time.Second), alice, root, good, issuing)
	add("another account", "name", now, bob, root, good, issuing)
	add("the order of the chain", "chain", now, alice, root, issuing, good)
	add("the root in the chain", "chain", now, alice, root, good, issuing, root.Raw)
	add("no issuing CA", "chain", now, alice, root, good)
	other := newRealm(t)
	add("a root of another key", "chain", now, alice, other.root.Cert, good, issuing)
	foreign := must[*Authority](t)(r.root.NewIssuing("example.org", now))
	stray := must[[]byte](t)(foreign.CertifyAccount(pub, alice, now))
	add("an issuing CA of another domain", "name", now, alice, root, stray, foreign.Cert.Raw)
	leaf := func(change func(c *x509.Certificate)) []byte {
		c := &x509.Certificate{
			Subject: pkix.Name{CommonName: alice.User}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true,
			KeyUsage: accountUsage, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{addressURL(alice)},
		}
		change(c)
		return must[*x509.Certificate](t)(sign(c, r.issuing.Cert, pub, r.issuing.Key)).Raw
	}
	add("the least that a leaf needs", "ok", now, alice, root, leaf(func(*x509.Certificate) {}), issuing)
	add("a leaf that is a CA", "chain", now, alice, root, leaf(func(c *x509.Certificate) { c.IsCA = true }), issuing)
	add("a leaf for servers", "chain", now, alice, root, leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), issuing)
	add("a leaf with another key usage", "chain", now, alice, root, leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), issuing)
	add("a leaf with a second name", "chain", now, alice, root, leaf(func(c *x509.Certificate) { c.DNSNames = []string{"chat.example.com"} }), issuing)
	add("a leaf with a DNS name only", "chain", now, alice, root, leaf(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"chat.example.com"} }), issuing)
	add("a leaf that lives for more than 90 days", "chain", now, alice, root, leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(AccountLifetime) }), issuing)
	add("a leaf that outlives its issuer", "chain", now, alice, root, leaf(func(c *x509.Certificate) { c.NotAfter = r.issuing.Cert.NotAfter.Add(time.Second) }), issuing)
	add("a name with a query", "name", now, alice, root, leaf(func(c *x509.Certificate) {
		u := *addressURL(alice)
		u.RawQuery = "x"
		c.URIs = []*url.URL{&u}
	}), issuing)
	bad := slices.Clone(good)
	bad[len(bad)-1] ^= 1
	add("a changed signature", "chain", now, alice, root, bad, issuing)
	if _, err := key.ParseSigningPublic(pub.Bytes()); err != nil {
		t.Fatal(err)
	}
	return out
}
