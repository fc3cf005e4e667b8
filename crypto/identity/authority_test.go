package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/key"
)

func TestAuthority(t *testing.T) {
	r := newRealm(t)
	root, err := ParseRoot(r.root.Cert.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := root.NotAfter.Sub(root.NotBefore); got != RootLifetime {
		t.Errorf("root lives %s", got)
	}
	if got := r.issuing.Cert.NotAfter.Sub(r.issuing.Cert.NotBefore); got != IssuingLifetime {
		t.Errorf("issuing CA lives %s", got)
	}
	if RootFingerprint(root) != Fingerprint(sha256.Sum256(r.root.Cert.Raw)) {
		t.Error("fingerprint")
	}
	if _, err := ParseRoot(r.issuing.Cert.Raw); !errors.Is(err, ErrChain) {
		t.Errorf("issuing CA as root: %v", err)
	}
	// A root that another root signed under the same name is not self-signed.
	other := must[*Authority](t)(NewRoot(alice.Domain, now))
	m := newMold()
	m.root.Subject = other.Cert.Subject
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, m.root, other.Cert, m.rootKey.Public(), other.Key.Signer()))
	if _, err := ParseRoot(der); !errors.Is(err, ErrChain) {
		t.Errorf("cross-signed root: %v", err)
	}

	loaded, err := ParseAuthority(r.issuing.Cert.Raw, must[key.SigningPrivate](t)(key.ParseSigningSeed(r.issuing.Key.Seed())))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loaded.CertifyAccount(r.alice.Public(), alice, now); err != nil {
		t.Error(err)
	}
	if _, err := ParseAuthority(r.issuing.Cert.Raw, r.root.Key); !errors.Is(err, ErrChain) {
		t.Errorf("certificate with another key: %v", err)
	}
	if _, err := ParseAuthority(r.chain(t, now)[0], r.alice); !errors.Is(err, ErrChain) {
		t.Errorf("leaf as authority: %v", err)
	}
}

// A leaf never outlives its issuer nor an issuing CA its root, and nothing is signed under an expired
// certificate or with a wiped key.
func TestLives(t *testing.T) {
	r := newRealm(t)
	late := now.Add(IssuingLifetime - 30*day)
	chain := r.chain(t, late)
	cert, err := VerifyAccount(r.root.Cert, chain, alice, late)
	if err != nil || !cert.NotAfter.Equal(r.issuing.Cert.NotAfter) {
		t.Errorf("leaf until %s, issuer until %s: %v", cert.NotAfter, r.issuing.Cert.NotAfter, err)
	}
	last := must[*Authority](t)(r.root.NewIssuing(alice.Domain, now.Add(RootLifetime-30*day)))
	if last.Cert.NotAfter.After(r.root.Cert.NotAfter) {
		t.Error("issuing CA outlives the root")
	}
	for _, at := range []time.Time{now.Add(IssuingLifetime + day), now.Add(-2 * ClockSkew)} {
		if _, err := r.issuing.CertifyAccount(r.alice.Public(), alice, at); !IsValidity(err) {
			t.Errorf("leaf at %s: %v", at, err)
		}
		if _, err := r.issuing.IssueServer(alice.Domain, nil, r.alice.Public().Std(), at); !IsValidity(err) {
			t.Errorf("server at %s: %v", at, err)
		}
	}
	if _, err := r.root.NewIssuing(alice.Domain, now.Add(RootLifetime)); !errors.Is(err, ErrExpired) {
		t.Errorf("issuing CA under an expired root: %v", err)
	}
	r.issuing.Key.Wipe()
	if _, err := r.issuing.CertifyAccount(r.alice.Public(), alice, now); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("leaf with a wiped key: %v", err)
	}
}

func TestCSR(t *testing.T) {
	r := newRealm(t)
	csr := must[[]byte](t)(NewAccountCSR(r.alice, alice))
	if pub, err := VerifyAccountCSR(csr, alice); err != nil || pub != r.alice.Public() {
		t.Fatalf("%s, %v", pub, err)
	}
	if _, err := VerifyAccountCSR(csr, bob); !errors.Is(err, ErrName) {
		t.Errorf("request of another: %v", err)
	}
	if _, err := r.issuing.IssueAccount(csr, bob, now); !errors.Is(err, ErrName) {
		t.Errorf("issued for another: %v", err)
	}
	flips(csr, func(i int, bad []byte) {
		if _, err := VerifyAccountCSR(bad, alice); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
	})
	ec := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, bad := range map[string][]byte{
		"nothing":  nil,
		"trailing": append(bytes.Clone(csr), 0),
		"large":    make([]byte, MaxCSR+1),
		"ECDSA": must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader,
			&x509.CertificateRequest{URIs: []*url.URL{addressURL(alice)}}, ec)),
		"no name": must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader,
			&x509.CertificateRequest{}, r.alice.Signer())),
		"two names": must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader,
			&x509.CertificateRequest{URIs: []*url.URL{addressURL(alice), addressURL(bob)}}, r.alice.Signer())),
	} {
		if _, err := VerifyAccountCSR(bad, alice); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewAccountCSR(key.SigningPrivate{}, alice); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := NewAccountCSR(r.alice, Address{User: "Alice", Domain: "x"}); !errors.Is(err, ErrFormat) {
		t.Errorf("bad name: %v", err)
	}
	if _, err := r.issuing.CertifyAccount(key.SigningPublic{}, alice, now); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
}

func TestServerCertificate(t *testing.T) {
	r := newRealm(t)
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := r.issuing.IssueServer(alice.Domain, []string{"localhost", "127.0.0.1", "::1", alice.Domain}, pub, now)
	if err != nil {
		t.Fatal(err)
	}
	leaf := must[*x509.Certificate](t)(x509.ParseCertificate(der))
	chain := []*x509.Certificate{leaf, r.issuing.Cert}
	for host, want := range map[string]error{
		alice.Domain: nil, "localhost": nil, "127.0.0.1": nil, "[::1]": nil,
		"example.com": ErrName, "x.chat.example.com": ErrName, "127.0.0.2": ErrName, "": ErrName,
	} {
		if err := VerifyServer(r.root.Cert, chain, host, now); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", host, err, want)
		}
	}
	if err := VerifyServer(r.root.Cert, chain, alice.Domain, now.Add(ServerLifetime)); !errors.Is(err, ErrExpired) {
		t.Errorf("after its life: %v", err)
	}
	if err := VerifyServer(r.root.Cert, chain, alice.Domain, now.AddDate(-1, 0, 0)); !errors.Is(err, ErrNotYetValid) {
		t.Errorf("before its life: %v", err)
	}
	if err := VerifyServer(newRealm(t).root.Cert, chain, alice.Domain, now); !errors.Is(err, ErrChain) {
		t.Errorf("other realm: %v", err)
	}
	if err := VerifyServer(r.root.Cert, chain[:1], alice.Domain, now); !errors.Is(err, ErrChain) {
		t.Errorf("without the issuing CA: %v", err)
	}
	if err := VerifyServer(r.root.Cert, nil, alice.Domain, now); !errors.Is(err, ErrChain) {
		t.Errorf("no chain: %v", err)
	}
	// Neither kind of leaf is accepted as the other.
	account := must[*x509.Certificate](t)(x509.ParseCertificate(r.chain(t, now)[0]))
	if err := VerifyServer(r.root.Cert, []*x509.Certificate{account, r.issuing.Cert}, alice.Domain, now); !errors.Is(err, ErrChain) {
		t.Errorf("account as server: %v", err)
	}
	if _, err := VerifyAccount(r.root.Cert, [][]byte{der, r.issuing.Cert.Raw}, alice, now); !errors.Is(err, ErrChain) {
		t.Errorf("server as account: %v", err)
	}
	if TLSKeyHash(leaf) != sha256.Sum256(leaf.RawSubjectPublicKeyInfo) {
		t.Error("key hash")
	}
	if _, err := r.issuing.IssueServer(alice.Domain, []string{"host:1"}, pub, now); !errors.Is(err, ErrFormat) {
		t.Errorf("host with port: %v", err)
	}
	if _, err := r.issuing.IssueServer(alice.Domain, make([]string, MaxServerHosts+1), pub, now); !errors.Is(err, ErrFormat) {
		t.Errorf("too many hosts: %v", err)
	}
}

// Certificates that we issue are within our own limits and accepted by OpenSSL, for short and for the
// longest names.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	long := strings.Repeat("a2345678.", 28) + "b"
	for _, addr := range []Address{alice, {User: "a", Domain: "localhost"}, {User: "a" + strings.Repeat(".-_", 10) + "z", Domain: long}} {
		if err := addr.Validate(); err != nil {
			t.Fatal(err)
		}
		// OpenSSL uses the real clock.
		at := time.Now()
		root := must[*Authority](t)(NewRoot(addr.Domain, at))
		issuing := must[*Authority](t)(root.NewIssuing(addr.Domain, at))
		priv := key.GenerateSigning()
		csr := must[[]byte](t)(NewAccountCSR(priv, addr))
		leaf := must[[]byte](t)(issuing.IssueAccount(csr, addr, at))
		if _, err := VerifyAccount(root.Cert, [][]byte{leaf, issuing.Cert.Raw}, addr, at); err != nil {
			t.Fatal(err)
		}
		server := must[[]byte](t)(issuing.IssueServer(addr.Domain, []string{"localhost", "127.0.0.1"}, priv.Public().Std(), at))

		dir := t.TempDir()
		file := func(name string, der []byte) string {
			path := filepath.Join(dir, name)
			data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		rootFile, issuingFile := file("root", root.Cert.Raw), file("issuing", issuing.Cert.Raw)
		verify := func(want bool, args ...string) {
			t.Helper()
			out, err := exec.Command(openssl, append([]string{"verify"}, args...)...).CombinedOutput()
			if (err == nil) != want {
				t.Errorf("openssl verify %v: %v\n%s", args, err, out)
			}
		}
		leafFile, serverFile := file("leaf", leaf), file("server", server)
		verify(true, "-x509_strict", "-CAfile", rootFile, "-untrusted", issuingFile, leafFile)
		verify(true, "-purpose", "sslclient", "-CAfile", rootFile, "-untrusted", issuingFile, leafFile)
		verify(true, "-purpose", "sslserver", "-CAfile", rootFile, "-untrusted", issuingFile, serverFile)
		verify(false, "-purpose", "sslserver", "-CAfile", rootFile, "-untrusted", issuingFile, leafFile)
		verify(false, "-CAfile", rootFile, leafFile)
		// Other implementations enforce the name constraint, too.
		tmpl := newMold().leaf
		tmpl.NotBefore, tmpl.NotAfter = at.Add(-time.Minute), at.Add(time.Hour)
		tmpl.URIs = []*url.URL{addressURL(Address{User: "mallory", Domain: "evil.example"})}
		evil := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, issuing.Cert, priv.Public().Std(), issuing.Key.Signer()))
		verify(false, "-CAfile", rootFile, "-untrusted", issuingFile, file("evil", evil))
	}
}
