package loadgen

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/rpc/wire"
)

// SendFirst seals plaintext as the first message of a new session with the only device of an account,
// and sends it. The plaintext may be anything: nothing here makes the checks of an honest sender. A
// refusal by the server is an error, too.
func (d *Device) SendFirst(ctx context.Context, to string, plaintext []byte) error {
	token, err := d.Token(ctx, wire.RoleAPI)
	if err != nil {
		return err
	}
	var own wire.Account
	if err := d.realm.call(ctx, http.MethodGet, "/v1/accounts/"+d.Name, token, nil, &own); err != nil {
		return err
	}
	var theirs wire.Bundles
	if err := d.realm.call(ctx, http.MethodPost, "/v1/accounts/"+to+"/bundles", token, wire.BundlesRequest{}, &theirs); err != nil {
		return err
	}
	bundle, version, err := openBundle(theirs, identity.Address{User: to, Domain: d.realm.domain})
	if err != nil {
		return fmt.Errorf("bundle of %s: %w", to, err)
	}
	ownVersion, err := identity.ManifestVersion(own.Manifest)
	if err != nil {
		return fmt.Errorf("first message of %s: %w", d.Name, err)
	}
	now := time.Now()
	self := ratchet.Party{Address: d.address, Device: d.ID}
	session, err := ratchet.Initiate(ratchet.SelfKeys{
		Party: self, Account: d.account, Signing: d.signing.Public(), Exchange: d.exchange, Chain: own.Chain, Manifest: own.Manifest,
	}, bundle, now)
	if err != nil {
		return fmt.Errorf("first message of %s: %w", d.Name, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("first message of %s: %w", d.Name, err)
	}
	_, ciphertext, err := session.Seal(ratchet.Meta{Class: ratchet.ClassDurable, Sender: self, Recipient: bundle.Party, MessageID: id},
		ratchet.ManifestRef{Version: ownVersion, Hash: identity.ManifestHash(own.Manifest)}, plaintext, now)
	if err != nil {
		return fmt.Errorf("first message of %s: %w", d.Name, err)
	}
	return d.deliver(ctx, &wire.Outgoing{
		Seq: 1, MessageId: id[:], Class: wire.Class_CLASS_DURABLE, Recipient: to, Device: bundle.Party.Device[:],
		ManifestVersion: version, Ciphertext: ciphertext,
	})
}

// openBundle returns the account's only device from the server's response, with the version of the
// manifest that lists it.
func openBundle(b wire.Bundles, addr identity.Address) (out ratchet.Bundle, version uint64, err error) {
	if len(b.Devices) != 1 || len(b.Chain) == 0 {
		return out, 0, fmt.Errorf("%d devices, %d certificates", len(b.Devices), len(b.Chain))
	}
	leaf, err := x509.ParseCertificate(b.Chain[0])
	if err != nil {
		return out, 0, err
	}
	public, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return out, 0, fmt.Errorf("a certificate for a key of type %T", leaf.PublicKey)
	}
	account, err := key.ParseSigningPublic(public)
	if err != nil {
		return out, 0, err
	}
	if version, err = identity.ManifestVersion(b.Manifest); err != nil {
		return out, 0, err
	}
	device, err := key.ParseDeviceID(b.Devices[0].Device)
	if err != nil {
		return out, 0, err
	}
	out = ratchet.Bundle{Party: ratchet.Party{Address: addr, Device: device}, Account: account, Manifest: b.Manifest}
	if out.SignedPrekey, err = identity.ParsePrekey(b.Devices[0].SignedPrekey); err != nil {
		return out, 0, err
	}
	if out.KEMPrekey, err = identity.ParsePrekey(b.Devices[0].KEMPrekey); err != nil {
		return out, 0, err
	}
	if len(b.Devices[0].OneTimeExchange) > 0 {
		oneTime, err := identity.ParsePrekey(b.Devices[0].OneTimeExchange)
		if err != nil {
			return out, 0, err
		}
		out.OneTime = &oneTime
	}
	return out, version, nil
}

// deliver sends one envelope over its own connection and waits for the result.
func (d *Device) deliver(ctx context.Context, out *wire.Outgoing) error {
	ws, _, err := d.OpenContact(ctx)
	if err != nil {
		return err
	}
	defer ws.Close()
	if err := write(ws, &wire.ContactClient{Frame: &wire.ContactClient_Send{Send: &wire.Send{Envelopes: []*wire.Outgoing{out}}}}); err != nil {
		return err
	}
	for {
		var f wire.ContactServer
		if err := read(ws, &f); err != nil {
			return err
		}
		switch r := f.GetResult(); {
		case f.GetBye() != nil:
			return fmt.Errorf("the server says goodbye: %v", f.GetBye())
		case len(r.GetRejected()) > 0:
			return fmt.Errorf("rejected: %v", r.GetRejected()[0])
		case len(r.GetAccepted()) > 0:
			return nil
		}
	}
}
