package link

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// Register creates the account and returns its certificate and manifest. Repeating it with
// the same token and keys returns the same answer. Besides the errors of every call it
// fails with the codes invite and name_taken.
func (c *Client) Register(ctx context.Context, r wire.Register) (wire.Registered, error) {
	var out wire.Registered
	err := c.call(ctx, http.MethodPost, "/v1/accounts", r, &out)
	return out, err
}

// Register creates an account on the server of an invite; see [Client.Register].
func Register(ctx context.Context, e Endpoint, r wire.Register) (wire.Registered, error) {
	c := NewClient(e, "", key.DeviceID{}, nil)
	defer c.Close()
	return c.Register(ctx, r)
}

// Account looks up the chain and newest manifest of an account of the realm. The answer is
// not verified; package trust does that.
func (c *Client) Account(ctx context.Context, name string) (wire.Account, error) {
	var out wire.Account
	path, err := accountPath(name, "")
	if err != nil {
		return out, err
	}
	err = c.authorized(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// Manifests returns the manifests of an account after a version, oldest first.
func (c *Client) Manifests(ctx context.Context, name string, after uint64) (wire.Manifests, error) {
	var out wire.Manifests
	path, err := accountPath(name, "/manifests?after="+strconv.FormatUint(after, 10))
	if err != nil {
		return out, err
	}
	err = c.authorized(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// Bundles takes prekeys of the named devices, or of all. One-time keys in the answer are
// used up. The answer is not verified.
func (c *Client) Bundles(ctx context.Context, name string, devices []key.DeviceID) (wire.Bundles, error) {
	var out wire.Bundles
	path, err := accountPath(name, "/bundles")
	if err != nil {
		return out, err
	}
	var body wire.BundlesRequest
	for _, d := range devices {
		body.Devices = append(body.Devices, d.String())
	}
	err = c.authorized(ctx, http.MethodPost, path, body, &out)
	return out, err
}

// PutManifest stores the next manifest of the own account. It fails with the code conflict
// if another one was stored first.
func (c *Client) PutManifest(ctx context.Context, previous [32]byte, manifest []byte) error {
	return c.authorized(ctx, http.MethodPut, "/v1/manifest", wire.PutManifest{Previous: previous[:], Manifest: manifest}, nil)
}

// PrekeyCount returns the number of this device's prekeys on the server.
func (c *Client) PrekeyCount(ctx context.Context) (wire.PrekeyCount, error) {
	var out wire.PrekeyCount
	err := c.authorized(ctx, http.MethodGet, "/v1/prekeys", nil, &out)
	return out, err
}

// PutPrekeys uploads prekeys of this device and returns the new number.
func (c *Client) PutPrekeys(ctx context.Context, p *wire.PutPrekeys) (wire.PrekeyCount, error) {
	var out wire.PrekeyCount
	err := c.authorized(ctx, http.MethodPut, "/v1/prekeys", p, &out)
	return out, err
}

// Contacts returns the server's copy of the own contact and block list.
func (c *Client) Contacts(ctx context.Context) (wire.Contacts, error) {
	var out wire.Contacts
	err := c.authorized(ctx, http.MethodGet, "/v1/contacts", nil, &out)
	return out, err
}

// PutContact makes an account a contact, or blocks it.
func (c *Client) PutContact(ctx context.Context, name string, r wire.Relation) error {
	path, err := contactPath(name)
	if err != nil {
		return err
	}
	return c.authorized(ctx, http.MethodPut, path, wire.PutContact{Relation: r}, nil)
}

// DeleteContact removes an account from the list, if it is on it.
func (c *Client) DeleteContact(ctx context.Context, name string) error {
	path, err := contactPath(name)
	if err != nil {
		return err
	}
	if err := c.authorized(ctx, http.MethodDelete, path, nil, nil); wire.CodeOf(err) != wire.CodeNotFound {
		return err
	}
	return nil
}

// RenewCertificate requests a new certificate for the same identity key.
func (c *Client) RenewCertificate(ctx context.Context) (wire.Certificate, error) {
	var out wire.Certificate
	err := c.authorized(ctx, http.MethodPost, "/v1/certificate", nil, &out)
	return out, err
}

func accountPath(name, rest string) (string, error) {
	if err := identity.ValidUser(name); err != nil {
		return "", err
	}
	return "/v1/accounts/" + url.PathEscape(name) + rest, nil
}

func contactPath(name string) (string, error) {
	if err := identity.ValidUser(name); err != nil {
		return "", err
	}
	return "/v1/contacts/" + url.PathEscape(name), nil
}
