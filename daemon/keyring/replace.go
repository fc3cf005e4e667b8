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

// Replacement is the manifest by which this device, found to be an old copy,
// takes a new identity: the old id is not in it, a new one is.
type Replacement struct {
	Previous [32]byte // hash of the manifest that it follows
	Manifest []byte
	// Renewal says that Manifest is no replacement yet: it is one that this device
	// signed before on top of the same manifest, with the same devices. The server
	// gets it first, and the replacement goes on top of it, so that the account does
	// not sign two manifests of one version.
	Renewal bool
}

// PrepareReplacement makes the keys of a new device and the manifest that puts
// it in the place of this one, on top of the newest manifest that the server
// showed: the one that is known here, or a valid successor of it. On top of an
// older one it would bring devices back that were removed since. It commits them
// before they are sent: asked again on top of the same manifest it returns the
// same, so that a lost answer does no harm. It fails with [ErrNoIdentity] on a
// linked device, which links again instead, and with [ErrOlder] if the server
// shows an older manifest or another history.
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

// follows checks that a manifest of the account, whose signature was verified, is
// the newest known one or may come after it.
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

// ErrOlder says that the server shows an older list of the account's devices
// than is known here, or one of another history. Nothing is signed on top of it.
var ErrOlder = errors.New("the server shows an older list of this account's devices than this one knows")

// ErrRevoked says that a newer manifest of the account omits this device, which
// then never enrols itself.
var ErrRevoked = errors.New("this device was removed from its account")

// FinishReplacement makes the pending device the one in use, after the server
// has taken its manifest: sessions, prekeys and device keys of the old one are
// gone, history and queue stay.
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
		// First messages that name an earlier manifest are for the old device. The
		// hashes stay, to know an older or another history by.
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

// NextDevice returns the id of the device that PrepareReplacement made.
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

// SignNextChallenge is SignChallenge with the key of the device that
// PrepareReplacement made.
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
