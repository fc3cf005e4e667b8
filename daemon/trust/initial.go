package trust

import (
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// AdmitInitial admits the sender of a first message by the chain and manifest it carries,
// without the network. It implements keyring.Verifier. A manifest older than the known one
// is accepted only if the newer one still lists the device. It fails with [ErrChanged],
// [ErrBlocked], [ErrCertificate], [ErrManifest], [ErrDevice] and [ErrRealm]. A changed key
// is recorded and reported even then.
func (t *Trust) AdmitInitial(tx *store.Tx, account store.AccountID, sender identity.Address, device key.DeviceID,
	chain [][]byte, manifest []byte, now time.Time) (identity.Device, error) {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return identity.Device{}, err
	}
	if sender.Domain != o.address.Domain {
		return identity.Device{}, fmt.Errorf("%s: %w", sender, ErrRealm)
	}
	if sender == o.address {
		return t.admitOwnInitial(tx, o, device, chain, manifest, now)
	}
	peer, err := tx.FindPeer(account, sender.String())
	if errors.Is(err, store.ErrNotFound) {
		// Store nothing about a sender that fails the checks.
		if err := checkStranger(o, sender, device, chain, manifest, now); err != nil {
			return identity.Device{}, err
		}
		peer, err = tx.Peer(account, sender.String())
	}
	if err != nil {
		return identity.Device{}, err
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return identity.Device{}, err
	}
	if c.Relation == store.RelationBlocked {
		return identity.Device{}, fmt.Errorf("%s: %w", sender, ErrBlocked)
	}
	p := &admission{t: t, tx: tx, own: o, addr: sender, c: c, now: now}
	err = p.admit(chain, [][]byte{manifest})
	if len(c.Pin) > 0 || err == nil {
		if _, e := p.finish(err); e != nil && err == nil {
			err = e
		}
	}
	for _, change := range p.changes {
		if e := t.notify(tx, account, sender, change); e != nil {
			return identity.Device{}, e
		}
	}
	if err != nil {
		return identity.Device{}, err
	}
	known, err := p.known()
	if err != nil {
		return identity.Device{}, err
	}
	pin, err := key.ParseSigningPublic(p.c.Pin)
	if err != nil {
		return identity.Device{}, fmt.Errorf("stored pin: %w: %w", store.ErrCorrupt, err)
	}
	return listed(known, sender, pin, manifest, device)
}

// checkStranger checks, without the store, whether an unknown sender's first message
// carries valid credentials.
func checkStranger(o own, sender identity.Address, device key.DeviceID, chain [][]byte, manifest []byte, now time.Time) error {
	cert, err := identity.VerifyAccount(o.root, chain, sender, now)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	m, err := identity.VerifyManifest(manifest, sender, cert.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if _, ok := m.Device(device); !ok {
		return fmt.Errorf("%s: %w", device, ErrDevice)
	}
	return nil
}

// admitOwnInitial admits a first message from another device of the own account.
func (t *Trust) admitOwnInitial(tx *store.Tx, o own, device key.DeviceID, chain [][]byte, manifest []byte, now time.Time) (identity.Device, error) {
	if device == o.Device {
		return identity.Device{}, fmt.Errorf("a message from this device itself: %w", ErrDevice)
	}
	if _, err := identity.VerifyManifest(manifest, o.address, o.key); err != nil {
		return identity.Device{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	out, err := t.admitOwn(tx, o, chain, [][]byte{manifest}, now)
	for _, change := range out.Changes {
		if e := t.notify(tx, o.ID, o.address, change); e != nil {
			return identity.Device{}, e
		}
	}
	if err != nil {
		return identity.Device{}, err
	}
	return listed(identity.Manifest{Devices: out.Devices}, o.address, o.key, manifest, device)
}

// listed returns the device's entry in the newest manifest. The manifest in the message
// must list the device, too. Its keys are the same there, because they determine its id.
func listed(newest identity.Manifest, addr identity.Address, pin key.SigningPublic, carried []byte, device key.DeviceID) (identity.Device, error) {
	d, ok := newest.Device(device)
	if !ok {
		return identity.Device{}, fmt.Errorf("%s: %w", device, ErrDevice)
	}
	m, err := identity.VerifyManifest(carried, addr, pin)
	if err != nil {
		return identity.Device{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if _, ok := m.Device(device); !ok {
		return identity.Device{}, fmt.Errorf("%s: %w", device, ErrDevice)
	}
	return d, nil
}

// CheckReceive checks a message before it is opened. It fails with [ErrBlocked],
// [ErrChanged], or [ErrDevice] if there is a session with the device but the newest
// manifest does not list it.
//
// Mail that the server accepted before the removal (accepted, Unix milliseconds; 0:
// unknown) is received for RemovedKeep, because a sender that has lost the device cannot
// send it again. Without a session only a first message can be opened; it may carry a newer
// manifest, and AdmitInitial checks it.
func (t *Trust) CheckReceive(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address, device key.DeviceID, accepted int64) error {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return err
	}
	if addr == o.address {
		m, err := t.seen.manifest(o.Manifest, o.address, o.key.Bytes())
		if err != nil {
			return err
		}
		return listedOrNew(tx, m, store.DeviceRef{Account: account, Peer: peer, Device: device}, accepted)
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return err
	}
	if c.Relation == store.RelationBlocked {
		return fmt.Errorf("%s: %w", addr, ErrBlocked)
	}
	if len(c.Changed) > 0 {
		return fmt.Errorf("%s: %w", addr, ErrChanged)
	}
	p := &admission{t: t, tx: tx, own: o, addr: addr, c: c}
	m, err := p.known()
	if errors.Is(err, ErrUnknownPeer) {
		return nil
	}
	if err != nil {
		return err
	}
	return listedOrNew(tx, m, store.DeviceRef{Account: account, Peer: peer, Device: device}, accepted)
}

// listedOrNew rejects a device that has a session but is not in the manifest, except for
// mail from before its removal.
func listedOrNew(tx *store.Tx, m identity.Manifest, ref store.DeviceRef, accepted int64) error {
	if _, ok := m.Device(ref.Device); ok {
		return nil
	}
	has, err := tx.HasSession(ref)
	if err != nil || !has {
		return err
	}
	removed, err := tx.Removed(ref)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil && accepted > 0 && accepted <= removed && tx.ProfileTime().Before(time.UnixMilli(removed).Add(RemovedKeep)) {
		return nil
	}
	return fmt.Errorf("%s: %w", key.DeviceID(ref.Device), ErrDevice)
}
