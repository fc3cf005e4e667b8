package trust

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// admitOwn is Admit for the own account. The own identity key is the pin; anything that it
// did not sign is a forgery, which is reported and ignored.
func (t *Trust) admitOwn(tx *store.Tx, o own, chain, manifests [][]byte, now time.Time) (Admission, error) {
	var out Admission
	if chain != nil {
		cert, err := identity.VerifyAccount(o.root, chain, o.address, now)
		if err != nil && (cert.Key.IsZero() || !identity.IsValidity(err)) {
			return out, fmt.Errorf("own account: %w: %w", ErrCertificate, err)
		}
		if cert.Key != o.key {
			out.Changes, err = ownAlarm(tx, o, cert.Key.Bytes(), local.Identity{
				Change: local.ChangeKey, Fingerprint: cert.Key.Fingerprint(), Previous: o.key.Fingerprint(),
				Text: "the server shows another key for this account",
			})
			return out, errors.Join(fmt.Errorf("own account: %w", ErrChanged), err)
		}
		if later(o, cert) {
			o.Chain = chain
		}
	}
	for _, signed := range manifests {
		changes, err := admitOwnManifest(tx, &o, signed)
		out.Changes = append(out.Changes, changes...)
		if err != nil {
			return out, err
		}
	}
	if err := tx.SaveAccount(o.Account); err != nil {
		return out, err
	}
	m, err := t.seen.manifest(o.Manifest, o.address, o.key.Bytes())
	if err != nil {
		return out, err
	}
	if _, ok := m.Device(o.Device); !ok {
		return out, fmt.Errorf("own account: %w", ErrRevoked)
	}
	out.Devices, out.Version = m.Devices, m.Version
	return out, nil
}

// later reports whether a certificate expires after the stored one.
func later(o own, cert identity.AccountCert) bool {
	have, err := identity.VerifyAccount(o.root, o.Chain, o.address, cert.NotBefore)
	if err != nil && !identity.IsValidity(err) {
		return true
	}
	return cert.NotAfter.After(have.NotAfter)
}

// admitOwnManifest accepts a newer manifest of the own account. A forgery or a fork raises
// an alarm and changes nothing.
func admitOwnManifest(tx *store.Tx, o *own, signed []byte) ([]local.Identity, error) {
	if bytes.Equal(signed, o.Pending) {
		return nil, nil // ours, not confirmed yet; see keyring.FinishReplacement
	}
	alarm := func(err error) ([]local.Identity, error) {
		return ownAlarm(tx, *o, signed, local.Identity{
			Change: local.ChangeMismatch, Fingerprint: o.key.Fingerprint(), Text: "own account: " + rejectionText(err),
		})
	}
	next, err := identity.VerifyManifest(signed, o.address, o.key)
	if err != nil {
		return alarm(err)
	}
	fork, err := forked(tx, o.ID, 0, next.Version, signed)
	if err != nil {
		return nil, err
	}
	if fork {
		return alarm(identity.ErrFork)
	}
	switch err := identity.CheckSuccessor(o.Manifest, signed); {
	case errors.Is(err, identity.ErrOlder):
		return nil, nil
	case err != nil:
		return alarm(err)
	}
	was, err := identity.VerifyManifest(o.Manifest, o.address, o.key)
	if err != nil {
		return nil, fmt.Errorf("own manifest: %w: %w", store.ErrCorrupt, err)
	}
	changes, removed := difference(was, next)
	self, err := tx.Peer(o.ID, o.address.String())
	if err != nil {
		return nil, err
	}
	if err := retire(tx, o.ID, self, removed, next); err != nil {
		return nil, err
	}
	o.Manifest = signed
	_, listed := next.Device(o.Device)
	return changes, rememberManifest(tx, o.ID, 0, next.Version, signed, listed)
}

func ownAlarm(tx *store.Tx, o own, what []byte, change local.Identity) ([]local.Identity, error) {
	fresh, err := alarmOnce(tx, o.ID, 0, change.Change, what)
	if err != nil || !fresh {
		return nil, err
	}
	return []local.Identity{change}, nil
}

// OwnDevices returns the other devices of the own account and the version of its manifest.
func (t *Trust) OwnDevices(tx *store.Tx, account store.AccountID) ([]identity.Device, uint64, error) {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return nil, 0, err
	}
	m, err := t.seen.manifest(o.Manifest, o.address, o.key.Bytes())
	if err != nil {
		return nil, 0, err
	}
	var others []identity.Device
	for _, d := range m.Devices {
		if d.ID != o.Device {
			others = append(others, d)
		}
	}
	return others, m.Version, nil
}

// Removed reports whether the newest known manifest of the own account, signed by its
// identity key, does not list this device. Only that is proof of a removal.
func (t *Trust) Removed(tx *store.Tx, account store.AccountID) (bool, error) {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return false, err
	}
	m, err := t.seen.manifest(o.Manifest, o.address, o.key.Bytes())
	if err != nil {
		return false, err
	}
	_, listed := m.Device(o.Device)
	return !listed, nil
}

// AdmitRegistration checks the answer to a registration: the chain must certify exactly the
// sent key for exactly this address, and be valid now.
func AdmitRegistration(rootDER []byte, addr identity.Address, identityKey key.SigningPublic, chain [][]byte, now time.Time) error {
	root, err := identity.ParseRoot(rootDER)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	cert, err := identity.VerifyAccount(root, chain, addr, now)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if cert.Key != identityKey {
		return fmt.Errorf("%w: it certifies another key", ErrCertificate)
	}
	return nil
}
