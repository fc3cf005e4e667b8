package link

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"secmsg/rpc/wire"
)

// TestCauses: each way in which a server cannot be used has its own cause, with the
// server's host and port and a text for users.
func TestCauses(t *testing.T) {
	realm := newRealm(t)
	dialFails := func(err error) func(*Endpoint) {
		return func(e *Endpoint) {
			e.Dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
			}
		}
	}
	errno := func(no syscall.Errno) func(*Endpoint) { return dialFails(os.NewSyscallError("connect", no)) }
	server := func(h http.HandlerFunc) func(*Endpoint) {
		return func(e *Endpoint) {
			s := httptest.NewUnstartedServer(h)
			s.TLS = newFake(t, realm).server.TLS
			s.StartTLS()
			t.Cleanup(s.Close)
			e.Server = s.Listener.Addr().String()
		}
	}
	plain := func(answer string) func(*Endpoint) {
		return func(e *Endpoint) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			check(t, err)
			t.Cleanup(func() { _ = ln.Close() })
			e.Server, e.Timing.Dial = ln.Addr().String(), time.Second/10
			if answer == "" {
				return // the kernel accepts the connection, and nothing answers
			}
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte(answer))
					_ = c.Close()
				}
			}()
		}
	}
	for name, x := range map[string]struct {
		change func(*Endpoint)
		cause  Cause
		kind   Kind
		reason string
	}{
		"a name that nobody has": {dialFails(&net.DNSError{Err: "no such host", Name: "nosuch.example", IsNotFound: true}), CauseDNS, KindUnreachable, "nosuch.example does not resolve"},
		"no server of names":     {dialFails(&net.DNSError{Err: "server misbehaving", Name: "a.example", IsTemporary: true}), CauseDNS, KindUnreachable, "server misbehaving"},
		"a closed port":          {func(e *Endpoint) { e.Server = "127.0.0.1:1" }, CauseConnectRefused, KindUnreachable, "refused"},
		"no network":             {errno(syscall.ENETUNREACH), CauseNoRoute, KindUnreachable, "unreachable"},
		"no host":                {errno(syscall.EHOSTUNREACH), CauseNoRoute, KindUnreachable, "route"},
		"no address of its own":  {errno(syscall.EADDRNOTAVAIL), CauseNoRoute, KindUnreachable, "address"},
		"the system's timeout":   {errno(syscall.ETIMEDOUT), CauseConnectTimeout, KindUnreachable, "in time"},
		"a local firewall":       {errno(syscall.EPERM), CausePermission, KindUnreachable, "not permitted"},
		"a deaf port":            {plain(""), CauseConnectTimeout, KindUnreachable, "in time"},
		"plain HTTP":             {plain("HTTP/1.1 400 Bad Request\r\n\r\n"), CauseTLS, KindUnreachable, "does not speak TLS"},
		"ssh":                    {plain("SSH-2.0-OpenSSH_9.2\r\n"), CauseTLS, KindUnreachable, "does not speak TLS"},
		"another site": {server(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>welcome</html>")) }),
			CauseNotSecmsg, KindUnreachable, "not a secmsg server"},
		"a site without such a page": {server(http.NotFound), CauseNotSecmsg, KindUnreachable, "not a secmsg server"},
		"a portal": {server(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://login.example/", http.StatusFound)
		}), CauseNotSecmsg, KindUnreachable, "not a secmsg server"},
		"a gateway without its server": {server(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }),
			"", KindUnreachable, "status 502"},
		"another version": {server(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"protocol":2}`))
		}), CauseVersion, KindVersion, ""},
		"another realm": {func(e *Endpoint) { e.Realm = newRealm(t).fingerprint() }, CauseCertificate, KindUntrusted, ""},
		"a wrong clock": {func(e *Endpoint) { e.Now = func() time.Time { return time.Now().AddDate(10, 0, 0) } },
			CauseClock, KindUntrusted, "ahead of the server's"},
		"TLS 1.2": {func(e *Endpoint) {
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.TLS = newFake(t, realm).server.TLS.Clone()
			s.TLS.MinVersion, s.TLS.MaxVersion = 0x0303, 0x0303
			s.StartTLS()
			t.Cleanup(s.Close)
			e.Server = s.Listener.Addr().String()
		}, CauseTLS, KindUnreachable, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFake(t, realm).endpoint()
			x.change(&e)
			_, err := FetchRealm(t.Context(), e)
			cause, host := CauseOf(err)
			if cause != x.cause || host != e.Server || KindOf(err) != x.kind {
				t.Errorf("cause %q of %q, kind %q; error %v", cause, host, KindOf(err), err)
			}
			if why := Reason(err); !strings.Contains(why, x.reason) || strings.Contains(why, "*") || strings.Contains(why, "net.") {
				t.Errorf("reason %q, it should name %q", why, x.reason)
			}
		})
	}
}

// TestCauseOfRefusal: the server's answer about the account has a cause, and every call
// returns it with the server's name.
func TestCauseOfRefusal(t *testing.T) {
	for _, x := range []struct {
		code  wire.Code
		cause Cause
	}{
		{wire.CodeSuspended, CauseSuspended}, {wire.CodeRevoked, CauseRevoked}, {wire.CodeVersion, CauseVersion},
		{wire.CodeForbidden, ""}, {wire.CodeRateLimited, ""}, {wire.CodeUnavailable, ""},
	} {
		f := newFake(t, newRealm(t))
		f.rest = func(w http.ResponseWriter, _ *http.Request) { f.refuse(w, http.StatusForbidden, x.code) }
		_, err := client(t, f).Account(t.Context(), "bob")
		if cause, host := CauseOf(err); cause != x.cause || host != f.endpoint().Server {
			t.Errorf("%s: cause %q of %q", x.code, cause, host)
		}
	}
	for reason, cause := range map[wire.Reason]Cause{
		wire.Reason_REASON_SUSPENDED: CauseSuspended, wire.Reason_REASON_REVOKED: CauseRevoked, wire.Reason_REASON_SHUTDOWN: "",
	} {
		err := at("chat.example:8443", &ByeError{Reason: reason})
		if got, host := CauseOf(err); got != cause || host != "chat.example:8443" {
			t.Errorf("%s: cause %q of %q", reason, got, host)
		}
	}
	// Cancelled on this side: no server is to blame.
	for _, err := range []error{context.Canceled, errors.New("disk full")} {
		if _, host := CauseOf(at("chat.example:8443", err)); host != "" {
			t.Errorf("%v blames %s", err, host)
		}
	}
}
