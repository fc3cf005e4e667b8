package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// maxManifests bounds the manifests of one response (rpc/wire, Manifests).
const maxManifests = 50

// named is the input of a route about an account. Inputs with more fields repeat its field, because
// huma ignores embedded types that are not exported.
type named struct {
	Name string `path:"name" maxLength:"64" doc:"account name, the part before the @"`
}

// noAccount maps the store's "not found" to the API's.
func noAccount(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return errNoAccount()
	}
	if err != nil {
		return fmt.Errorf("read account: %w", err)
	}
	return nil
}

// getAccount serves GET /v1/accounts/{name}.
func (a *API) getAccount(ctx context.Context, in *named) (*answer[wire.Account], error) {
	acc, err := a.lookup(ctx, callerOf(ctx), in.Name)
	if err != nil {
		return nil, err
	}
	return &answer[wire.Account]{wire.Account{Chain: acc.Chain, Manifest: acc.Manifest}}, nil
}

type manifestsInput struct {
	Name  string `path:"name" maxLength:"64" doc:"account name, the part before the @"`
	After uint64 `query:"after" doc:"only manifests of a higher version"`
}

// getManifests serves GET /v1/accounts/{name}/manifests.
func (a *API) getManifests(ctx context.Context, in *manifestsInput) (*answer[wire.Manifests], error) {
	if _, err := a.lookup(ctx, callerOf(ctx), in.Name); err != nil {
		return nil, err
	}
	list, err := a.opt.Store.Manifests(ctx, in.Name, in.After, maxManifests)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	out := wire.Manifests{Manifests: make([][]byte, 0, len(list))}
	for _, m := range list {
		out.Manifests = append(out.Manifests, m.Signed)
	}
	return &answer[wire.Manifests]{out}, nil
}

type bundlesInput struct {
	Name string `path:"name" maxLength:"64" doc:"account name, the part before the @"`
	Body wire.BundlesRequest
}

// postBundles serves POST /v1/accounts/{name}/bundles. One-time keys are scarce (attacks A8 and A9,
// crypto/ATTACKS.md), so the limiter is checked first and fails closed.
func (a *API) postBundles(ctx context.Context, in *bundlesInput) (*answer[wire.Bundles], error) {
	c := callerOf(ctx)
	wanted, err := parseDevices(in.Body.Devices)
	if err != nil {
		return nil, err
	}
	acc, err := a.lookup(ctx, c, in.Name)
	if err != nil {
		return nil, err
	}
	// For the caller's own account each device has its own bucket: after a new device was linked, up to
	// nine others fetch its keys.
	requester := c.account
	if in.Name == c.account {
		requester = c.device.String()
	}
	if ok, wait := a.bundles.Take(requester + " " + in.Name); !ok {
		return nil, limited(wait)
	}
	if in.Name != c.account {
		relation, err := a.opt.Store.Relation(ctx, in.Name, c.account)
		if err != nil {
			return nil, fmt.Errorf("look for block: %w", err)
		}
		if relation == store.RelationBlocked {
			return nil, errNoAccount()
		}
		if acc.Suspended {
			return nil, refuse(wire.CodeForbidden, "the account is suspended")
		}
	}
	devices, err := a.bundleDevices(ctx, c, in.Name, wanted)
	if err != nil {
		return nil, err
	}
	bundles, err := a.opt.Store.TakeBundles(ctx, devices, a.opt.Now())
	if err != nil {
		return nil, fmt.Errorf("take bundles: %w", err)
	}
	out := wire.Bundles{Chain: acc.Chain, Manifest: acc.Manifest, Devices: []wire.DeviceBundle{}}
	for _, b := range bundles {
		if b.Signed == nil || b.KEM == nil {
			continue
		}
		d := wire.DeviceBundle{Device: b.Device.String(), SignedPrekey: b.Signed.Public, KEMPrekey: b.KEM.Public}
		if b.OneTimeExchange != nil {
			d.OneTimeExchange = b.OneTimeExchange.Public
		}
		out.Devices = append(out.Devices, d)
	}
	return &answer[wire.Bundles]{out}, nil
}

// parseDevices parses the device ids of a request.
func parseDevices(texts []string) ([]key.DeviceID, error) {
	if len(texts) > wire.MaxDevices {
		return nil, refuse(wire.CodeMalformed, "devices: more than %d", wire.MaxDevices)
	}
	var ids []key.DeviceID
	for _, t := range texts {
		id, err := key.ParseDeviceID(t)
		if err != nil || slices.Contains(ids, id) {
			return nil, refuse(wire.CodeMalformed, "devices: an id is invalid or repeated")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// bundleDevices returns the devices of an account whose keys will be handed out: those wanted (or all
// if none are named), except the caller.
func (a *API) bundleDevices(ctx context.Context, c caller, name string, wanted []key.DeviceID) ([]key.DeviceID, error) {
	list, err := a.opt.Store.Devices(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read devices: %w", err)
	}
	var ids []key.DeviceID
	for _, d := range list {
		if d.Revoked || d.ID == c.device || len(wanted) > 0 && !slices.Contains(wanted, d.ID) {
			continue
		}
		ids = append(ids, d.ID)
	}
	return ids, nil
}
