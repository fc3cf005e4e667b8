package api

import (
	"context"
	"errors"
	"fmt"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// putManifest serves PUT /v1/manifest. The identity key's signature authorizes it; the token only names
// the account. Repeating the same manifest succeeds, so a lost answer does no harm.
func (a *API) putManifest(ctx context.Context, in *body[wire.PutManifest]) (*empty, error) {
	c := callerOf(ctx)
	acc, err := a.opt.Store.Account(ctx, c.account)
	if err != nil {
		return nil, noAccount(err)
	}
	pub, err := key.ParseSigningPublic(acc.Identity)
	if err != nil {
		return nil, fmt.Errorf("stored identity key: %w", err)
	}
	addr := identity.Address{User: c.account, Domain: a.opt.Domain}
	m, err := identity.VerifyManifest(in.Body.Manifest, addr, pub)
	if err != nil {
		return nil, refuse(wire.CodeMalformed, "manifest: %s", reason(err))
	}
	next := storedManifest(m, in.Body.Manifest)
	if next.Hash == acc.ManifestHash {
		return &empty{}, nil
	}
	if len(in.Body.Previous) != len(acc.ManifestHash) {
		return nil, refuse(wire.CodeMalformed, "previous: not a hash")
	}
	previous := [32]byte(in.Body.Previous)
	if previous != acc.ManifestHash || m.Previous != previous || m.Version != acc.ManifestVersion+1 {
		return nil, refuse(wire.CodeConflict, "previous is not the hash of the newest manifest")
	}
	if ok, wait := a.manifests.Take(c.account); !ok {
		return nil, limited(wait)
	}
	added, dropped, err := a.compareDevices(ctx, c.account, next)
	if err != nil {
		return nil, err
	}
	// Linking a device is rate-limited like registration. Removing a device never is.
	if added > 0 {
		if ok, wait := a.registration.Take(clientAddr(ctx)); !ok {
			return nil, limited(wait)
		}
	}
	if err := a.opt.Store.PutManifest(ctx, c.account, previous, next, a.opt.Now()); err != nil {
		if errors.Is(err, store.ErrConflict) {
			return nil, refuse(wire.CodeConflict, "previous is not the hash of the newest manifest")
		}
		return nil, fmt.Errorf("store manifest: %w", err)
	}
	a.devices.drop(c.account)
	a.opt.Logger.InfoContext(ctx, "manifest replaced", "request", requestID(ctx), "account", c.account, "version", m.Version, "revoked", len(dropped))
	if a.opt.Hooks.ManifestChanged != nil {
		a.opt.Hooks.ManifestChanged(c.account, dropped)
	}
	return &empty{}, nil
}

// compareDevices returns the number of devices that next adds, and the devices that it drops. An added
// device must be new to the realm, because device ids are never reused.
func (a *API) compareDevices(ctx context.Context, account string, next store.Manifest) (added int, dropped []key.DeviceID, err error) {
	list, err := a.opt.Store.Devices(ctx, account)
	if err != nil {
		return 0, nil, fmt.Errorf("read devices: %w", err)
	}
	current := map[key.DeviceID]bool{}
	for _, d := range list {
		if !d.Revoked {
			current[d.ID] = true
		}
	}
	for _, d := range next.Devices {
		if current[d.ID] {
			delete(current, d.ID)
			continue
		}
		_, err := a.opt.Store.Device(ctx, d.ID)
		if err == nil {
			return 0, nil, refuse(wire.CodeMalformed, "manifest: a device key was used before")
		}
		if !errors.Is(err, store.ErrNotFound) {
			return 0, nil, fmt.Errorf("look for device: %w", err)
		}
		added++
	}
	for id := range current {
		dropped = append(dropped, id)
	}
	return added, dropped, nil
}

// postCertificate serves POST /v1/certificate: the stored chain, or a new one for the same key once two
// thirds of its lifetime have passed.
func (a *API) postCertificate(ctx context.Context, _ *empty) (*answer[wire.Certificate], error) {
	c := callerOf(ctx)
	acc, err := a.opt.Store.Account(ctx, c.account)
	if err != nil {
		return nil, noAccount(err)
	}
	addr := identity.Address{User: c.account, Domain: a.opt.Domain}
	now := a.opt.Now()
	cert, err := identity.VerifyAccount(a.opt.CA.Root(), acc.Chain, addr, now)
	if err == nil && now.Before(cert.RenewAt()) {
		return &answer[wire.Certificate]{wire.Certificate{Chain: acc.Chain}}, nil
	}
	pub, err := key.ParseSigningPublic(acc.Identity)
	if err != nil {
		return nil, fmt.Errorf("stored identity key: %w", err)
	}
	chain, err := a.opt.CA.Reissue(pub, addr)
	if err != nil {
		return nil, fmt.Errorf("reissue certificate: %w", err)
	}
	if err := a.opt.Store.SetChain(ctx, c.account, chain); err != nil {
		return nil, fmt.Errorf("store certificate: %w", err)
	}
	a.opt.Logger.InfoContext(ctx, "certificate reissued", "request", requestID(ctx), "account", c.account)
	return &answer[wire.Certificate]{wire.Certificate{Chain: chain}}, nil
}
