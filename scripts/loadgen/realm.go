package loadgen

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"secmsg/rpc/wire"
)

const (
	// restConns is how many REST connections all devices share: two cores do not answer more at a time.
	restConns = 8
	// restTimeout bounds one REST call.
	restTimeout = 30 * time.Second
	// maxAnswer bounds the body of a response in bytes.
	maxAnswer = 1 << 20
	// protocolHeader carries the protocol version on every request.
	protocolHeader = "Secmsg-Protocol"
)

// Realm is the server under load.
type Realm struct {
	addr, domain string
	http         *http.Client
}

// NewRealm returns a server given by HOST:PORT and its realm's domain. The server's certificate is not
// verified: the generator runs on the server's machine.
func NewRealm(addr, domain string) *Realm {
	return &Realm{addr: addr, domain: domain, http: &http.Client{
		Timeout: restTimeout,
		Transport: &http.Transport{TLSClientConfig: unchecked(), MaxConnsPerHost: restConns, MaxIdleConnsPerHost: restConns,
			DisableCompression: true},
	}}
}

func unchecked() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
}

// Close closes idle connections.
func (r *Realm) Close() { r.http.CloseIdleConnections() }

// call makes one REST call; in and out may be nil.
func (r *Realm) call(ctx context.Context, method, path, bearer string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+r.addr+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set(protocolHeader, strconv.Itoa(wire.ProtocolVersion))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("%s %s: HTTP %d: %s", method, path, resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}
