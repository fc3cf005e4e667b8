package trust

import (
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// AdmitInitial admits the sender of a first message by what the message
// carries, without the network. It implements keyring.Verifier. A manifest older
// than the known one is accepted only if the device is still in the newer one.
// It fails with [ErrChanged], [ErrBlocked], [ErrCertificate], [ErrManifest],
// [ErrDevice] and [ErrRealm]; a changed key is recorded and reported also then.
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
		// Nothing is stored for a sender who proves nothing.
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

// checkStranger decides, without the store, whether a first message of somebody
// unknown carries what a first contact needs.
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

// admitOwnInitial admits a first message of another device of the own account.
func (t *Trust) admitOwnInitial(tx *store.Tx, o own, device key.DeviceID, chain [][]byte, manifest []byte, now time.Time) (identity.Device, error) {
	if device == o.Device {
		return identity.Device{}, fmt.Errorf("a message to itself: %w", ErrDevice)
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

// listed returns the device's entry of the newest manifest. The manifest that the
// message carries must list it too; its keys are the same, since its id stands
// for them.
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

// CheckReceive decides about a message before it is opened: [ErrBlocked],
// [ErrChanged], or [ErrDevice] if there is a session with the device and the
// newest manifest does not list it. Mail that the server took before the removal
// (accepted, Unix milliseconds; 0: not known) is received for RemovedKeep, since
// its sender cannot send it again if he has lost that device. Without a session
// only a first message can open, which may carry a newer manifest and which
// AdmitInitial judges.
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

// listedOrNew refuses a device with a session that the manifest does not list,
// but for mail from before its removal.
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
