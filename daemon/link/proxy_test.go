package link

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// tunnels is a proxy that answers CONNECT, optionally with a fixed answer.
type tunnels struct {
	l      net.Listener
	answer string // "": open the tunnel

	mu     sync.Mutex
	asked  []string // request line and Proxy-Authorization
	seen   []byte   // bytes that the client sent through it
	served sync.WaitGroup
}

func newTunnels(t *testing.T, answer string) *tunnels {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := &tunnels{l: l, answer: answer}
	p.served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.served.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		check(t, l.Close())
		p.served.Wait()
	})
	return p
}

func (p *tunnels) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	if p.answer != "" {
		_, _ = io.WriteString(c, p.answer)
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		return
	}
	defer to.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(to, io.TeeReader(br, tap{p}))
		_ = to.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(c, to)
	_ = c.Close()
	both.Wait()
}

type tap struct{ p *tunnels }

func (r tap) Write(b []byte) (int, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.seen = append(r.p.seen, b...)
	return len(b), nil
}

func (p *tunnels) through(t *testing.T, e Endpoint, user string) Endpoint {
	u, err := url.Parse("http://" + user + p.l.Addr().String())
	check(t, err)
	e.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
	return e
}

// TestProxy connects through a proxy, which sees only the destination. TLS and the proof of
// the realm are with the server.
func TestProxy(t *testing.T) {
	f := newFake(t, newRealm(t))
	p := newTunnels(t, "")
	e := p.through(t, f.endpoint(), "me:pass@")
	c := NewClient(e, "alice", f.id, f)
	if _, err := c.Token(t.Context(), "api"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	p.mu.Lock()
	if want := "CONNECT " + e.Server + " Basic bWU6cGFzcw=="; len(p.asked) == 0 || p.asked[0] != want {
		t.Errorf("the proxy was asked %q, want %q", p.asked, want)
	}
	if len(p.seen) == 0 || strings.Contains(string(p.seen), "HTTP") || strings.Contains(string(p.seen), "alice") {
		t.Errorf("the proxy saw %d bytes: %.200q", len(p.seen), p.seen)
	}
	p.mu.Unlock()
	// The proxy cannot impersonate the server.
	e.Realm = newRealm(t).fingerprint()
	_, err := FetchRealm(t.Context(), e)
	wants(t, err, ErrUntrusted)
}

// TestProxyRefuses: the error names a proxy that refuses a connection, whatever it answers.
func TestProxyRefuses(t *testing.T) {
	f := newFake(t, newRealm(t))
	const login = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
	for name, c := range map[string]struct{ answer, user, reason string }{
		"forbidden":        {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "", "does not allow the connection (HTTP status 403)"},
		"login":            {login, "", "it requires a user and a password (HTTP status 407)"},
		"bad login":        {login, "me:wrong@", "it does not accept this user and password (HTTP status 407)"},
		"no way on":        {"HTTP/1.1 502 Bad Gateway\r\n\r\n", "", "it cannot reach the server (HTTP status 502)"},
		"another protocol": {"SSH-2.0-x\r\n", "", "it does not answer as an HTTP proxy does"},
		"TLS":              {"\x15\x03\x01\x00\x02\x02\x46", "", ""},
		"endless":          {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 2*maxHeader), "", ""},
		"early bytes":      {"HTTP/1.1 200 OK\r\n\r\nmore", "", "bytes before the tunnel"},
		"redirect":         {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "", "(HTTP status 302)"},
		"hangs up":         {"HTTP/1.1 200 OK\r\nA: b", "", "the connection was closed"},
	} {
		p := newTunnels(t, c.answer)
		_, err := FetchRealm(t.Context(), p.through(t, f.endpoint(), c.user))
		cause, host := CauseOf(err)
		reason := Reason(err)
		if KindOf(err) != KindUnreachable || cause != CauseProxy || host == "" || !strings.Contains(reason, p.l.Addr().String()) ||
			!strings.Contains(reason, c.reason) || strings.Contains(reason, "wrong") {
			t.Errorf("%s: %v, cause %q, reason %q", name, err, cause, reason)
		}
	}
	e := f.endpoint()
	e.Proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, nil }
	_, err := FetchRealm(t.Context(), e)
	if cause, _ := CauseOf(err); cause != CauseProxy || !strings.Contains(Reason(err), "refused") {
		t.Errorf("no proxy: %v, cause %q", err, cause)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.paths) != 0 {
		t.Errorf("the server was asked directly: %q", f.paths)
	}
}

// TestProxySaysWhy: for everything that can be wrong with a proxy, the error names the
// proxy and the reason.
func TestProxySaysWhy(t *testing.T) {
	f := newFake(t, newRealm(t))
	says := func(name, reason string, via func(*http.Request) (*url.URL, error), timing Timing) {
		t.Helper()
		e := f.endpoint()
		e.Proxy, e.Timing = via, timing
		_, err := FetchRealm(t.Context(), e)
		if cause, _ := CauseOf(err); cause != CauseProxy || KindOf(err) != KindUnreachable || !strings.Contains(Reason(err), reason) {
			t.Errorf("%s: %v, cause %q, reason %q; want %q", name, err, cause, Reason(err), reason)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
	to := func(u string) ProxyFunc {
		return func(*http.Request) (*url.URL, error) { return url.Parse(u) }
	}
	says("scheme", "neither http, https nor socks5", to("ftp://127.0.0.1:1"), Timing{})
	says("certificate", "its certificate is invalid", to("https://me:secret@"+f.endpoint().Server), Timing{})
	says("environment", "HTTPS_PROXY is not a URL", to("http://me:se%zzcret@127.0.0.1:1 secret"), Timing{})
	answering := func(answer string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		var done sync.WaitGroup
		done.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				done.Go(func() {
					_, _ = io.WriteString(c, answer)
					_, _ = io.Copy(io.Discard, c) // until the client disconnects
					_ = c.Close()
				})
			}
		})
		t.Cleanup(func() {
			check(t, l.Close())
			done.Wait()
		})
		return l.Addr().String()
	}
	for name, c := range map[string]struct{ answer, reason string }{
		"login":       {"\x05\xff", "no acceptable authentication methods"},
		"unreachable": {"\x05\x00\x05\x04\x00\x01", "it refused the connection: host unreachable"},
		"not SOCKS":   {"HTTP/1.1 400 Bad Request\r\n\r\n", "unexpected protocol version"},
	} {
		says("SOCKS, "+name, c.reason, to("socks5://"+answering(c.answer)), Timing{})
	}
	silent := answering("")
	for _, scheme := range []string{"http", "https", "socks5"} {
		says(scheme+", silent", "the proxy "+silent+": no answer in time", to(scheme+"://"+silent), Timing{Dial: 300 * time.Millisecond})
	}
}

// TestSOCKSProxy connects through a SOCKS 5 proxy, which resolves the name.
func TestSOCKSProxy(t *testing.T) {
	f := newFake(t, newRealm(t))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	var done sync.WaitGroup
	var asked []byte
	done.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		hello := make([]byte, 3)
		_, _ = io.ReadFull(c, hello)
		_, _ = c.Write([]byte{5, 0})
		asked = make([]byte, 4+1+len("chat.example.com")+2)
		_, _ = io.ReadFull(c, asked)
		to, err := net.Dial("tcp", f.endpoint().Server)
		if err != nil {
			return
		}
		defer to.Close()
		_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(to, c); _ = to.(*net.TCPConn).CloseWrite() })
		_, _ = io.Copy(c, to)
		_ = c.Close()
		both.Wait()
	})
	e := f.endpoint()
	e.Server = "chat.example.com:8443"
	e.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("socks5://" + l.Addr().String()) }
	_, err = FetchRealm(t.Context(), e)
	check(t, l.Close())
	done.Wait()
	// The fake's certificate is not for that name; this test is about the proxy.
	if err != nil {
		wants(t, err, ErrUntrusted)
	}
	if want := "\x05\x01\x00\x03\x10chat.example.com\x20\xfb"; string(asked) != want {
		t.Errorf("the proxy was asked %q, want %q", asked, want)
	}
}

func TestProxyFrom(t *testing.T) {
	ask := func(p ProxyFunc, to string) string {
		u, err := url.Parse(to)
		check(t, err)
		via, err := p(&http.Request{URL: u})
		check(t, err)
		if via == nil {
			return ""
		}
		return via.Host
	}
	p, err := ProxyFrom("http://proxy.example.com:3128")
	check(t, err)
	for to, want := range map[string]string{
		"https://chat.example.com:8443": "proxy.example.com:3128", "https://10.0.0.1": "proxy.example.com:3128",
		"https://localhost:8443": "", "https://127.0.0.5": "", "https://[::1]:1": "", "http://127.0.0.1:9000": "",
	} {
		if got := ask(p, to); got != want {
			t.Errorf("to %s through %q, want %q", to, got, want)
		}
	}
	if p, err := ProxyFrom(""); err != nil || p != nil {
		t.Errorf("no option: %v", err)
	}
	for _, bad := range []string{"proxy.example.com:3128", "ftp://proxy.example.com", "http://", "socks4://h", "://"} {
		if _, err := ProxyFrom(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
