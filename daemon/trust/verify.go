package trust

import (
	"errors"
	"fmt"
	"strings"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Verify returns the safety number for a peer's pinned key. With expect it compares the
// two: if they are equal, the peer becomes verified; otherwise nothing changes and mismatch
// is true. Then the caller commits the transaction, which contains the event, and fails
// with [MismatchError]. confirm makes the peer verified because the user has compared the
// numbers. It fails with [ErrUnknownPeer] if there is no pin.
func (t *Trust) Verify(tx *store.Tx, account store.AccountID, addr identity.Address, expect string, confirm bool) (v local.Verification, mismatch bool, err error) {
	if err := notSelf(tx, account, addr); err != nil {
		return v, false, err
	}
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return v, false, err
	}
	peer, err := tx.FindPeer(account, addr.String())
	if errors.Is(err, store.ErrNotFound) {
		return v, false, fmt.Errorf("%s: %w", addr, ErrUnknownPeer)
	}
	if err != nil {
		return v, false, err
	}
	c, err := tx.Contact(account, peer)
	if err != nil {
		return v, false, err
	}
	if len(c.Pin) == 0 {
		return v, false, fmt.Errorf("%s: %w", addr, ErrUnknownPeer)
	}
	pin, err := key.ParseSigningPublic(c.Pin)
	if err != nil {
		return v, false, fmt.Errorf("stored pin: %w: %w", store.ErrCorrupt, err)
	}
	number, err := identity.NewSafetyNumber(o.address, o.key, addr, pin)
	if err != nil {
		return v, false, err
	}
	if expect != "" {
		switch err := number.MatchDigits(expect); {
		case errors.Is(err, identity.ErrMismatch):
			mismatch = true
			err := t.notify(tx, account, addr, local.Identity{
				Change: local.ChangeMismatch, Fingerprint: pin.Fingerprint(),
				Text: "a safety number was compared and did not match",
			})
			if err != nil {
				return v, true, err
			}
		case err != nil:
			return v, false, local.Errorf(local.CodeUsage, "a safety number has %d digits", identity.SafetyDigits)
		}
	}
	if !mismatch && (confirm || expect != "") {
		c.Trust = store.TrustVerified
		relation := c.Relation
		if relation == store.RelationNone {
			relation = store.RelationContact
		}
		if err := setRelation(tx, c, relation); err != nil {
			return v, false, err
		}
	}
	own, err := tx.Account(account)
	if err != nil {
		return v, false, err
	}
	self, err := identity.ParseAddress(own.Address)
	if err != nil {
		return v, false, err
	}
	return local.Verification{
		Peer: addr.String(), Trust: TrustState(c), SafetyNumber: number.String(),
		Fingerprint: pin.Fingerprint(), QR: verifyText(self, number.String()),
	}, mismatch, nil
}

// verifyText returns the content of this side's QR code: its user and the common safety
// number. The other side passes it to secmsg verify --expect.
func verifyText(self identity.Address, number string) string {
	return "secmsg://" + self.Domain + "/verify#" + self.User + "." + number
}

// MismatchError is the error for a safety number that differs.
func MismatchError(addr identity.Address) error {
	return local.Errorf(local.CodeUntrusted, "the safety number with %s differs; nothing was changed", addr).
		WithHint("compare it again over a channel on which you know the person")
}

// Accept pins the changed key with this fingerprint and deletes the sessions with the
// former key, or keeps the pinned key if that has the fingerprint. It fails with a
// *local.Error: untrusted if neither key has it.
func (t *Trust) Accept(tx *store.Tx, account store.AccountID, addr identity.Address, fp string) (local.Contact, error) {
	c, err := find(tx, account, addr)
	if err != nil {
		return local.Contact{}, err
	}
	want := strings.ToLower(strings.NewReplacer(" ", "", ":", "").Replace(fp))
	switch {
	case want == "" || want != fingerprint(c.Pin) && want != fingerprint(c.Changed):
		return local.Contact{}, local.Errorf(local.CodeUntrusted, "neither the pinned nor a changed key of %s has this fingerprint", addr).
			WithHint("secmsg contact show %s", addr.User)
	case want == fingerprint(c.Changed):
		if err := tx.DeletePeerSessions(account, c.Peer); err != nil {
			return local.Contact{}, err
		}
		if err := tx.ForgetManifests(account, c.Peer); err != nil {
			return local.Contact{}, err
		}
		if err := t.repin(tx, account, addr, &c); err != nil {
			return local.Contact{}, err
		}
	}
	c.Changed, c.ChangedChain, c.ChangedManifest = nil, nil, nil
	if err := resetNotice(tx, account, c.Peer, local.ChangeKey); err != nil {
		return local.Contact{}, err
	}
	relation := c.Relation
	if relation == store.RelationNone {
		relation = store.RelationContact
	}
	if err := setRelation(tx, c, relation); err != nil {
		return local.Contact{}, err
	}
	if c, err = tx.Contact(account, c.Peer); err != nil {
		return local.Contact{}, err
	}
	return t.describe(tx, c, addr)
}

// repin replaces the pin by the changed key.
func (t *Trust) repin(tx *store.Tx, account store.AccountID, addr identity.Address, c *store.Contact) error {
	o, err := t.loadOwn(tx, account)
	if err != nil {
		return err
	}
	pin, err := key.ParseSigningPublic(c.Changed)
	if err != nil {
		return fmt.Errorf("stored key: %w: %w", store.ErrCorrupt, err)
	}
	leaf, err := leafOf(o, addr, c.ChangedChain)
	if err != nil {
		return err
	}
	c.Pin, c.Chain, c.Expires, c.Trust = c.Changed, c.ChangedChain, leaf.NotAfter, store.TrustCertified
	c.Manifest = nil
	if len(c.ChangedManifest) > 0 {
		m, err := identity.VerifyManifest(c.ChangedManifest, addr, pin)
		if err != nil {
			return fmt.Errorf("stored manifest: %w: %w", store.ErrCorrupt, err)
		}
		c.Manifest = c.ChangedManifest
		return rememberManifest(tx, account, c.Peer, m.Version, c.Manifest, false)
	}
	return nil
}

// leafOf returns the certificate of a chain that was valid when it was stored.
func leafOf(o own, addr identity.Address, chain [][]byte) (identity.AccountCert, error) {
	cert, err := identity.VerifyAccount(o.root, chain, addr, o.root.NotBefore)
	if err != nil && (cert.Key.IsZero() || !identity.IsValidity(err)) {
		return cert, fmt.Errorf("stored chain: %w: %w", store.ErrCorrupt, err)
	}
	return cert, nil
}
