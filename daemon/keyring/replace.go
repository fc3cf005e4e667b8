package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// Replacement is a manifest with which this device, found to be an outdated copy, gets a
// new identity: it lists a new device id instead of the old one.
type Replacement struct {
	Previous [32]byte // hash of its predecessor
	Manifest []byte
	// Renewal: Manifest is not the replacement yet, but an unconfirmed renewal that this
	// device signed earlier as the successor of the same manifest, with the same devices.
	// It is sent first, and the replacement follows it, so that the account does not sign
	// two manifests with one version.
	Renewal bool
}

// PrepareReplacement creates the keys of a new device and a manifest in which it replaces
// this one. The manifest is the successor of newest, the newest one that the server showed:
// the one known here or a valid successor. A successor of an older manifest would bring
// removed devices back. The transaction must be committed before the manifest is sent.
// Called again for the same newest, it returns the same manifest, so that a lost answer
// does no harm. It fails with [ErrNoIdentity] on a linked device, which must be linked
// again instead, and with [ErrOlder] if the server shows an older manifest or another
// history.
func (k *Keyring) PrepareReplacement(tx *store.Tx, id store.AccountID, newest []byte, now time.Time) (Replacement, error) {
	a, d, account, err := k.primary(tx, id)
	if err != nil {
		return Replacement{}, fmt.Errorf("replace device: %w", err)
	}
	defer account.Wipe()
	m, err := identity.VerifyManifest(newest, d.party.Address, account.Public())
	if err != nil {
		return Replacement{}, fmt.Errorf("replace device: %w", err)
	}
	previous := identity.ManifestHash(newest)
	if err := follows(tx, a, m.Version, newest); err != nil {
		return Replacement{}, fmt.Errorf("replace device: %w", err)
	}
	if len(a.Pending) > 0 {
		p, err := identity.VerifyManifest(a.Pending, d.party.Address, account.Public())
		if err == nil && p.Previous == previous {
			return Replacement{Previous: previous, Manifest: a.Pending}, nil
		}
	}
	renewal, err := renewalAfter(tx, id, d, account.Public(), previous)
	if err != nil {
		return Replacement{}, fmt.Errorf("replace device: %w", err)
	}
	if renewal != nil {
		return Replacement{Previous: previous, Manifest: renewal, Renewal: true}, nil
	}
	old := slices.IndexFunc(m.Devices, func(x identity.Device) bool { return x.ID == d.party.Device })
	if old < 0 {
		return Replacement{}, fmt.Errorf("replace device: %w", ErrRevoked)
	}
	signing, exchange := key.GenerateSigning(), key.GenerateExchange()
	entry := deviceEntry(signing, exchange, m.Devices[old].Name, now)
	m.Devices = append(slices.Delete(slices.Clone(m.Devices), old, old+1), entry)
	m.Version, m.Previous, m.Time = m.Version+1, previous, now
	if a.Pending, err = m.Sign(account); err != nil {
		return Replacement{}, fmt.Errorf("replace device: %w", err)
	}
	err = errors.Join(
		setSeed(tx, id, store.KeyNextSigning, signing.Seed()),
		setSeed(tx, id, store.KeyNextExchange, exchange.Seed()),
		tx.SaveAccount(a),
	)
	if err != nil {
		return Replacement{}, fmt.Errorf("replace device: %w", err)
	}
	return Replacement{Previous: previous, Manifest: a.Pending}, nil
}

// follows checks that a manifest of the account, with a verified signature, is the newest
// known one or may be its successor.
func follows(tx *store.Tx, a store.Account, version uint64, signed []byte) error {
	if err := identity.CheckSuccessor(a.Manifest, signed); err != nil {
		return fmt.Errorf("%w: %w", ErrOlder, err)
	}
	hash, _, err := tx.ManifestHash(a.ID, 0, version)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil && hash != identity.ManifestHash(signed) {
		return fmt.Errorf("%w: another manifest of version %d was known", ErrOlder, version)
	}
	return err
}

// ErrOlder says that the server's list of the account's devices is older than the known
// one, or has another history. Nothing is signed as its successor.
var ErrOlder = errors.New("the server shows an outdated device list of this account")

// ErrRevoked says that a newer manifest of the account does not list this device, which
// must then never enrol itself again.
var ErrRevoked = errors.New("this device was removed from its account")

// FinishReplacement makes the pending device the current one, after the server has accepted
// its manifest. Sessions, prekeys and device keys of the old one are deleted; history and
// queue stay.
func (k *Keyring) FinishReplacement(tx *store.Tx, id store.AccountID) error {
	a, d, account, err := k.primary(tx, id)
	if err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	defer account.Wipe()
	m, err := identity.VerifyManifest(a.Pending, d.party.Address, account.Public())
	if err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	if err := follows(tx, a, m.Version, a.Pending); err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	signing, err := tx.Key(id, store.KeyNextSigning)
	if err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	exchange, err := tx.Key(id, store.KeyNextExchange)
	if err != nil {
		clear(signing)
		return fmt.Errorf("replace device: %w", err)
	}
	if a.Device, err = k.nextDevice(tx, id); err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	a.Manifest, a.Pending, a.Stopped = a.Pending, nil, ""
	err = errors.Join(
		tx.ResetDevice(id),
		setSeed(tx, id, store.KeySigning, signing),
		setSeed(tx, id, store.KeyExchange, exchange),
		tx.DeleteKey(id, store.KeyNextSigning),
		tx.DeleteKey(id, store.KeyNextExchange),
		// First messages that name an earlier manifest are for the old device. Keep the
		// hashes to detect an older or different history.
		tx.UnlistManifests(id),
		tx.AddManifestHash(id, 0, m.Version, identity.ManifestHash(a.Manifest), true),
		tx.SaveAccount(a),
	)
	if err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	tx.OnCommit(k.devices.clear)
	return nil
}

// primary loads an account with its identity key.
func (k *Keyring) primary(tx *store.Tx, id store.AccountID) (store.Account, *device, key.SigningPrivate, error) {
	a, err := tx.Account(id)
	if err != nil {
		return store.Account{}, nil, key.SigningPrivate{}, err
	}
	d, err := k.device(tx, id)
	if err != nil {
		return store.Account{}, nil, key.SigningPrivate{}, err
	}
	account, err := signingKey(tx, id, store.KeyIdentity)
	if errors.Is(err, store.ErrNotFound) {
		return store.Account{}, nil, key.SigningPrivate{}, ErrNoIdentity
	}
	return a, d, account, err
}

// NextDevice returns the id of the device created by PrepareReplacement.
func (k *Keyring) NextDevice(tx *store.Tx, id store.AccountID) (key.DeviceID, error) {
	next, err := k.nextDevice(tx, id)
	if err != nil {
		return key.DeviceID{}, fmt.Errorf("next device: %w", err)
	}
	return next, nil
}

func (k *Keyring) nextDevice(tx *store.Tx, id store.AccountID) (key.DeviceID, error) {
	signing, err := signingKey(tx, id, store.KeyNextSigning)
	if err != nil {
		return key.DeviceID{}, err
	}
	defer signing.Wipe()
	exchange, err := exchangeKey(tx, id, store.KeyNextExchange)
	if err != nil {
		return key.DeviceID{}, err
	}
	return key.NewDeviceID(signing.Public(), exchange.Public()), nil
}

// SignNextChallenge is SignChallenge with the key of the device created by
// PrepareReplacement.
func (k *Keyring) SignNextChallenge(ctx context.Context, id store.AccountID, role string, nonce []byte) ([]byte, error) {
	var sig []byte
	err := k.st.View(ctx, func(tx *store.Tx) error {
		d, err := k.device(tx, id)
		if err != nil {
			return err
		}
		next, err := signingKey(tx, id, store.KeyNextSigning)
		if err != nil {
			return err
		}
		defer next.Wipe()
		device, err := k.nextDevice(tx, id)
		if err != nil {
			return err
		}
		sig, err = identity.Challenge{Address: d.party.Address, Device: device, Role: role, Nonce: nonce}.Sign(next)
		return err
	})
	return sig, err
}
