package ca_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/serverd/ca"
)

const domain = "chat.example.com"

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// authority is a CA with a settable clock.
type authority struct {
	*ca.CA
	dir string
	now time.Time
}

func create(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := ca.Create(dir, domain, start); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string, at time.Time, change func(*ca.Options)) (*authority, error) {
	t.Helper()
	a := &authority{dir: dir, now: at}
	opt := ca.Options{
		Dir: dir, Domain: domain, Entry: []string{domain + ":8443"}, Hosts: []string{"localhost", "127.0.0.1", "::1"},
		Now: func() time.Time { return a.now },
	}
	if change != nil {
		change(&opt)
	}
	var err error
	a.CA, err = ca.Open(opt)
	return a, err
}

func mustOpen(t *testing.T, dir string, at time.Time, change func(*ca.Options)) *authority {
	t.Helper()
	a, err := open(t, dir, at, change)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// chain is the TLS chain that the listener would send.
func (a *authority) chain(t *testing.T) []*x509.Certificate {
	t.Helper()
	c, err := a.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []*x509.Certificate
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, cert)
	}
	return out
}

func TestFilesArePrivateAndSurviveReopening(t *testing.T) {
	dir := create(t)
	first := mustOpen(t, dir, start, nil)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 || strings.HasSuffix(e.Name(), ".new") {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
	}
	second := mustOpen(t, dir, start.Add(time.Hour), nil)
	if first.Fingerprint() != second.Fingerprint() || !bytes.Equal(first.chain(t)[0].Raw, second.chain(t)[0].Raw) {
		t.Error("another realm or certificate after reopening")
	}
	for _, host := range []string{domain, "localhost", "127.0.0.1", "::1"} {
		if err := identity.VerifyServer(first.Root(), first.chain(t), host, start); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := identity.VerifyServer(first.Root(), first.chain(t), "evil.example.com", start); err == nil {
		t.Error("the certificate is valid for another name")
	}
}

func TestRenewal(t *testing.T) {
	dir := create(t)
	a := mustOpen(t, dir, start, nil)
	leaf := func() []byte { return a.chain(t)[0].Raw }
	_, issuing, err := a.Statement()
	if err != nil {
		t.Fatal(err)
	}
	maintain := func(days int) {
		t.Helper()
		a.now = start.Add(time.Duration(days) * 24 * time.Hour)
		if err := a.Maintain(); err != nil {
			t.Fatalf("day %d: %v", days, err)
		}
	}
	before := leaf()
	if maintain(59); !bytes.Equal(before, leaf()) {
		t.Error("TLS certificate replaced too early")
	}
	if maintain(61); bytes.Equal(before, leaf()) {
		t.Error("TLS certificate not replaced at two thirds of its life")
	}
	if maintain(180); !bytes.Equal(issuing, a.chain(t)[1].Raw) {
		t.Error("issuing CA replaced too early")
	}
	if maintain(190); len(a.Problems()) != 0 {
		t.Error(a.Problems())
	}
	_, next, err := a.Statement()
	if err != nil || bytes.Equal(issuing, next) {
		t.Errorf("issuing CA not replaced after half its life: %v", err)
	}
	again := mustOpen(t, dir, a.now, nil)
	if _, kept, err := again.Statement(); err != nil || !bytes.Equal(kept, next) {
		t.Errorf("the new issuing CA was not kept: %v", err)
	}
	// For two years there is always a valid certificate.
	for day := 200; day < 730; day += 7 {
		maintain(day)
		if err := identity.VerifyServer(a.Root(), a.chain(t), domain, a.now); err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
		s, iss, err := a.Statement()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := identity.VerifyStatement(a.Root(), iss, s, a.now.Add(6*24*time.Hour)); err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
	}
}

func TestOfflineRoot(t *testing.T) {
	dir := create(t)
	away := filepath.Join(t.TempDir(), "root.key")
	if err := os.Rename(filepath.Join(dir, "root.key"), away); err != nil {
		t.Fatal(err)
	}
	a := mustOpen(t, dir, start.Add(200*24*time.Hour), nil)
	if len(a.Problems()) != 0 {
		t.Errorf("warned too early: %v", a.Problems())
	}
	a.now = start.Add(310 * 24 * time.Hour)
	if err := a.Maintain(); err != nil || len(a.Problems()) != 1 || !strings.Contains(a.Problems()[0], "root.key") {
		t.Errorf("%v %v", a.Problems(), err)
	}
	if err := os.Rename(away, filepath.Join(dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	if err := a.Maintain(); err != nil || len(a.Problems()) != 0 {
		t.Errorf("%v %v", a.Problems(), err)
	}
}

// A kill between the two renames of a new pair leaves a new key with an old certificate; the next start
// completes the renames.
func TestCrashBetweenRenames(t *testing.T) {
	for _, name := range []string{"issuing", "tls"} {
		dir, other := create(t), create(t)
		mustOpen(t, dir, start, nil)
		mustOpen(t, other, start, nil)
		// The other realm's pair serves as the new one; for the issuing CA the root must match, too.
		for _, f := range []string{"root.crt", "root.key", name + ".key"} {
			copyFile(t, filepath.Join(other, f), filepath.Join(dir, f))
		}
		copyFile(t, filepath.Join(other, name+".crt"), filepath.Join(dir, name+".crt.new"))
		if name == "tls" {
			for _, f := range []string{"issuing.crt", "issuing.key"} {
				copyFile(t, filepath.Join(other, f), filepath.Join(dir, f))
			}
		}
		a := mustOpen(t, dir, start, nil)
		if a.Fingerprint() != mustOpen(t, other, start, nil).Fingerprint() {
			t.Error("another root")
		}
		if _, err := os.Stat(filepath.Join(dir, name+".crt.new")); !os.IsNotExist(err) {
			t.Errorf("%s: the rename was not finished", name)
		}
	}
	// A key without its certificate is an error, not a new CA.
	dir, other := create(t), create(t)
	copyFile(t, filepath.Join(other, "issuing.key"), filepath.Join(dir, "issuing.key"))
	if _, err := open(t, dir, start, nil); err == nil {
		t.Error("a key of another CA was accepted")
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGivenCertificateIsNamedInTheStatement(t *testing.T) {
	dir := create(t)
	cert, priv := selfSigned(t, dir, "given")
	also, _ := selfSigned(t, dir, "proxy")
	a := mustOpen(t, dir, start, func(o *ca.Options) { o.TLSCert, o.TLSKey, o.Also = cert, priv, []string{also} })
	signed, issuing, err := a.Statement()
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.VerifyStatement(a.Root(), issuing, signed, start)
	if err != nil || len(s.TLSKeys) != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	shown := identity.TLSKeyHash(a.chain(t)[0])
	if s.TLSKeys[0] != shown && s.TLSKeys[1] != shown {
		t.Error("the shown key is not named")
	}
	// The file is replaced, as an ACME client does.
	selfSigned(t, dir, "given")
	if err := a.Maintain(); err != nil {
		t.Fatal(err)
	}
	signed, issuing, _ = a.Statement()
	s, err = identity.VerifyStatement(a.Root(), issuing, signed, start)
	next := identity.TLSKeyHash(a.chain(t)[0])
	if err != nil || next == shown || s.TLSKeys[0] != next && s.TLSKeys[1] != next {
		t.Errorf("the new file was not loaded: %v", err)
	}
	if _, err := open(t, dir, start, func(o *ca.Options) { o.Also = []string{"/nowhere.pem"} }); err == nil {
		t.Error("a missing file passed")
	}
}

// TestMissingFileHoldsUpNothing: while a proxy's file is missing, our own certificate is renewed, and
// the statement still names the proxy's key.
func TestMissingFileHoldsUpNothing(t *testing.T) {
	dir := create(t)
	also, _ := selfSigned(t, dir, "proxy")
	a := mustOpen(t, dir, start, func(o *ca.Options) { o.Also = []string{also} })
	before := a.chain(t)[0].Raw
	if err := os.Remove(also); err != nil {
		t.Fatal(err)
	}
	for day := 0; day < 200; day += 20 {
		a.now = start.Add(time.Duration(day) * 24 * time.Hour)
		if err := a.Maintain(); err == nil {
			t.Fatal("a missing file passed")
		}
	}
	if bytes.Equal(before, a.chain(t)[0].Raw) || identity.VerifyServer(a.Root(), a.chain(t), domain, a.now) != nil {
		t.Error("the own certificate was not renewed")
	}
	signed, issuing, err := a.Statement()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := identity.VerifyStatement(a.Root(), issuing, signed, a.now); err != nil || len(s.TLSKeys) != 1 {
		t.Errorf("statement %+v %v", s, err)
	}
}

// selfSigned writes a certificate and key as another CA would, and returns the paths.
func selfSigned(t *testing.T, dir, name string) (cert, priv string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{DNSNames: []string{domain}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, priv = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, priv, "PRIVATE KEY", keyDER)
	return cert, priv
}

func writePEM(t *testing.T, path, typ string, der ...[]byte) {
	t.Helper()
	var b []byte
	for _, d := range der {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: d})...)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Another implementation accepts an account's chain.
func TestOpenSSLAcceptsTheChain(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	dir := t.TempDir()
	if _, err := ca.Create(dir, domain, time.Now()); err != nil {
		t.Fatal(err)
	}
	a := mustOpen(t, dir, time.Now(), nil)
	addr := identity.Address{User: "alice", Domain: domain}
	priv := key.GenerateSigning()
	csr, err := identity.NewAccountCSR(priv, addr)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.IssueAccount(csr, addr)
	if err != nil {
		t.Fatal(err)
	}
	reissued, err := a.Reissue(priv.Public(), addr)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][][]byte{"account": chain, "reissued": reissued} {
		if cert, err := identity.VerifyAccount(a.Root(), c, addr, time.Now()); err != nil || cert.Key != priv.Public() {
			t.Errorf("%s: %v", name, err)
		}
		writePEM(t, filepath.Join(dir, "leaf.pem"), "CERTIFICATE", c[0])
		writePEM(t, filepath.Join(dir, "inter.pem"), "CERTIFICATE", c[1])
		cmd := exec.Command(openssl, "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", filepath.Join(dir, "root.crt"), "-untrusted", filepath.Join(dir, "inter.pem"), filepath.Join(dir, "leaf.pem"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	writePEM(t, filepath.Join(dir, "server.pem"), "CERTIFICATE", a.chain(t)[0].Raw)
	cmd := exec.Command(openssl, "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", domain, "-CAfile", filepath.Join(dir, "root.crt"), "-untrusted", filepath.Join(dir, "inter.pem"), filepath.Join(dir, "server.pem"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("server: %v\n%s", err, out)
	}
}
