package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/golang-jwt/jwt/v5"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// maxToken bounds a token's text in bytes; ours have about 300.
const maxToken = 1 << 10

// claims are the contents of a token (RFC 7519). HS256 is enough, because the server that issues a
// token also checks it.
type claims struct {
	Account string    `json:"account"`
	Device  string    `json:"device"`
	Role    wire.Role `json:"role"`
	jwt.RegisteredClaims
}

// sign issues a token.
func (a *API) sign(account string, device key.DeviceID, role wire.Role) (token string, expires time.Time, err error) {
	now := a.opt.Now()
	expires = now.Add(a.opt.Limits.TokenLife).Truncate(time.Second)
	c := claims{Account: account, Device: device.String(), Role: role, RegisteredClaims: jwt.RegisteredClaims{
		Issuer: a.opt.Domain, ExpiresAt: jwt.NewNumericDate(expires),
	}}
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(a.opt.TokenKey)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return token, expires, nil
}

// Verify checks that a token is valid for a role and that its device may still connect. It implements
// the relay's Tokens. Every error is a *wire.Error: unauthorized, suspended, or unavailable (the store
// cannot be read; Verify fails closed).
func (a *API) Verify(ctx context.Context, token string, role wire.Role) (account string, device key.DeviceID, err error) {
	if len(token) > maxToken {
		return "", key.DeviceID{}, errToken()
	}
	var c claims
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(), jwt.WithIssuer(a.opt.Domain), jwt.WithStrictDecoding(), jwt.WithTimeFunc(a.opt.Now),
	)
	_, err = parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return a.opt.TokenKey, nil })
	if err != nil || c.Role != role {
		return "", key.DeviceID{}, errToken()
	}
	id, err := key.ParseDeviceID(c.Device)
	if err != nil {
		return "", key.DeviceID{}, errToken()
	}
	s, err := a.device(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return "", key.DeviceID{}, errToken()
	}
	if err != nil {
		return "", key.DeviceID{}, err
	}
	if s.account != c.Account || s.revoked {
		return "", key.DeviceID{}, errToken()
	}
	if s.suspended {
		return "", key.DeviceID{}, refuse(wire.CodeSuspended, "the account is suspended")
	}
	a.authenticated(ctx)
	return c.Account, id, nil
}

// authenticated tells the listener that this connection's client has authenticated.
func (a *API) authenticated(ctx context.Context) {
	if a.opt.Hooks.Authenticated != nil {
		a.opt.Hooks.Authenticated(ctx)
	}
}

// caller is the authenticated sender of a request.
type caller struct {
	account string
	device  key.DeviceID
}

type callerKey struct{}

// callerOf returns the authenticated sender of a request. Only routes behind authenticate may call it.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// authenticate is the middleware of every route that requires a token. It runs before the body is read.
func (a *API) authenticate(ctx huma.Context, next func(huma.Context)) {
	token, ok := strings.CutPrefix(ctx.Header("Authorization"), "Bearer ")
	if !ok {
		a.fail(ctx, errToken())
		return
	}
	account, device, err := a.Verify(ctx.Context(), token, wire.RoleAPI)
	if err != nil {
		a.fail(ctx, err)
		return
	}
	next(huma.WithValue(ctx, callerKey{}, caller{account, device}))
}

// fail answers from a middleware.
func (a *API) fail(ctx huma.Context, err error) {
	r := a.toResponse(ctx.Context(), err)
	for k, v := range r.GetHeaders() {
		ctx.SetHeader(k, strings.Join(v, ", "))
	}
	ctx.SetHeader("Content-Type", "application/json")
	ctx.SetStatus(r.GetStatus())
	if b, err := r.MarshalJSON(); err == nil {
		_, _ = ctx.BodyWriter().Write(b) // an error means that the client is gone
	}
}
