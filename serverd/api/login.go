package api

import (
	"context"
	"errors"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// getRealm serves GET /v1/realm.
func (a *API) getRealm(context.Context, *empty) (*answer[wire.Realm], error) {
	statement, issuing, err := a.opt.CA.Statement()
	if err != nil {
		return nil, err
	}
	return &answer[wire.Realm]{wire.Realm{
		Protocol: wire.ProtocolVersion, Root: a.opt.CA.Root().Raw, Issuing: issuing, Statement: statement,
		TimeMS: a.opt.Now().UnixMilli(),
	}}, nil
}

// postChallenge serves POST /v1/challenges. It does not read the store, so the answer reveals nothing
// about the names.
func (a *API) postChallenge(ctx context.Context, in *body[wire.Challenge]) (*answer[wire.Challenged], error) {
	if ok, wait := a.logins.Take(clientAddr(ctx)); !ok {
		return nil, limited(wait)
	}
	v, expires := a.nonces.make(in.Body.Account, in.Body.Device)
	return &answer[wire.Challenged]{wire.Challenged{Nonce: v[:], ExpiresMS: expires.UnixMilli()}}, nil
}

// postToken serves POST /v1/tokens. Every failed login, including one with unknown names, gets the same
// answer after the same work. Only a client that holds a device's key learns that the device was
// revoked.
func (a *API) postToken(ctx context.Context, in *body[wire.TokenRequest]) (*answer[wire.Token], error) {
	if ok, wait := a.logins.Take(clientAddr(ctx)); !ok {
		return nil, limited(wait)
	}
	req := in.Body
	if req.Role != wire.RoleAPI && req.Role != wire.RoleContact && req.Role != wire.RoleReplica {
		return nil, refuse(wire.CodeMalformed, "unknown role")
	}
	v, fresh := a.nonces.check(req.Nonce, req.Account, req.Device)
	id, idErr := key.ParseDeviceID(req.Device)
	// An invalid id is looked up like any other, as the zero id.
	s, err := a.device(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	known := err == nil && idErr == nil && s.account == req.Account
	signing, addr := s.signing, identity.Address{User: s.account, Domain: a.opt.Domain}
	if !known {
		// Any valid name works here: the result of checking against the decoy is discarded.
		signing, addr.User = a.decoy, "nobody"
	}
	proof := identity.Challenge{Address: addr, Device: id, Role: string(req.Role), Nonce: v[:]}
	signed := proof.Verify(signing, req.Signature) == nil
	if !fresh || !known || !signed || !a.nonces.use(v) {
		return nil, errProof()
	}
	if s.revoked {
		return nil, errRevoked()
	}
	if s.suspended {
		return nil, refuse(wire.CodeSuspended, "the account is suspended")
	}
	token, expires, err := a.sign(s.account, id, req.Role)
	if err != nil {
		return nil, err
	}
	a.authenticated(ctx)
	return &answer[wire.Token]{wire.Token{Token: token, ExpiresMS: expires.UnixMilli(), TimeMS: a.opt.Now().UnixMilli()}}, nil
}
