package trust

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/ratchet"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Events about suspicious facts that do not prove an attack, and that a peer or the server
// can cause as often as it likes. Therefore each kind is reported at most once per peer and
// period.

// Minimum times between two events of one kind about one peer.
const (
	sessionPeriod  = 24 * time.Hour
	withheldPeriod = 24 * time.Hour
	alarmPeriod    = 24 * time.Hour // for keys, device lists, certificates and repeated numbers
	stalePeriod    = 30 * 24 * time.Hour
)

// oncePer reports whether an event of a kind about a peer is due, and if so saves the time.
func oncePer(tx *store.Tx, account store.AccountID, peer store.PeerID, kind string, period time.Duration, now time.Time) (bool, error) {
	told, err := recently(tx, account, peer, kind, period, now)
	if err != nil || told {
		return false, err
	}
	return true, tx.SetMetaInt(account, noticeName(kind, peer), now.UnixMilli())
}

// recently reports whether an event of a kind about a peer was reported within the period. A
// time in the future, saved under a wrong clock, does not count.
func recently(tx *store.Tx, account store.AccountID, peer store.PeerID, kind string, period time.Duration, now time.Time) (bool, error) {
	ms, err := tx.MetaInt(account, noticeName(kind, peer))
	if err != nil || ms == 0 {
		return false, err
	}
	last := time.UnixMilli(ms)
	return !last.After(now) && now.Sub(last) < period, nil
}

// resetNotice makes the next event of a kind about a peer due, after the user has decided
// about the last one.
func resetNotice(tx *store.Tx, account store.AccountID, peer store.PeerID, kind string) error {
	return tx.SetMetaInt(account, noticeName(kind, peer), 0)
}

func noticeName(kind string, peer store.PeerID) string {
	return "told/" + kind + "/" + strconv.FormatInt(int64(peer), 10)
}

// SessionReplaced reports that a device of a peer, or of the own account, has started
// another session although one is confirmed, or now sends on another one. A device does so
// after it lost its state, but somebody with a copy of this device's prekeys or of that
// device's keys would do the same. At most one event per peer and day.
func (t *Trust) SessionReplaced(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address, device key.DeviceID, now time.Time) error {
	due, err := oncePer(tx, account, peer, "session", sessionPeriod, now)
	if err != nil || !due {
		return err
	}
	return t.tellDevice(tx, account, peer, addr, device, local.ChangeSession, "has begun a new session although there is one that works")
}

// NumberRepeated reports that a device used one number for two messages with different ids.
// An honest device never does: a copy of it is in use, and the server did not report it. At
// most one event per peer and day.
func (t *Trust) NumberRepeated(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address, device key.DeviceID, n uint64) error {
	due, err := oncePer(tx, account, peer, local.ChangeClone, alarmPeriod, tx.ProfileTime())
	if err != nil || !due {
		return err
	}
	return t.tellDevice(tx, account, peer, addr, device, local.ChangeClone,
		fmt.Sprintf("has sent two messages as number %d: a copy of it is in use", n))
}

// tellDevice reports an action of a peer's or own device.
func (t *Trust) tellDevice(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address, device key.DeviceID, change, what string) error {
	m, pin, err := t.newest(tx, account, peer, addr)
	if err != nil && !errors.Is(err, ErrUnknownPeer) {
		return err
	}
	name := device.String()
	if d, ok := m.Device(device); ok {
		name = deviceText(d)
	}
	return t.notify(tx, account, addr, local.Identity{Change: change, Fingerprint: pin, Text: "device " + name + " " + what})
}

// newest returns the newest admitted manifest of a peer or of the own account, and the
// fingerprint of its identity key.
func (t *Trust) newest(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address) (identity.Manifest, string, error) {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return identity.Manifest{}, "", err
	}
	if addr == o.address {
		m, err := t.seen.manifest(o.Manifest, o.address, o.key.Bytes())
		return m, o.key.Fingerprint(), err
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return identity.Manifest{}, "", err
	}
	m, err := (&admission{t: t, tx: tx, own: o, addr: addr, c: c}).known()
	return m, fingerprint(c.Pin), err
}

// Claim is the result of comparing the manifest named in a message with the known one.
type Claim int

const (
	// ClaimOpen: not comparable, or contradictory. The next message that names it is
	// checked again.
	ClaimOpen Claim = iota
	// ClaimNewer: it must be fetched; [Trust.Rechecked] judges the answer.
	ClaimNewer
	// ClaimKnown: it was admitted with this version, which is final.
	ClaimKnown
)

// Claimed compares the manifest that a peer, or another own device, names inside a message
// with the known one. A different manifest with a known version is a fork, which is
// reported.
func (t *Trust) Claimed(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address, ref ratchet.ManifestRef, now time.Time) (Claim, error) {
	m, pin, err := t.newest(tx, account, peer, addr)
	if errors.Is(err, ErrUnknownPeer) {
		return ClaimOpen, nil // sealing for it needs a look-up anyway
	}
	if err != nil {
		return ClaimOpen, err
	}
	if ref.Version > m.Version {
		return ClaimNewer, nil
	}
	known, err := t.forkClaimed(tx, account, peer, addr, ref, pin, now)
	if err != nil || !known {
		return ClaimOpen, err
	}
	return ClaimKnown, nil
}

// forkClaimed compares the hash named in a message with the manifest admitted under that
// version, and reports a fork: the server shows two histories, or the peer has signed two.
// A version that was never admitted proves nothing. It returns whether the two are equal.
func (t *Trust) forkClaimed(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address, ref ratchet.ManifestRef, pin string, now time.Time) (same bool, err error) {
	a, err := tx.Account(account)
	if err != nil {
		return false, err
	}
	hashes := peer
	if a.Address == addr.String() {
		hashes = 0 // those of the own account have peer 0
	}
	known, _, err := tx.ManifestHash(account, hashes, ref.Version)
	if errors.Is(err, store.ErrNotFound) || err == nil && known == ref.Hash {
		return err == nil, nil
	}
	if err != nil {
		return false, err
	}
	due, err := oncePer(tx, account, peer, "fork", withheldPeriod, now)
	if err != nil || !due {
		return false, err
	}
	return false, t.notify(tx, account, addr, local.Identity{
		Change: local.ChangeMismatch, Fingerprint: pin,
		Text: "a message names a different device list than the server has shown; the list known first is kept",
	})
}

// Rechecked judges the known manifest of a peer, or of the own account, after the server
// has answered a look-up that began after ref was named (version 0: none was). It reports
// whether the matter is settled. If the answer is older than ref, the server withholds the
// newer manifest. If the owner has not renewed the manifest for [identity.ManifestStale],
// the server may have frozen it. Both are reported at most once per peer and period.
func (t *Trust) Rechecked(tx *store.Tx, account store.AccountID, peer store.PeerID, addr identity.Address, ref ratchet.ManifestRef, now time.Time) (settled bool, err error) {
	m, pin, err := t.newest(tx, account, peer, addr)
	if errors.Is(err, ErrUnknownPeer) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if ref.Version > m.Version {
		due, err := oncePer(tx, account, peer, "withheld", withheldPeriod, now)
		if err != nil || !due {
			return false, err
		}
		return false, t.notify(tx, account, addr, local.Identity{
			Change: local.ChangeWithheld, Fingerprint: pin,
			Text: fmt.Sprintf("a message names version %d of the device list, but the server shows version %d: either the server withholds the newer one, or the message is wrong", ref.Version, m.Version),
		})
	}
	if _, err := t.forkClaimed(tx, account, peer, addr, ref, pin, now); err != nil || !m.Stale(now) {
		return true, err
	}
	due, err := oncePer(tx, account, peer, "stale", stalePeriod, now)
	if err != nil || !due {
		return true, err
	}
	return true, t.notify(tx, account, addr, local.Identity{
		Change: local.ChangeStale, Fingerprint: pin,
		Text: "the device list was last confirmed on " + m.Time.UTC().Format(time.DateOnly) +
			": the primary device was away since, or the server withholds a newer list",
	})
}

// StalePeers returns up to limit contacts whose known manifest is stale, unless that was
// reported recently. The caller looks them up and then calls [Trust.Rechecked].
func (t *Trust) StalePeers(tx *store.Tx, account store.AccountID, now time.Time, limit int) ([]store.PeerID, error) {
	all, err := tx.Contacts(account)
	if err != nil {
		return nil, err
	}
	var out []store.PeerID
	for _, c := range all {
		if len(out) == limit {
			break
		}
		if c.Relation != store.RelationContact || len(c.Manifest) == 0 {
			continue
		}
		u, err := identity.ParseManifest(c.Manifest)
		if err != nil {
			return nil, fmt.Errorf("stored manifest: %w: %w", store.ErrCorrupt, err)
		}
		if !identity.StaleAt(u.Time(), now) {
			continue
		}
		if told, err := recently(tx, account, c.Peer, "stale", stalePeriod, now); err != nil {
			return nil, err
		} else if !told {
			out = append(out, c.Peer)
		}
	}
	return out, nil
}
