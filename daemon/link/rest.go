package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

const (
	// maxAnswer bounds the body of an answer in bytes: the prekeys of ten devices, or fifty
	// manifests, in base64 fit easily.
	maxAnswer = 1 << 20
	// maxHeader bounds an answer's header in bytes.
	maxHeader = 64 << 10
	// maxErrorText bounds the server's text in an error, in bytes.
	maxErrorText = 256
	// idleConns is the number of REST connections kept open between calls. Parts that are
	// sent concurrently request their tickets concurrently, and each new connection costs a
	// handshake and a proof of the realm.
	idleConns = 8
	// idleTimeout is how long idle connections are kept.
	idleTimeout = 60 * time.Second
)

// Client makes the REST calls of one device. It is safe for concurrent use and has no
// goroutines of its own; Close closes its idle connections.
type Client struct {
	// constant
	endpoint Endpoint
	timing   Timing
	account  string
	signer   Signer
	hostPort string // HOST:PORT
	base     string // https://HOST:PORT
	http     *http.Client
	data     *http.Client // parts of blobs on the own server
	store    *http.Client // parts of blobs in another store

	tokens map[wire.Role]*token // one token for each role; the map is constant

	device atomic.Pointer[key.DeviceID] // see SetDevice
}

// NewClient returns a client for a device. Account, device and signer may be zero for a
// client that only registers.
func NewClient(e Endpoint, account string, device key.DeviceID, signer Signer) *Client {
	hostPort, _ := e.address()
	c := &Client{
		endpoint: e, timing: e.Timing.withDefaults(), account: account, signer: signer,
		hostPort: hostPort, base: "https://" + hostPort,
		tokens: map[wire.Role]*token{
			wire.RoleAPI: newToken(), wire.RoleContact: newToken(), wire.RoleReplica: newToken(),
		},
	}
	c.device.Store(&device)
	pinned := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, _, err := e.dial(ctx)
		return conn, err
	}
	c.http = newHTTP(&http.Transport{DialTLSContext: pinned, MaxIdleConns: idleConns, MaxIdleConnsPerHost: idleConns})
	c.data = newHTTP(&http.Transport{
		DialTLSContext: pinned, MaxIdleConns: dataConns, MaxIdleConnsPerHost: dataConns,
		ReadBufferSize: dataBuffer, WriteBufferSize: dataBuffer, ExpectContinueTimeout: c.timing.Open,
	})
	c.store = newHTTP(&http.Transport{
		MaxIdleConns: dataConns, MaxIdleConnsPerHost: dataConns, ReadBufferSize: dataBuffer, WriteBufferSize: dataBuffer,
		TLSHandshakeTimeout: c.timing.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		DialContext: (&net.Dialer{Timeout: c.timing.Dial}).DialContext,
		Proxy:       e.Proxy,
	})
	return c
}

// SetDevice makes the client that of another device of the account, whose key the signer
// has from now on. Tokens of the previous device are not used any longer.
func (c *Client) SetDevice(device key.DeviceID) { c.device.Store(&device) }

// newHTTP returns a client without redirects and cookies. It uses only the endpoint's
// proxy: the user decides who may see a connection, not the environment in which the daemon
// was started.
func newHTTP(t *http.Transport) *http.Client {
	t.IdleConnTimeout = idleTimeout
	t.MaxResponseHeaderBytes = maxHeader
	t.DisableCompression = true // ranges and sizes must match the sent bytes
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close closes idle connections.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.data.CloseIdleConnections()
	c.store.CloseIdleConnections()
}

// call sends body (nil: none) as JSON and decodes the answer into out (nil: ignored). It
// fails with *wire.Error, [ErrUnreachable], [ErrUntrusted] or [ErrProtocol].
func (c *Client) call(ctx context.Context, method, path string, body, out any) error {
	return c.do(ctx, method, path, "", body, out)
}

// authorized is call with an API token. If the server rejects the token, it gets a new one,
// once.
func (c *Client) authorized(ctx context.Context, method, path string, body, out any) error {
	var err error
	for range 2 {
		var bearer string
		if bearer, err = c.Token(ctx, wire.RoleAPI); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		err = c.do(ctx, method, path, bearer, body, out)
		if wire.CodeOf(err) != wire.CodeUnauthorized {
			return err
		}
		c.dropToken(wire.RoleAPI, bearer)
	}
	return err
}

// do makes one call. Errors of the network or the server include the server's address.
func (c *Client) do(ctx context.Context, method, path, bearer string, body, out any) error {
	return at(c.hostPort, c.exchange(ctx, method, path, bearer, body, out))
}

func (c *Client) exchange(ctx context.Context, method, path, bearer string, body, out any) error {
	op := method + " " + path
	ctx, cancel := context.WithTimeoutCause(ctx, c.timing.Request, errNoAnswer)
	defer cancel()
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s: encode: %w", op, err)
		}
		if len(b) > wire.MaxBody {
			return fmt.Errorf("%s: body of %d bytes: %w", op, len(b), ErrTooLarge)
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req.Header = c.header(bearer)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(ctx, op, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return unreachable(ctx, op, err)
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("%s: answer exceeds %d bytes: %w", op, maxAnswer, ErrProtocol)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("%s: %w", op, errorOf(resp.StatusCode, answer))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: decode answer: %w: %w", op, ErrProtocol, err)
	}
	if a, ok := out.(wire.Answer); ok {
		if err := a.Check(); err != nil {
			return fmt.Errorf("%s: answer: %w: %w", op, ErrProtocol, err)
		}
	}
	return nil
}

func (c *Client) header(bearer string) http.Header {
	h := http.Header{protocolHeader: {strconv.Itoa(wire.ProtocolVersion)}}
	if bearer != "" {
		h.Set("Authorization", "Bearer "+bearer)
	}
	return h
}

// errorOf decodes an error body and bounds its text.
func errorOf(status int, body []byte) error {
	var e wire.ErrorBody
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return statusError(status)
	}
	if len(e.Error.Message) > maxErrorText {
		e.Error.Message = e.Error.Message[:maxErrorText]
	}
	e.Error.RetryAfter = wire.WaitSeconds(e.Error.RetryAfter).Seconds()
	return e.Error
}

// errNoSigner is a programming error that should not cause a panic.
var errNoSigner = errors.New("client has no signer")
