package keyring

import (
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// metaRenewal is the key of a manifest that RenewManifest has signed and the server has not
// confirmed. It is public, like every manifest.
const metaRenewal = "manifest renewal"

// RenewManifest returns the own manifest signed again, with a new version and the present
// time, and the hash of its predecessor. It returns no manifest if a renewal is not due or
// is another device's task.
//
// An unconfirmed renewal is returned again, so that a lost answer does not make this
// account sign two manifests with one version. If shown, the server's manifest, is the
// predecessor of the present one (the server was restored from a backup), the present one
// is returned: peers already know it.
func (k *Keyring) RenewManifest(tx *store.Tx, id store.AccountID, shown []byte, now time.Time) (previous [32]byte, next []byte, err error) {
	previous, next, err = k.renewManifest(tx, id, shown, now)
	if errors.Is(err, ErrNoIdentity) {
		return previous, nil, nil
	}
	if err != nil {
		return previous, nil, fmt.Errorf("renew manifest: %w", err)
	}
	return previous, next, nil
}

func (k *Keyring) renewManifest(tx *store.Tx, id store.AccountID, shown []byte, now time.Time) (previous [32]byte, next []byte, err error) {
	a, d, account, err := k.primary(tx, id)
	if err != nil {
		return previous, nil, err
	}
	defer account.Wipe()
	m, err := identity.VerifyManifest(a.Manifest, d.party.Address, account.Public())
	if err != nil {
		return previous, nil, fmt.Errorf("own manifest: %w: %w", store.ErrCorrupt, err)
	}
	if _, listed := m.Device(d.party.Device); !listed || len(a.Pending) > 0 {
		return previous, nil, nil
	}
	if m.Version > 1 && identity.ManifestHash(shown) == m.Previous {
		return m.Previous, a.Manifest, nil
	}
	if !m.RenewalDue(now) {
		return previous, nil, nil
	}
	previous = identity.ManifestHash(a.Manifest)
	if next, err = renewalAfter(tx, id, d, account.Public(), previous); next != nil || err != nil {
		return previous, next, err
	}
	m.Version, m.Previous, m.Time = m.Version+1, previous, now
	if next, err = m.Sign(account); err != nil {
		return previous, nil, err
	}
	// The server may accept it, and peers may begin sessions with it, before this device
	// gets the answer.
	if err := tx.AddManifestHash(id, 0, m.Version, identity.ManifestHash(next), true); err != nil {
		return previous, nil, err
	}
	return previous, next, tx.SetMeta(id, metaRenewal, next)
}

// renewalAfter returns the renewal that was signed as the successor of a manifest and may
// be on the server, or nil.
func renewalAfter(tx *store.Tx, id store.AccountID, d *device, account key.SigningPublic, previous [32]byte) ([]byte, error) {
	next, err := tx.Meta(id, metaRenewal)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m, err := identity.VerifyManifest(next, d.party.Address, account); err == nil && m.Previous == previous {
		return next, nil
	}
	return nil, nil
}
