package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// Registration is the data that a device sends to create its account. It is derived from
// stored keys, so it can be created again.
type Registration struct {
	CSR      []byte // PKCS #10, signed by the identity key
	Manifest []byte // version 1, signed
	Proof    []byte // signature of the device's signing key
}

// NewAccount describes a new account.
type NewAccount struct {
	Address    identity.Address
	Server     string // HOST:PORT
	Realm      identity.Fingerprint
	Root       []byte // DER
	DeviceName string
}

// NewAccount creates the identity key, the device keys and the first manifest, and adds the
// account in the state joining. If the address is already joining, it keeps the existing
// keys, so that the request can be repeated after a lost answer.
func (k *Keyring) NewAccount(tx *store.Tx, n NewAccount, now time.Time) (store.AccountID, error) {
	a, err := tx.FindAccount(n.Address.String())
	switch {
	case err == nil && a.State != store.AccountJoining:
		return 0, fmt.Errorf("account %s: %w", n.Address, ErrExists)
	case err == nil:
		a.Server, a.Realm, a.Root = n.Server, n.Realm[:], n.Root
		return a.ID, tx.SaveAccount(a)
	case !errors.Is(err, store.ErrNotFound):
		return 0, fmt.Errorf("new account: %w", err)
	}
	account, signing, exchange := key.GenerateSigning(), key.GenerateSigning(), key.GenerateExchange()
	manifest, err := identity.Manifest{
		Address: n.Address, Version: 1, Time: now,
		Devices: []identity.Device{deviceEntry(signing, exchange, n.DeviceName, now)},
	}.Sign(account)
	if err != nil {
		return 0, fmt.Errorf("new account: %w", err)
	}
	id, err := tx.NewAccount(store.Account{
		Address: n.Address.String(), Server: n.Server, Realm: n.Realm[:], Root: n.Root,
		Device: key.NewDeviceID(signing.Public(), exchange.Public()), DeviceName: n.DeviceName, Manifest: manifest,
	})
	if err != nil {
		return 0, fmt.Errorf("new account: %w", err)
	}
	err = errors.Join(
		setSeed(tx, id, store.KeyIdentity, account.Seed()),
		setSeed(tx, id, store.KeySigning, signing.Seed()),
		setSeed(tx, id, store.KeyExchange, exchange.Seed()),
		tx.AddManifestHash(id, 0, 1, identity.ManifestHash(manifest), true),
	)
	if err != nil {
		return 0, fmt.Errorf("new account: %w", err)
	}
	return id, nil
}

func deviceEntry(signing key.SigningPrivate, exchange key.ExchangePrivate, name string, now time.Time) identity.Device {
	pub := signing.Public()
	return identity.Device{ID: key.NewDeviceID(pub, exchange.Public()), Signing: pub, Exchange: exchange.Public(), Name: name, Added: now}
}

func setSeed(tx *store.Tx, id store.AccountID, kind string, seed []byte) error {
	defer clear(seed)
	return tx.SetKey(id, kind, seed)
}

// Registration returns the data that creates the account on the server.
func (k *Keyring) Registration(tx *store.Tx, id store.AccountID) (Registration, error) {
	a, err := tx.Account(id)
	if err != nil {
		return Registration{}, fmt.Errorf("registration: %w", err)
	}
	d, err := k.device(tx, id)
	if err != nil {
		return Registration{}, fmt.Errorf("registration: %w", err)
	}
	account, err := signingKey(tx, id, store.KeyIdentity)
	if err != nil {
		return Registration{}, fmt.Errorf("registration: %w", err)
	}
	defer account.Wipe()
	csr, err := identity.NewAccountCSR(account, d.party.Address)
	if err != nil {
		return Registration{}, fmt.Errorf("registration: %w", err)
	}
	proof, err := identity.Registration{
		Address: d.party.Address, Identity: account.Public(), Exchange: d.exchange.Public(),
	}.Sign(d.signing)
	if err != nil {
		return Registration{}, fmt.Errorf("registration: %w", err)
	}
	return Registration{CSR: csr, Manifest: a.Manifest, Proof: proof}, nil
}

// Identity returns the account's public identity key.
func (k *Keyring) Identity(tx *store.Tx, id store.AccountID) (key.SigningPublic, error) {
	if d, err := k.device(tx, id); err != nil || !d.account.IsZero() {
		if err != nil {
			return key.SigningPublic{}, err
		}
		return d.account, nil
	}
	account, err := signingKey(tx, id, store.KeyIdentity)
	if err != nil {
		return key.SigningPublic{}, fmt.Errorf("identity key: %w", err)
	}
	defer account.Wipe()
	return account.Public(), nil
}

// SignChallenge signs a server's challenge with the device key, to get a token for role.
func (k *Keyring) SignChallenge(ctx context.Context, id store.AccountID, role string, nonce []byte) ([]byte, error) {
	var sig []byte
	err := k.st.View(ctx, func(tx *store.Tx) error {
		d, err := k.device(tx, id)
		if err != nil {
			return err
		}
		sig, err = identity.Challenge{Address: d.party.Address, Device: d.party.Device, Role: role, Nonce: nonce}.Sign(d.signing)
		return err
	})
	return sig, err
}

// Forget clears the cache of devices, after an account was removed or has got its chain.
func (k *Keyring) Forget() { k.devices.clear() }
