package keyring

import (
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
)

// Target is a device to send to.
type Target struct {
	Account store.AccountID
	Peer    store.PeerID
	Address identity.Address // of the peer, or the own address for another own device
	Device  identity.Device  // from a manifest admitted by trust
}

func (t Target) ref() store.DeviceRef {
	return store.DeviceRef{Account: t.Account, Peer: t.Peer, Device: t.Device.ID}
}

// Bundle contains the prekeys of a device as sent by the server. They are not verified yet.
type Bundle struct {
	SignedPrekey    []byte
	KEMPrekey       []byte
	OneTimeExchange []byte // nil: none left
}

// HasSession reports whether there is a session with a device.
func (k *Keyring) HasSession(tx *store.Tx, account store.AccountID, peer store.PeerID, device key.DeviceID) (bool, error) {
	return tx.HasSession(store.DeviceRef{Account: account, Peer: peer, Device: device})
}

// Start begins a session with a device from its prekeys. Existing sessions stay, but the
// new one is used for sending. All signatures are verified with the pinned identity key and
// its manifest. It fails with [ErrBundle].
func (k *Keyring) Start(tx *store.Tx, t Target, b Bundle, now time.Time) error {
	d, err := k.device(tx, t.Account)
	if err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	self := d.self()
	a, err := tx.Account(t.Account)
	if err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	self.Chain, self.Manifest = a.Chain, a.Manifest
	bundle, err := parseBundle(b)
	if err != nil {
		return fmt.Errorf("start session with %s: %w: %w", t.Device.ID, ErrBundle, err)
	}
	bundle.Party = ratchet.Party{Address: t.Address, Device: t.Device.ID}
	if bundle.Account, bundle.Manifest, err = peerIdentity(tx, d, a, t); err != nil {
		return fmt.Errorf("start session with %s: %w", t.Device.ID, err)
	}
	before, err := loadSet(tx, t.ref())
	if err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	after, err := before.Sweep(now).Initiate(self, bundle, now)
	if err != nil {
		return fmt.Errorf("start session with %s: %w: %w", t.Device.ID, ErrBundle, err)
	}
	return saveSet(tx, t.ref(), before, after)
}

func parseBundle(b Bundle) (ratchet.Bundle, error) {
	var out ratchet.Bundle
	var err error
	if out.SignedPrekey, err = identity.ParsePrekey(b.SignedPrekey); err != nil {
		return out, err
	}
	if out.KEMPrekey, err = identity.ParsePrekey(b.KEMPrekey); err != nil {
		return out, err
	}
	if len(b.OneTimeExchange) > 0 {
		p, err := identity.ParsePrekey(b.OneTimeExchange)
		if err != nil {
			return out, err
		}
		out.OneTime = &p
	}
	return out, nil
}

// errNoPin says that trust has not admitted the peer.
var errNoPin = errors.New("the peer has no pinned key")

// peerIdentity returns the pinned identity key and the newest admitted manifest of a
// target's account.
func peerIdentity(tx *store.Tx, d *device, a store.Account, t Target) (key.SigningPublic, []byte, error) {
	if t.Address == d.party.Address {
		return d.account, a.Manifest, nil
	}
	c, err := tx.Contact(t.Account, t.Peer)
	if err != nil {
		return key.SigningPublic{}, nil, err
	}
	if len(c.Pin) == 0 || len(c.Manifest) == 0 {
		return key.SigningPublic{}, nil, errNoPin
	}
	pin, err := key.ParseSigningPublic(c.Pin)
	return pin, c.Manifest, err
}

// Seal seals plaintext for a device and advances the session. Trust must have been checked
// in the same transaction. It fails with [ErrNoSession].
func (k *Keyring) Seal(tx *store.Tx, t Target, class ratchet.Class, messageID [16]byte, plaintext []byte, now time.Time) ([]byte, error) {
	d, err := k.device(tx, t.Account)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	own, err := ownManifest(tx, t.Account)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	before, err := loadSet(tx, t.ref())
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	after, ciphertext, err := before.Sweep(now).Seal(ratchet.Meta{
		Class: class, Sender: d.party, MessageID: messageID,
		Recipient: ratchet.Party{Address: t.Address, Device: t.Device.ID},
	}, own, plaintext, now)
	if errors.Is(err, ratchet.ErrNoSession) || errors.Is(err, ratchet.ErrExhausted) {
		return nil, fmt.Errorf("seal for %s: %w: %w", t.Device.ID, ErrNoSession, err)
	}
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", t.Device.ID, err)
	}
	if err := saveSet(tx, t.ref(), before, after); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return ciphertext, nil
}

// ownManifest identifies the newest known manifest of the own account. Every message tells
// it to the recipient.
func ownManifest(tx *store.Tx, account store.AccountID) (ratchet.ManifestRef, error) {
	a, err := tx.Account(account)
	if err != nil {
		return ratchet.ManifestRef{}, err
	}
	version, err := identity.ManifestVersion(a.Manifest)
	if err != nil {
		return ratchet.ManifestRef{}, fmt.Errorf("own manifest: %w: %w", store.ErrCorrupt, err)
	}
	return ratchet.ManifestRef{Version: version, Hash: identity.ManifestHash(a.Manifest)}, nil
}

// DropDamaged deletes the sessions with a peer that cannot be read from disk, and returns
// their number. New ones are created when needed.
func (k *Keyring) DropDamaged(tx *store.Tx, account store.AccountID, peer store.PeerID) (int, error) {
	return tx.DropDamagedSessions(account, peer, func(body []byte) error {
		_, err := ratchet.ParseEntry(body)
		return err
	})
}

// loadSet reads the sessions with a device.
func loadSet(tx *store.Tx, ref store.DeviceRef) (ratchet.Set, error) {
	rows, err := tx.Sessions(ref)
	if err != nil {
		return ratchet.Set{}, err
	}
	entries := make([]ratchet.Entry, 0, len(rows))
	for _, row := range rows {
		if e, ok := row.State.(ratchet.Entry); ok { // saved by this transaction
			entries = append(entries, e)
			continue
		}
		e, err := ratchet.ParseEntry(row.Body)
		clear(row.Body)
		if err != nil {
			return ratchet.Set{}, &store.ValueError{Table: "sessions", Column: "body", Err: err}
		}
		entries = append(entries, e)
	}
	set, err := ratchet.NewSet(entries)
	if err != nil {
		return ratchet.Set{}, fmt.Errorf("stored sessions: %w: %w", store.ErrCorrupt, err)
	}
	return set, nil
}

// saveSet writes changed sessions, deletes removed ones, and counts a step, so that an
// older copy of the database can be detected.
func saveSet(tx *store.Tx, ref store.DeviceRef, before, after ratchet.Set) error {
	was := map[[32]byte]ratchet.Entry{}
	for _, e := range before.Entries() {
		was[e.Session.TranscriptHash()] = e
	}
	for _, e := range after.Entries() {
		id := e.Session.TranscriptHash()
		if was[id] == e { // the same immutable session and marks
			continue
		}
		if err := tx.SaveSession(ref, store.Session{ID: id, State: e}); err != nil {
			return err
		}
	}
	for _, id := range ratchet.Removed(before, after) {
		if err := tx.DeleteSession(ref, id); err != nil {
			return err
		}
	}
	return tx.Step(ref.Account)
}
