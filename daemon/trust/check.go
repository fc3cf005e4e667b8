package trust

import (
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/store"
)

// Target is a peer for whose devices a message may be sealed now.
type Target struct {
	Address identity.Address
	Devices []identity.Device
	Version uint64 // of the manifest
}

// CheckSend decides, in the transaction that seals a message, whether it may be sealed for
// a peer. requireVerified is stricter than the peer's policy. It fails with [ErrBlocked],
// [ErrChanged], [ErrUnknownPeer] (a look-up is needed, also when the certificate's grace
// period has ended) and [ErrUnverified]. For the own account it returns the other own
// devices.
func (t *Trust) CheckSend(tx *store.Tx, account store.AccountID, peer store.PeerID, requireVerified bool, now time.Time) (Target, error) {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return Target{}, err
	}
	text, err := tx.PeerAddress(peer)
	if err != nil {
		return Target{}, err
	}
	addr, err := identity.ParseAddress(text)
	if err != nil {
		return Target{}, fmt.Errorf("stored address: %w: %w", store.ErrCorrupt, err)
	}
	if addr == o.address {
		others, version, err := t.OwnDevices(tx, account)
		return Target{Address: addr, Devices: others, Version: version}, err
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return Target{}, err
	}
	if err := mayTalk(c, requireVerified); err != nil {
		return Target{}, fmt.Errorf("%s: %w", addr, err)
	}
	if !(identity.AccountCert{NotAfter: c.Expires}).InGrace(now) {
		return Target{}, fmt.Errorf("%s: %w: its certificate expired on %s", addr, ErrUnknownPeer, c.Expires.UTC().Format(time.DateOnly))
	}
	m, err := (&admission{t: t, tx: tx, own: o, addr: addr, c: c}).known()
	if err != nil {
		return Target{}, err
	}
	return Target{Address: addr, Devices: m.Devices, Version: m.Version}, nil
}

// mayTalk checks the rules that do not depend on time.
func mayTalk(c store.Contact, requireVerified bool) error {
	switch {
	case c.Relation == store.RelationBlocked:
		return ErrBlocked
	case len(c.Changed) > 0:
		return ErrChanged
	case len(c.Pin) == 0:
		if requireVerified || c.Policy[PolicyTrust] == trustVerified {
			return ErrUnverified
		}
		return ErrUnknownPeer
	case (requireVerified || c.Policy[PolicyTrust] == trustVerified) && c.Trust != store.TrustVerified:
		return ErrUnverified
	}
	return nil
}

// CheckRequired reports whether a peer satisfies `--require verified`: nil,
// [ErrUnverified], [ErrChanged] or [ErrBlocked].
func (t *Trust) CheckRequired(tx *store.Tx, account store.AccountID, peer store.PeerID) error {
	c, err := tx.Contact(account, peer)
	if err != nil {
		return err
	}
	return mayTalk(c, true)
}
