package api

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// postAccount serves POST /v1/accounts. The invite is checked before anything else, and every invite
// that does not work gets the same answer. A client that lost the answer repeats the request with the
// same token and keys.
func (a *API) postAccount(ctx context.Context, in *body[wire.Register]) (*answer[wire.Registered], error) {
	if ok, wait := a.registration.Take(clientAddr(ctx)); !ok {
		return nil, limited(wait)
	}
	token, err := identity.InviteTokenFromBytes(in.Body.Token)
	if err != nil {
		return nil, errInvite()
	}
	hash := token.Hash()
	inv, err := a.opt.Store.Invite(ctx, hash)
	if errors.Is(err, store.ErrInvite) || errors.Is(err, store.ErrNotFound) {
		return nil, errInvite()
	}
	if err != nil {
		return nil, fmt.Errorf("look at invite: %w", err)
	}
	if subtle.ConstantTimeCompare(inv.TokenHash[:], hash[:]) != 1 {
		return nil, errInvite()
	}
	now := a.opt.Now()
	usable := !inv.Revoked && inv.Used < inv.Uses && now.Before(inv.Expires)
	reg, err := a.verifyRegistration(in.Body)
	if err != nil {
		if !usable {
			return nil, errInvite()
		}
		return nil, err
	}
	reg.TokenHash, reg.Now = hash, now
	addr := identity.Address{User: reg.Name, Domain: a.opt.Domain}
	existing, err := a.opt.Store.Account(ctx, reg.Name)
	switch {
	case err == nil && bytes.Equal(existing.Identity, reg.Identity):
		// Probably the same request again; the store decides, and keeps the chain.
		reg.Chain = existing.Chain
	case err == nil || errors.Is(err, store.ErrNotFound):
		if !usable {
			return nil, errInvite()
		}
		if err == nil {
			return nil, errNameTaken()
		}
		if err := a.deviceUnused(ctx, reg); err != nil {
			return nil, err
		}
		if reg.Chain, err = a.opt.CA.IssueAccount(in.Body.CSR, addr); err != nil {
			return nil, fmt.Errorf("issue certificate: %w", err)
		}
	default:
		return nil, fmt.Errorf("look for account: %w", err)
	}
	acc, err := a.opt.Store.Register(ctx, reg)
	switch {
	case errors.Is(err, store.ErrInvite):
		return nil, errInvite()
	case errors.Is(err, store.ErrNameTaken):
		return nil, errNameTaken()
	case err != nil:
		return nil, fmt.Errorf("register: %w", err)
	}
	a.opt.Logger.InfoContext(ctx, "account registered", "request", requestID(ctx), "account", acc.Name, "invite", inv.ID)
	a.devices.drop(acc.Name)
	return &answer[wire.Registered]{wire.Registered{Address: addr.String(), Chain: acc.Chain}}, nil
}

func errNameTaken() error { return refuse(wire.CodeNameTaken, "the account name is in use") }

// verifyRegistration checks everything that a registration proves: the name, the identity key (by the
// CSR), the manifest of version 1 (signed by the identity key), and its only device (by the proof).
func (a *API) verifyRegistration(r wire.Register) (store.Registration, error) {
	malformed := func(what string, err error) (store.Registration, error) {
		return store.Registration{}, refuse(wire.CodeMalformed, "%s: %s", what, reason(err))
	}
	if err := identity.ValidUser(r.Name); err != nil {
		return store.Registration{}, refuse(wire.CodeMalformed, "name: 1 to 32 of a-z, 0-9, dot, underscore and hyphen, the first a letter or digit")
	}
	addr := identity.Address{User: r.Name, Domain: a.opt.Domain}
	pub, err := identity.VerifyAccountCSR(r.CSR, addr)
	if err != nil {
		return malformed("csr", err)
	}
	m, err := identity.VerifyManifest(r.Manifest, addr, pub)
	if err != nil {
		return malformed("manifest", err)
	}
	if m.Version != 1 || len(m.Devices) != 1 {
		return store.Registration{}, refuse(wire.CodeMalformed, "manifest: the first one has version 1 and lists one device")
	}
	d := m.Devices[0]
	if err := (identity.Registration{Address: addr, Identity: pub, Exchange: d.Exchange}).Verify(d.Signing, r.Proof); err != nil {
		return malformed("proof", err)
	}
	return store.Registration{
		Name: r.Name, Identity: pub.Bytes(), Manifest: storedManifest(m, r.Manifest),
	}, nil
}

// deviceUnused refuses a device key that another account has registered.
func (a *API) deviceUnused(ctx context.Context, reg store.Registration) error {
	for _, d := range reg.Manifest.Devices {
		known, err := a.opt.Store.Device(ctx, d.ID)
		if err == nil && known.Account == reg.Name {
			continue // the same request twice at the same moment
		}
		if err == nil {
			return refuse(wire.CodeMalformed, "manifest: the device key was used before")
		}
		if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look for device: %w", err)
		}
	}
	return nil
}

// storedManifest converts a verified manifest to the store's type.
func storedManifest(m identity.Manifest, signed []byte) store.Manifest {
	out := store.Manifest{Version: m.Version, Hash: identity.ManifestHash(signed), Signed: signed}
	for _, d := range m.Devices {
		out.Devices = append(out.Devices, store.Device{
			ID: d.ID, Account: m.Address.User, Signing: d.Signing.Bytes(), Name: d.Name, Added: d.Added,
		})
	}
	return out
}

// reason returns the class of an error from crypto/identity. The rest of its text may quote client
// data.
func reason(err error) string {
	for _, known := range []error{
		identity.ErrSignature, identity.ErrName, identity.ErrExpired, identity.ErrNotYetValid, identity.ErrChain,
		key.ErrLowOrder, key.ErrEncoding, key.ErrLength, identity.ErrFormat,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "not valid"
}
