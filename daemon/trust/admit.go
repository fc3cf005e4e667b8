package trust

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// manifestsKept is the number of hashes of a peer's manifests that are kept to detect
// forks. An account changes its devices a few times a year.
const manifestsKept = 64

// Admission is the trusted state of a peer after a look-up.
type Admission struct {
	Peer    store.PeerID // 0: the own account
	Devices []identity.Device
	Version uint64 // version of the newest manifest
	// Changes are the resulting identity events. They may also be set with an error. The
	// caller records them in the same transaction.
	Changes []local.Identity
}

// Admit checks the server's answer about an account and saves what it accepts: a
// certificate chain (nil: only manifests) and manifests, oldest first.
//
// On first contact it pins the identity key and requires a certificate that is valid now.
// Afterwards the pin decides. A certificate for another key is recorded, reported once, and
// Admit fails with [ErrChanged]. Manifests that the pinned key did not sign, older
// manifests and forks are ignored and the known manifest stays; forgeries and forks are
// reported once. An expired certificate of the pinned key is reported once, and rejected
// after identity.AccountGrace.
//
// Other errors are [ErrCertificate], [ErrManifest], [ErrUnknownPeer], [ErrRealm] and, for
// the own account, [ErrRevoked]. Accepted state is saved even if Admit fails.
func (t *Trust) Admit(tx *store.Tx, account store.AccountID, addr identity.Address, chain, manifests [][]byte, now time.Time) (Admission, error) {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return Admission{}, err
	}
	if addr.Domain != o.address.Domain {
		return Admission{}, fmt.Errorf("%s: %w", addr, ErrRealm)
	}
	if addr == o.address {
		return t.admitOwn(tx, o, chain, manifests, now)
	}
	peer, err := tx.FindPeer(account, addr.String())
	if errors.Is(err, store.ErrNotFound) {
		if chain == nil { // unsolicited: do not store a peer that only the server named
			return Admission{}, fmt.Errorf("%s: %w", addr, ErrUnknownPeer)
		}
		peer, err = tx.Peer(account, addr.String())
	}
	if err != nil {
		return Admission{}, err
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return Admission{}, err
	}
	p := &admission{t: t, tx: tx, own: o, addr: addr, c: c, now: now}
	err = p.admit(chain, manifests)
	if errors.Is(err, ErrManifest) && len(p.c.Manifest) > 0 && len(c.Pin) > 0 {
		// The known manifest stays: the server's answer is only a hint.
		t.logger.Warn("manifest refused", "account", account, "peer", peer, "error", err)
		err = nil
	}
	if len(c.Pin) == 0 && err != nil {
		return Admission{Peer: peer, Changes: p.changes}, err
	}
	return p.finish(err)
}

// admission is the state of one call of Admit for a peer.
type admission struct {
	t       *Trust
	tx      *store.Tx
	own     own
	addr    identity.Address
	c       store.Contact
	now     time.Time
	changes []local.Identity
}

// finish saves the contact and returns the result.
func (p *admission) finish(err error) (Admission, error) {
	out := Admission{Peer: p.c.Peer, Changes: p.changes}
	if e := p.tx.SaveContact(p.c); e != nil {
		return out, e
	}
	if err != nil {
		return out, err
	}
	m, err := p.known()
	if err != nil {
		return out, err
	}
	out.Devices, out.Version = m.Devices, m.Version
	return out, nil
}

// known returns the newest admitted manifest.
func (p *admission) known() (identity.Manifest, error) {
	if len(p.c.Manifest) == 0 {
		return identity.Manifest{}, fmt.Errorf("%s: %w", p.addr, ErrUnknownPeer)
	}
	return p.t.seen.manifest(p.c.Manifest, p.addr, p.c.Pin)
}

func (p *admission) admit(chain, manifests [][]byte) error {
	if chain != nil {
		if err := p.admitChain(chain, manifests); err != nil {
			return err
		}
	}
	if len(p.c.Pin) == 0 {
		return fmt.Errorf("%s: %w", p.addr, ErrUnknownPeer)
	}
	if len(p.c.Changed) > 0 {
		return fmt.Errorf("%s: %w", p.addr, ErrChanged)
	}
	for _, signed := range manifests {
		if err := p.admitManifest(signed); err != nil {
			return err
		}
	}
	if len(p.c.Manifest) == 0 {
		return fmt.Errorf("%s: no manifest: %w", p.addr, ErrManifest)
	}
	return nil
}

// admitChain checks a chain against the pin, or pins its key on first contact.
func (p *admission) admitChain(chain, manifests [][]byte) error {
	cert, err := identity.VerifyAccount(p.own.root, chain, p.addr, p.now)
	if err != nil && (cert.Key.IsZero() || !identity.IsValidity(err)) {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if len(p.c.Pin) == 0 {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCertificate, err)
		}
		p.c.Pin, p.c.Chain, p.c.Expires = cert.Key.Bytes(), chain, cert.NotAfter
		p.c.Trust = store.TrustCertified
		return nil
	}
	if !bytes.Equal(cert.Key.Bytes(), p.c.Pin) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCertificate, err)
		}
		if err := p.recordChange(cert, chain, manifests); err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", p.addr, ErrChanged)
	}
	if cert.NotAfter.After(p.c.Expires) {
		p.c.Chain, p.c.Expires = chain, cert.NotAfter
	}
	if errors.Is(err, identity.ErrExpired) {
		return p.expired()
	}
	// If the pinned key's certificate is not valid yet, the local clock was set back.
	// Rejecting it would gain nothing.
	return nil
}

// expired handles an expired certificate of the pinned key.
func (p *admission) expired() error {
	cert := identity.AccountCert{NotAfter: p.c.Expires}
	if !p.now.After(p.c.Expires) {
		return nil // the server's certificate is older than the known one
	}
	if !p.c.Warned.Equal(p.c.Expires) {
		p.c.Warned = p.c.Expires
		due, err := oncePer(p.tx, p.own.ID, p.c.Peer, local.ChangeCertificate, alarmPeriod, p.tx.ProfileTime())
		if err != nil {
			return err
		}
		if due {
			p.changes = append(p.changes, local.Identity{
				Change: local.ChangeCertificate, Fingerprint: fingerprint(p.c.Pin),
				Text: "the certificate expired on " + p.c.Expires.UTC().Format(time.DateOnly),
			})
		}
	}
	if !cert.InGrace(p.now) {
		return fmt.Errorf("%w: it expired on %s", ErrCertificate, p.c.Expires.UTC().Format(time.DateOnly))
	}
	return nil
}

// recordChange records a certified key that is not the pinned one, for the user to decide.
// Only the newest such key is kept, and at most one event a day is reported, in case a
// server invents keys.
func (p *admission) recordChange(cert identity.AccountCert, chain, manifests [][]byte) error {
	fresh := !bytes.Equal(p.c.Changed, cert.Key.Bytes())
	p.c.Changed, p.c.ChangedChain = cert.Key.Bytes(), chain
	if fresh {
		p.c.ChangedManifest = nil
		due, err := oncePer(p.tx, p.own.ID, p.c.Peer, local.ChangeKey, alarmPeriod, p.tx.ProfileTime())
		if err != nil {
			return err
		}
		if due {
			p.changes = append(p.changes, local.Identity{
				Change: local.ChangeKey, Fingerprint: cert.Key.Fingerprint(), Previous: fingerprint(p.c.Pin),
			})
		}
	}
	for _, signed := range manifests {
		if _, err := identity.VerifyManifest(signed, p.addr, cert.Key); err != nil {
			continue // skipped: the manifest is kept only for the user's decision
		}
		if p.c.ChangedManifest == nil || identity.CheckSuccessor(p.c.ChangedManifest, signed) == nil {
			p.c.ChangedManifest = signed
		}
	}
	return nil
}

// devicesPerDay bounds the events about one peer's devices. An account has at most ten
// devices, and one that keeps changing them must not fill the journal.
const devicesPerDay = 20

// limitDeviceEvents drops events above the daily limit for a peer's devices.
func (p *admission) limitDeviceEvents(changes []local.Identity) ([]local.Identity, error) {
	for i := range changes {
		n, err := p.tx.PerDay(p.own.ID, p.c.Peer, "devices")
		if err != nil {
			return nil, err
		}
		switch {
		case n > devicesPerDay:
			return changes[:i], nil
		case n == devicesPerDay:
			changes[i].Text += "; further changes today are not reported"
		}
	}
	return changes, nil
}

// admitManifest replaces the known manifest if signed is newer, and ignores an older one.
// It fails with [ErrManifest].
func (p *admission) admitManifest(signed []byte) error {
	pin, err := key.ParseSigningPublic(p.c.Pin)
	if err != nil {
		return fmt.Errorf("stored pin: %w: %w", store.ErrCorrupt, err)
	}
	next, err := identity.VerifyManifest(signed, p.addr, pin)
	if err != nil {
		return p.rejectManifest(signed, err)
	}
	fork, err := forked(p.tx, p.own.ID, p.c.Peer, next.Version, signed)
	if err != nil {
		return err
	}
	if fork {
		return p.rejectManifest(signed, identity.ErrFork)
	}
	var was identity.Manifest
	if len(p.c.Manifest) > 0 {
		switch err := identity.CheckSuccessor(p.c.Manifest, signed); {
		case errors.Is(err, identity.ErrOlder):
			return nil
		case err != nil:
			return p.rejectManifest(signed, err)
		}
		if was, err = p.known(); err != nil {
			return err
		}
	}
	changes, removed := difference(was, next)
	if err := retire(p.tx, p.own.ID, p.c.Peer, removed, next); err != nil {
		return err
	}
	if changes, err = p.limitDeviceEvents(changes); err != nil {
		return err
	}
	p.c.Manifest = signed
	p.changes = append(p.changes, changes...)
	return rememberManifest(p.tx, p.own.ID, p.c.Peer, next.Version, signed, false)
}

// rejectManifest reports, once, a manifest that the pinned key did not sign or that forks
// the known history. It returns [ErrManifest].
func (p *admission) rejectManifest(signed []byte, err error) error {
	fresh, e := alarmOnce(p.tx, p.own.ID, p.c.Peer, local.ChangeMismatch, signed)
	if e != nil {
		return e
	}
	if fresh && len(p.c.Manifest) > 0 {
		p.changes = append(p.changes, local.Identity{
			Change: local.ChangeMismatch, Fingerprint: fingerprint(p.c.Pin), Text: rejectionText(err),
		})
	}
	return fmt.Errorf("%w: %w", ErrManifest, err)
}

func rejectionText(err error) string {
	if errors.Is(err, identity.ErrFork) {
		return "the server shows two histories of the device list; the one known first is kept"
	}
	return "the server shows a device list that the identity key did not sign; it is ignored"
}

// forked reports whether another manifest with this version was admitted before.
func forked(tx *store.Tx, account store.AccountID, peer store.PeerID, version uint64, signed []byte) (bool, error) {
	hash, _, err := tx.ManifestHash(account, peer, version)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return hash != identity.ManifestHash(signed), err
}

func rememberManifest(tx *store.Tx, account store.AccountID, peer store.PeerID, version uint64, signed []byte, listed bool) error {
	if err := tx.AddManifestHash(account, peer, version, identity.ManifestHash(signed), listed); err != nil {
		return err
	}
	return tx.TrimManifests(account, peer, manifestsKept)
}

// difference returns the events for added and removed devices, and the removed devices. A
// first manifest causes no events.
func difference(was, is identity.Manifest) (changes []local.Identity, removed []identity.Device) {
	if was.Version == 0 {
		return nil, nil
	}
	for _, d := range is.Devices {
		if _, ok := was.Device(d.ID); !ok {
			changes = append(changes, local.Identity{
				Change: local.ChangeDeviceAdded, Fingerprint: d.Signing.Fingerprint(), Text: deviceText(d)})
		}
	}
	for _, d := range was.Devices {
		if _, ok := is.Device(d.ID); !ok {
			removed = append(removed, d)
			changes = append(changes, local.Identity{
				Change: local.ChangeDeviceRemoved, Fingerprint: d.Signing.Fingerprint(), Text: deviceText(d)})
		}
	}
	return slices.Clip(changes), removed
}

// RemovedKeep is how long messages can be opened that a device sent before its removal: as
// long as the server keeps mail.
const RemovedKeep = 30 * 24 * time.Hour

// retire keeps the sessions of removed devices, but only to receive messages in transit;
// see CheckReceive. If the id now has another key, its sessions are deleted.
func retire(tx *store.Tx, account store.AccountID, peer store.PeerID, removed []identity.Device, next identity.Manifest) error {
	for _, d := range removed {
		ref := store.DeviceRef{Account: account, Peer: peer, Device: d.ID}
		var err error
		if _, listed := next.Device(d.ID); listed {
			err = tx.DeleteSessions(ref)
		} else {
			err = tx.DeviceRemoved(ref, tx.ProfileTime().UnixMilli())
		}
		if err != nil {
			return err
		}
	}
	for _, d := range next.Devices {
		if err := tx.DeviceListed(store.DeviceRef{Account: account, Peer: peer, Device: d.ID}); err != nil {
			return err
		}
	}
	return nil
}

func deviceText(d identity.Device) string { return d.Name + " (" + d.ID.String() + ")" }
