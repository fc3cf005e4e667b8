package link

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// tokenMargin is how long before its expiry a token is replaced, so that it does not expire
// during a request.
const tokenMargin = 30 * time.Second

// token is the access token of one role. The goroutine that requests a token holds sem, so
// that concurrent callers wait for it instead of requesting their own.
type token struct {
	sem     chan struct{} // capacity 1
	device  key.DeviceID  // that bought it; guarded by sem
	value   string        // guarded by sem
	expires time.Time     // guarded by sem; monotonic
}

func newToken() *token { return &token{sem: make(chan struct{}, 1)} }

// Token returns an access token for role. It is requested with a signature of the device
// key over the server's nonce, and valid for this role only.
func (c *Client) Token(ctx context.Context, role wire.Role) (string, error) {
	t, ok := c.tokens[role]
	if !ok || c.signer == nil {
		return "", fmt.Errorf("token for role %q: %w", role, errNoSigner)
	}
	select {
	case t.sem <- struct{}{}:
		defer func() { <-t.sem }()
	case <-ctx.Done():
		return "", fmt.Errorf("token: %w", context.Cause(ctx))
	}
	device := *c.device.Load()
	if t.value != "" && t.device == device && time.Until(t.expires) > tokenMargin {
		return t.value, nil
	}
	bought, err := c.buyToken(ctx, role, device.String())
	if err != nil {
		return "", err
	}
	// Use the difference of the server's two times: its clock may differ from ours.
	life := time.Duration(min(max(bought.ExpiresMS-bought.TimeMS, 0), wire.TokenLife.Milliseconds())) * time.Millisecond
	t.device, t.value, t.expires = device, bought.Token, time.Now().Add(life)
	return t.value, nil
}

func (c *Client) buyToken(ctx context.Context, role wire.Role, device string) (wire.Token, error) {
	var challenged wire.Challenged
	err := c.call(ctx, http.MethodPost, "/v1/challenges", wire.Challenge{Account: c.account, Device: device}, &challenged)
	if err != nil {
		return wire.Token{}, fmt.Errorf("token: %w", err)
	}
	sig, err := c.signer.SignChallenge(role, challenged.Nonce)
	if err != nil {
		return wire.Token{}, fmt.Errorf("token: sign challenge: %w", err)
	}
	var bought wire.Token
	err = c.call(ctx, http.MethodPost, "/v1/tokens", wire.TokenRequest{
		Account: c.account, Device: device, Role: role, Nonce: challenged.Nonce, Signature: sig,
	}, &bought)
	if err != nil {
		return wire.Token{}, fmt.Errorf("token: %w", err)
	}
	if bought.Token == "" {
		return wire.Token{}, fmt.Errorf("token: %w: empty", ErrProtocol)
	}
	return bought, nil
}

// dropToken forgets a token that the server has rejected.
func (c *Client) dropToken(role wire.Role, value string) {
	t := c.tokens[role]
	t.sem <- struct{}{}
	defer func() { <-t.sem }()
	if t.value == value {
		t.value = ""
	}
}
