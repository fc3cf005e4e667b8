package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// maxAnswer bounds a response in bytes. The largest is a page of users.
const maxAnswer = 8 << 20

// ErrUnreachable means that no server answers on the socket.
var ErrUnreachable = errors.New("the server does not answer on its admin socket")

// Client calls one server.
type Client struct {
	http *http.Client
}

// NewClient creates a client for the socket at path. It does not connect yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// CreateInvite makes an invite.
func (c *Client) CreateInvite(ctx context.Context, in CreateInvite) (CreatedInvite, error) {
	var out CreatedInvite
	return out, c.call(ctx, http.MethodPost, "/invites", in, &out)
}

// Invites lists all invites, newest first.
func (c *Client) Invites(ctx context.Context) (Invites, error) {
	var out Invites
	return out, c.call(ctx, http.MethodGet, "/invites", nil, &out)
}

// RevokeInvite makes an invite unusable.
func (c *Client) RevokeInvite(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/invites/"+url.PathEscape(id), nil, nil)
}

// Users lists a page of users after a name.
func (c *Client) Users(ctx context.Context, after string) (Users, error) {
	var out Users
	return out, c.call(ctx, http.MethodGet, "/users?after="+url.QueryEscape(after), nil, &out)
}

// User shows one user with the active devices.
func (c *Client) User(ctx context.Context, name string) (User, error) {
	var out User
	return out, c.call(ctx, http.MethodGet, userPath(name, ""), nil, &out)
}

// Suspend locks an account until Resume and closes its connections.
func (c *Client) Suspend(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, userPath(name, "/suspend"), nil, nil)
}

// Resume ends a suspension.
func (c *Client) Resume(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, userPath(name, "/resume"), nil, nil)
}

// DeleteUser removes an account and all its data on the server.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, userPath(name, ""), nil, nil)
}

// Devices lists an account's devices, including revoked ones.
func (c *Client) Devices(ctx context.Context, name string) (Devices, error) {
	var out Devices
	return out, c.call(ctx, http.MethodGet, userPath(name, "/devices"), nil, &out)
}

// Stats returns health details and counters.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	var out Stats
	return out, c.call(ctx, http.MethodGet, "/stats", nil, &out)
}

// Trace follows a message through the relay of this server, by the id that the sender's `send` printed. An id that is
// not among the relay's last steps is an *Error of code "not_found".
func (c *Client) Trace(ctx context.Context, id string) (Trace, error) {
	var out Trace
	return out, c.call(ctx, http.MethodGet, "/messages/"+url.PathEscape(id)+"/trace", nil, &out)
}

// ConfirmClock makes the server trust the wall clock after a jump.
func (c *Client) ConfirmClock(ctx context.Context) (ConfirmedClock, error) {
	var out ConfirmedClock
	return out, c.call(ctx, http.MethodPost, "/clock/confirm", nil, &out)
}

func userPath(name, verb string) string { return "/users/" + url.PathEscape(name) + verb }

// call makes one request. It returns an *Error if the server reports one.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("admin call: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, body)
	if err != nil {
		return fmt.Errorf("admin call: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("admin call: %w", ctx.Err())
		}
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var e ErrorBody
		if json.Unmarshal(data, &e) != nil || e.Error == nil {
			return &Error{Code: CodeInternal, Message: fmt.Sprintf("the server answered %s", resp.Status)}
		}
		return e.Error
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("admin answer: %w", err)
	}
	return nil
}
