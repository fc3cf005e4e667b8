package loadgen

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// Device is an account with its only device.
type Device struct {
	Name string
	ID   key.DeviceID

	realm    *Realm
	address  identity.Address
	account  key.SigningPublic
	signing  key.SigningPrivate
	exchange key.ExchangePrivate

	fence []byte // the confirmed value; only one goroutine at a time opens connections
}

// Register registers an account with an invite that has uses left.
func (r *Realm) Register(ctx context.Context, invite identity.InviteToken, name string) (*Device, error) {
	addr := identity.Address{User: name, Domain: r.domain}
	account, signing, exchange := key.GenerateSigning(), key.GenerateSigning(), key.GenerateExchange()
	now, pub := time.Now(), signing.Public()
	id := key.NewDeviceID(pub, exchange.Public())
	csr, err := identity.NewAccountCSR(account, addr)
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", name, err)
	}
	manifest, err := identity.Manifest{Address: addr, Version: 1, Time: now, Devices: []identity.Device{{
		ID: id, Signing: pub, Exchange: exchange.Public(), Name: "load", Added: now,
	}}}.Sign(account)
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", name, err)
	}
	proof, err := identity.Registration{Address: addr, Identity: account.Public(), Exchange: exchange.Public()}.Sign(signing)
	if err != nil {
		return nil, fmt.Errorf("register %s: %w", name, err)
	}
	err = r.call(ctx, http.MethodPost, "/v1/accounts", "", wire.Register{
		Token: invite.Bytes(), Name: name, CSR: csr, Manifest: manifest, Proof: proof,
	}, nil)
	if err != nil {
		return nil, err
	}
	return &Device{Name: name, ID: id, realm: r, address: addr, account: account.Public(), signing: signing, exchange: exchange}, nil
}

// RegisterMany registers n accounts named prefix0, prefix1, ...
func (r *Realm) RegisterMany(ctx context.Context, invite identity.InviteToken, prefix string, n int) ([]*Device, error) {
	devices := make([]*Device, n)
	err := Each(ctx, n, func(ctx context.Context, i int) (err error) {
		devices[i], err = r.Register(ctx, invite, fmt.Sprintf("%s%d", prefix, i))
		return err
	})
	return devices, err
}

// Each calls f for 0 to n-1, several at a time, until one fails.
func Each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * restConns)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}

// Token gets an access token.
func (d *Device) Token(ctx context.Context, role wire.Role) (string, error) {
	var c wire.Challenged
	err := d.realm.call(ctx, http.MethodPost, "/v1/challenges", "", wire.Challenge{Account: d.Name, Device: d.ID.String()}, &c)
	if err != nil {
		return "", err
	}
	sig, err := identity.Challenge{Address: d.address, Device: d.ID, Role: string(role), Nonce: c.Nonce}.Sign(d.signing)
	if err != nil {
		return "", fmt.Errorf("token of %s: %w", d.Name, err)
	}
	var t wire.Token
	err = d.realm.call(ctx, http.MethodPost, "/v1/tokens", "", wire.TokenRequest{
		Account: d.Name, Device: d.ID.String(), Role: role, Nonce: c.Nonce, Signature: sig,
	}, &t)
	return t.Token, err
}

// Befriend makes two accounts contacts of each other, so that the relay may hand their mail over from
// memory.
func Befriend(ctx context.Context, a, b *Device) error {
	for _, p := range [][2]*Device{{a, b}, {b, a}} {
		token, err := p[0].Token(ctx, wire.RoleAPI)
		if err != nil {
			return err
		}
		err = p[0].realm.call(ctx, http.MethodPut, "/v1/contacts/"+p[1].Name, token, wire.PutContact{Relation: wire.RelationContact}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}
