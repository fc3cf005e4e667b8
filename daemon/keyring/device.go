package keyring

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
)

// device is this device of an account with its private keys.
type device struct {
	party    ratchet.Party
	account  key.SigningPublic // account identity key; zero while joining
	signing  key.SigningPrivate
	exchange key.ExchangePrivate
}

// deviceCache caches loaded devices, since each message needs one. It does not add a device
// that was read from a snapshot older than the last clear.
type deviceCache struct {
	mu      sync.Mutex
	devices map[store.AccountID]*device // guarded by mu
	cleared uint64                      // number of clears; guarded by mu
}

func (c *deviceCache) get(id store.AccountID) (*device, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.devices[id], c.cleared
}

func (c *deviceCache) put(id store.AccountID, d *device, cleared uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cleared != c.cleared {
		return
	}
	if c.devices == nil {
		c.devices = map[store.AccountID]*device{}
	}
	c.devices[id] = d
}

// clear empties the cache. It does not wipe the keys, because a running transaction may
// still use them; the garbage collector frees them afterwards.
func (c *deviceCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.devices = nil
	c.cleared++
}

// device returns this device of an account.
func (k *Keyring) device(tx *store.Tx, id store.AccountID) (*device, error) {
	if tx.Locked() {
		return nil, ErrLocked
	}
	d, cleared := k.devices.get(id)
	if d != nil {
		return d, nil
	}
	d, err := loadDevice(tx, id)
	if err != nil {
		return nil, fmt.Errorf("device keys: %w", err)
	}
	if !d.account.IsZero() {
		k.devices.put(id, d, cleared)
	}
	return d, nil
}

func loadDevice(tx *store.Tx, id store.AccountID) (*device, error) {
	a, err := tx.Account(id)
	if err != nil {
		return nil, err
	}
	addr, err := identity.ParseAddress(a.Address)
	if err != nil {
		return nil, err
	}
	d := &device{party: ratchet.Party{Address: addr, Device: a.Device}}
	if d.signing, err = signingKey(tx, id, store.KeySigning); err != nil {
		return nil, err
	}
	if d.exchange, err = exchangeKey(tx, id, store.KeyExchange); err != nil {
		return nil, err
	}
	if len(a.Chain) > 0 {
		if d.account, err = certifiedKey(a.Chain[0]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func signingKey(tx *store.Tx, id store.AccountID, kind string) (key.SigningPrivate, error) {
	seed, err := tx.Key(id, kind)
	if err != nil {
		return key.SigningPrivate{}, err
	}
	defer clear(seed)
	return key.ParseSigningSeed(seed)
}

func exchangeKey(tx *store.Tx, id store.AccountID, kind string) (key.ExchangePrivate, error) {
	seed, err := tx.Key(id, kind)
	if err != nil {
		return key.ExchangePrivate{}, err
	}
	defer clear(seed)
	return key.ParseExchangePrivate(seed)
}

// certifiedKey returns the identity key of a certificate that was verified when it was
// stored.
func certifiedKey(der []byte) (key.SigningPublic, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return key.SigningPublic{}, fmt.Errorf("own certificate: %w", err)
	}
	std, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return key.SigningPublic{}, errors.New("own certificate is not Ed25519")
	}
	return key.ParseSigningPublic(std)
}

// self returns the keys of this device for a handshake.
func (d *device) self() ratchet.SelfKeys {
	return ratchet.SelfKeys{Party: d.party, Account: d.account, Signing: d.signing.Public(), Exchange: d.exchange}
}
