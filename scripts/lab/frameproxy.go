package lab

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
)

// maxProxied bounds a REST body passing through the proxy, in bytes.
const maxProxied = 4 << 20

// FrameHooks modify the traffic through a FrameProxy. They are called one at a time. A nil hook changes
// nothing.
type FrameHooks struct {
	// REST may replace the body of a REST response.
	REST func(method, path string, status int, body []byte) []byte
	// Deliver may change, repeat, drop or reorder the envelopes for an account's replica connection.
	// Acknowledgements are translated: an envelope dropped here counts as acknowledged together with
	// the one before it.
	Deliver func(account string, envs []*wire.Envelope) []*wire.Envelope
	// Frame may replace one frame by any number of frames, or end the connection.
	Frame func(f Frame) (out [][]byte, cut bool)
}

// Frame is one WebSocket message in transit.
type Frame struct {
	Account string
	Role    wire.Role
	Up      bool // from the client to the server
	Data    []byte
}

// FrameProxy is a hostile server. It has the realm's TLS key, so every client trusts it, and it
// forwards to the real server everything that its hooks do not change. It is the attacker that the
// encryption defends against.
type FrameProxy struct {
	upstream string
	client   *http.Client
	server   *http.Server
	wg       sync.WaitGroup

	mu    sync.Mutex
	hooks FrameHooks        // guarded by mu
	conns map[net.Conn]bool // guarded by mu; live client connections
	err   error             // guarded by mu; why it stopped serving
}

// NewFrameProxy listens on addr with the key of the server whose data directory is dir, and forwards to
// upstream.
func NewFrameProxy(dir, addr, upstream string) (*FrameProxy, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("frame proxy: %w", err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("frame proxy: %w", err)
	}
	p := &FrameProxy{upstream: upstream, conns: map[net.Conn]bool{}}
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: unchecked()}}
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve), ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}},
		ConnState: p.connState}
	p.wg.Go(func() {
		if err := p.server.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.err = fmt.Errorf("frame proxy: %w", err)
		}
	})
	return p, nil
}

// unchecked is a TLS configuration for the man in the middle itself, which need not verify the real
// server.
func unchecked() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func (p *FrameProxy) connState(c net.Conn, s http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s {
	case http.StateNew:
		p.conns[c] = true
	case http.StateClosed:
		delete(p.conns, c)
	}
}

// Hook sets the hooks.
func (p *FrameProxy) Hook(h FrameHooks) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks = h
}

// Cut closes every client connection.
func (p *FrameProxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Close ends the proxy and all connections through it.
func (p *FrameProxy) Close() error {
	err := p.server.Close()
	p.Cut()
	p.client.CloseIdleConnections()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(err, p.err)
}

func (p *FrameProxy) serve(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		p.relay(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxProxied))
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "https://"+p.upstream+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return
	}
	req.Header = r.Header.Clone()
	req.Host = r.Host
	resp, err := p.client.Do(req)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxProxied))
	if err != nil {
		return
	}
	p.mu.Lock()
	if p.hooks.REST != nil {
		answer = p.hooks.REST(r.Method, r.URL.Path, resp.StatusCode, answer)
	}
	p.mu.Unlock()
	for k, v := range resp.Header {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // a client that is gone will ask again
}

// accountOfToken returns the account in a bearer token, without verifying it.
func accountOfToken(header string) string {
	parts := strings.Split(strings.TrimPrefix(header, "Bearer "), ".")
	if len(parts) != 3 {
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct{ Account string }
	if json.Unmarshal(b, &claims) != nil {
		return ""
	}
	return claims.Account
}
