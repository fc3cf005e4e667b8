package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// otherCA issues a TLS certificate for the right host by a CA outside of the realm, like a
// CA that the system trusts.
func otherCA(t *testing.T) tls.Certificate {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Public CA"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: testDomain}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(time.Hour), DNSNames: []string{testDomain}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	check(t, err)
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: leafKey}
}

// TestRealmPin is E21 in crypto/ATTACKS.md: a server that cannot prove the realm learns
// only that somebody requested the statement.
func TestRealmPin(t *testing.T) {
	good := newRealm(t)
	accountLeaf := func(t *testing.T, r *realm) tls.Certificate {
		priv := key.GenerateSigning()
		der, err := r.issuing.CertifyAccount(priv.Public(), identity.Address{User: "mallory", Domain: testDomain}, time.Now())
		check(t, err)
		return tls.Certificate{Certificate: [][]byte{der, r.issuing.Cert.Raw}, PrivateKey: priv.Signer()}
	}
	for name, evil := range map[string]func(t *testing.T) *realm{
		"certificate of another CA, statement passed on": func(t *testing.T) *realm {
			r := *good
			r.tls = otherCA(t)
			return &r
		},
		"another realm":                    func(t *testing.T) *realm { return newRealm(t) },
		"account certificate used for TLS": func(t *testing.T) *realm { r := *good; r.tls = accountLeaf(t, good); return &r },
		"certificate for another host": func(t *testing.T) *realm {
			r := *good
			r.tls = serverCert(t, good.issuing, []string{"10.1.2.3"})
			return &r
		},
		"statement of another realm, right root": func(t *testing.T) *realm { r := *good; r.statement = newRealm(t).statement; return &r },
		"statement changed": func(t *testing.T) *realm {
			r := *good
			r.statement = append([]byte(nil), good.statement...)
			r.statement[len(r.statement)-1] ^= 1
			return &r
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, evil(t))
			e := f.endpoint()
			e.Realm = good.fingerprint()
			_, err := FetchRealm(t.Context(), e)
			wants(t, err, ErrUntrusted)
			if KindOf(err) != KindUntrusted {
				t.Errorf("kind %s", KindOf(err))
			}
			// Nothing about the device is sent on that connection.
			c := NewClient(e, "alice", f.id, f)
			defer c.Close()
			_, err = c.Account(t.Context(), "bob")
			wants(t, err, ErrUntrusted)
			_, err = Register(t.Context(), e, wire.Register{Token: []byte("invite token 001"), Name: "alice"})
			wants(t, err, ErrUntrusted)
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, line := range f.seen {
				if !strings.HasPrefix(line, "GET /v1/realm\n") || strings.Contains(line, "alice") {
					t.Errorf("the server was sent %q", line)
				}
			}
		})
	}
}

func TestRealmAccepts(t *testing.T) {
	t.Run("own CA", func(t *testing.T) {
		r, err := FetchRealm(t.Context(), newFake(t, newRealm(t)).endpoint())
		check(t, err)
		if r.Statement.Domain != testDomain || r.Root == nil {
			t.Errorf("realm %+v", r.Statement)
		}
	})
	t.Run("key named in the statement", func(t *testing.T) {
		r := newRealm(t)
		r.tls = otherCA(t)
		leaf, err := x509.ParseCertificate(r.tls.Certificate[0])
		check(t, err)
		r.sign(t, identity.TLSKeyHash(leaf))
		_, err = FetchRealm(t.Context(), newFake(t, r).endpoint())
		check(t, err)
	})
	t.Run("another domain than the account's", func(t *testing.T) {
		e := newFake(t, newRealm(t)).endpoint()
		e.Domain = "other.example.com"
		_, err := FetchRealm(t.Context(), e)
		wants(t, err, ErrUntrusted)
	})
	t.Run("wrong clock is named", func(t *testing.T) {
		e := newFake(t, newRealm(t)).endpoint()
		e.Now = func() time.Time { return time.Now().AddDate(10, 0, 0) }
		_, err := FetchRealm(t.Context(), e)
		wants(t, err, ErrUntrusted)
		if !strings.Contains(err.Error(), "this machine's clock is 87") {
			t.Errorf("the error does not name the clock: %v", err)
		}
	})
	t.Run("hybrid key exchange", func(t *testing.T) {
		f := newFake(t, newRealm(t))
		for want, offered := range map[tls.CurveID][]tls.CurveID{
			tls.X25519MLKEM768: {tls.CurveP256, tls.X25519, tls.X25519MLKEM768}, tls.X25519: {tls.X25519}, tls.CurveP256: {tls.CurveP256},
		} {
			s := httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
			s.TLS = &tls.Config{Certificates: []tls.Certificate{f.realm.tls}, MinVersion: tls.VersionTLS13, CurvePreferences: offered}
			s.StartTLS()
			e := f.endpoint()
			e.Server = s.Listener.Addr().String()
			conn, _, err := e.dial(t.Context())
			check(t, err)
			if got := conn.ConnectionState().CurveID; got != want {
				t.Errorf("a server with %v: %v was negotiated", offered, got)
			}
			check(t, conn.Close())
			s.Close()
		}
		s := httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{f.realm.tls}, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP521}}
		s.StartTLS()
		defer s.Close()
		e := f.endpoint()
		e.Server = s.Listener.Addr().String()
		if _, err := FetchRealm(t.Context(), e); KindOf(err) != KindUnreachable {
			t.Errorf("a server with P-521 alone: %v", err)
		}
	})
	t.Run("TLS 1.2 is refused", func(t *testing.T) {
		f := newFake(t, newRealm(t))
		s := httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{f.realm.tls}, MaxVersion: tls.VersionTLS12}
		s.StartTLS()
		defer s.Close()
		e := f.endpoint()
		e.Server = s.Listener.Addr().String()
		if _, err := FetchRealm(t.Context(), e); KindOf(err) != KindUnreachable {
			t.Errorf("error %v", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		e := newFake(t, newRealm(t)).endpoint()
		e.Server = "127.0.0.1:1"
		if _, err := FetchRealm(t.Context(), e); KindOf(err) != KindUnreachable {
			t.Errorf("error %v", err)
		}
	})
	t.Run("endless header", func(t *testing.T) {
		r := newRealm(t)
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{r.tls}})
		check(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			for err == nil {
				_, err = c.Write([]byte("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 4000) + "\r\n"))
			}
		}()
		_, err = FetchRealm(t.Context(), Endpoint{Server: ln.Addr().String(), Realm: r.fingerprint()})
		if KindOf(err) != KindUnreachable {
			t.Errorf("error %v", err)
		}
		check(t, ln.Close())
		<-done
	})
}

func FuzzCheckRealm(f *testing.F) {
	root, err := identity.NewRoot(testDomain, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	issuing, err := root.NewIssuing(testDomain, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	e := Endpoint{Realm: identity.RootFingerprint(root.Cert)}
	f.Add(root.Cert.Raw, issuing.Cert.Raw, []byte("statement"))
	f.Add([]byte{}, []byte{0x30}, []byte{})
	f.Fuzz(func(t *testing.T, rootDER, issuingDER, statement []byte) {
		w := wire.Realm{Protocol: 1, Root: rootDER, Issuing: issuingDER, Statement: statement}
		if _, err := e.checkRealm(w, time.Now()); err == nil {
			t.Fatal("a realm that nobody signed was accepted")
		}
	})
}
