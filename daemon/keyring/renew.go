package keyring

import (
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// metaRenewal names the manifest of RenewManifest that is on its way. It is
// public, like every manifest.
const metaRenewal = "manifest renewal"

// RenewManifest returns the own manifest signed anew, with a new version and the
// present time and otherwise unchanged, and the hash of the one that it follows;
// nothing if that is not due or another device's to do. A manifest that is on its
// way is returned again, so that an answer that was lost does not make this
// account sign two manifests of one version. If shown, which the server has, is the
// one before the present one, as after a restore from a backup, the present one is
// returned: peers know it already.
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
	// The server may take it, and peers begin sessions with it, before this device
	// gets the answer.
	if err := tx.AddManifestHash(id, 0, m.Version, identity.ManifestHash(next), true); err != nil {
		return previous, nil, err
	}
	return previous, next, tx.SetMeta(id, metaRenewal, next)
}

// renewalAfter returns the renewal that was signed on top of a manifest and may be
// at the server, or nil.
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
