package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// ProxyEnvironment is the option of [ProxyFrom] that takes the proxy from the environment's
// HTTPS_PROXY and NO_PROXY.
const ProxyEnvironment = "environment"

// ProxyFunc returns the proxy for a request, or nil, like the field Proxy of
// http.Transport.
type ProxyFunc func(*http.Request) (*url.URL, error)

// ProxyFrom returns the proxy for an option: "" for none, [ProxyEnvironment], or a URL with
// the scheme http, https or socks5, which may contain user and password. Connections to
// this machine never use a proxy.
func ProxyFrom(option string) (ProxyFunc, error) {
	switch option {
	case "":
		return nil, nil
	case ProxyEnvironment:
		return http.ProxyFromEnvironment, nil
	}
	u, err := url.Parse(option)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return nil, errors.New("the proxy is not a URL such as http://proxy.example.com:3128")
	}
	return func(r *http.Request) (*url.URL, error) {
		host := r.URL.Hostname()
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			return nil, nil
		}
		return u, nil
	}, nil
}

// proxyError is a failure of the proxy, or its refusal.
type proxyError struct {
	proxy string // HOST:PORT
	err   error
}

// Error returns the proxy and the reason.
func (e *proxyError) Error() string { return "proxy " + e.proxy + ": " + e.err.Error() }

// Unwrap returns the reason.
func (e *proxyError) Unwrap() error { return e.err }

// proxyAnswer is a refusal by the proxy, in words that are safe to display.
type proxyAnswer string

// Error returns the text.
func (a proxyAnswer) Error() string { return string(a) }

// connect opens the TCP connection to the server: directly, or through a tunnel of the
// proxy, which sees only HOST:PORT and TLS.
func (e Endpoint) connect(ctx context.Context, hostPort string) (net.Conn, error) {
	dial := e.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	if e.Proxy == nil {
		return dial(ctx, "tcp", hostPort)
	}
	via, err := e.Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: hostPort}})
	if err != nil {
		// The error's text may contain a password.
		return nil, &proxyError{"of the environment", proxyAnswer("HTTPS_PROXY is not a URL such as http://proxy.example.com:3128")}
	}
	if via == nil {
		return dial(ctx, "tcp", hostPort)
	}
	at := proxyAddress(via)
	conn, err := tunnel(ctx, dial, via, at, hostPort)
	if err != nil {
		return nil, &proxyError{at, err}
	}
	return conn, nil
}

func proxyAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if port == "" {
		port = "1080"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// DialContext implements the dialers of package proxy.
func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// Dial implements proxy.Dialer.
func (f dialFunc) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

func tunnel(ctx context.Context, dial dialFunc, via *url.URL, at, hostPort string) (net.Conn, error) {
	switch via.Scheme {
	case "socks5", "socks5h":
		return socks(ctx, dial, via, at, hostPort)
	case "http", "https":
	default: // possible only from the environment
		return nil, proxyAnswer("its scheme is neither http, https nor socks5")
	}
	conn, err := dial(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	if via.Scheme == "https" {
		// The proxy is not part of the realm: it has a certificate from a system root.
		secure := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: via.Hostname(), NextProtos: []string{"http/1.1"}})
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
				return nil, proxyAnswer("its certificate is invalid: " + strings.TrimPrefix(e.Err.Error(), "x509: "))
			}
			return nil, err
		}
		conn = secure
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = ask(conn, via, hostPort)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// ask opens the tunnel with CONNECT (RFC 9110, section 9.3.6).
func ask(conn net.Conn, via *url.URL, hostPort string) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: hostPort}, Host: hostPort, Header: http.Header{}}
	if user := via.User; user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	br := bufio.NewReader(io.LimitReader(conn, maxHeader))
	resp, err := http.ReadResponse(br, req)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isTimeout(err):
		return err
	case err != nil:
		if _, ok := errors.AsType[*net.OpError](err); ok {
			return err
		}
		return proxyAnswer("it does not answer as an HTTP proxy does")
	case resp.StatusCode/100 != 2:
		return refusal(resp.StatusCode, via.User != nil)
	case br.Buffered() != 0:
		return proxyAnswer("it sent bytes before the tunnel began")
	}
	return nil
}

// refusal explains the status with which a proxy refuses a tunnel.
func refusal(status int, login bool) proxyAnswer {
	text := "it does not allow the connection"
	switch {
	case status == http.StatusProxyAuthRequired && login:
		text = "it does not accept this user and password"
	case status == http.StatusProxyAuthRequired:
		text = "it requires a user and a password"
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		text = "it cannot reach the server"
	}
	return proxyAnswer(fmt.Sprintf("%s (HTTP status %d)", text, status))
}

// socks opens the tunnel with SOCKS 5 (RFC 1928). The proxy resolves the name.
func socks(ctx context.Context, dial dialFunc, via *url.URL, at, hostPort string) (net.Conn, error) {
	var auth *proxy.Auth
	if user := via.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", at, auth, dial)
	if err != nil {
		return nil, err
	}
	conn, err := d.(proxy.ContextDialer).DialContext(ctx, "tcp", hostPort)
	if e, ok := errors.AsType[*net.OpError](err); ok && strings.HasPrefix(e.Op, "socks") && Reason(err) == "" {
		// The text comes from the library and contains nothing that the proxy sent.
		return nil, proxyAnswer("it refused the connection: " + strings.TrimPrefix(e.Err.Error(), "unknown error "))
	}
	return conn, err
}
