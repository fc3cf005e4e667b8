package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Options configure a Trust.
type Options struct {
	Logger *slog.Logger
	// Notify records an identity event of a peer in the transaction. It is called for
	// events found by AdmitInitial and by the user's own commands; Admit returns its events
	// instead. nil drops them.
	Notify func(tx *store.Tx, account store.AccountID, peer identity.Address, change local.Identity) error
}

// Trust makes the decisions about peers. It must not be copied.
type Trust struct {
	logger *slog.Logger
	notify func(tx *store.Tx, account store.AccountID, peer identity.Address, change local.Identity) error
	seen   cache
}

// New returns a Trust.
func New(o Options) *Trust {
	t := &Trust{logger: o.Logger, notify: o.Notify}
	if t.logger == nil {
		t.logger = slog.New(slog.DiscardHandler)
	}
	if t.notify == nil {
		t.notify = func(*store.Tx, store.AccountID, identity.Address, local.Identity) error { return nil }
	}
	return t
}

// own is the own account with its parsed keys.
type own struct {
	store.Account
	address identity.Address
	root    *x509.Certificate
	key     key.SigningPublic // identity key
}

func (t *Trust) loadOwn(tx *store.Tx, account store.AccountID) (own, error) {
	a, err := tx.Account(account)
	if err != nil {
		return own{}, fmt.Errorf("own account: %w", err)
	}
	o := own{Account: a}
	if o.address, err = identity.ParseAddress(a.Address); err != nil {
		return own{}, fmt.Errorf("own account: %w", err)
	}
	if len(a.Chain) == 0 {
		return own{}, errors.New("own account: no certificate")
	}
	k, err := t.seen.own(a.Root, a.Chain[0])
	if err != nil {
		return own{}, fmt.Errorf("own account: %w", err)
	}
	o.root, o.key = k.root, k.key
	return o, nil
}

// TrustState returns the trust in a peer as a constant of the local RPC.
func TrustState(c store.Contact) string {
	switch {
	case c.Relation == store.RelationBlocked:
		return local.TrustBlocked
	case len(c.Changed) > 0:
		return local.TrustChanged
	case c.Trust == store.TrustVerified:
		return local.TrustVerified
	case c.Trust == store.TrustCertified:
		return local.TrustCertified
	}
	return local.TrustUnknown
}

// State returns the trust in a peer as a constant of the local RPC.
func (t *Trust) State(tx *store.Tx, account store.AccountID, peer store.PeerID) (string, error) {
	c, err := tx.Contact(account, peer)
	return TrustState(c), err
}

// alarmsKept is the number of alarms about a peer that are remembered, each by the first
// half of a hash.
const alarmsKept = 8

// alarmOnce reports whether an alarm about these bytes is due for a peer (0: the own
// account). It remembers reported alarms, so a server that repeats a forgery raises one
// event, and one that keeps inventing or alternating forgeries raises one a day for each
// kind.
func alarmOnce(tx *store.Tx, account store.AccountID, peer store.PeerID, kind string, what []byte) (bool, error) {
	name := "alarm/" + strconv.FormatInt(int64(peer), 10)
	sum := sha256.Sum256(what)
	told, err := tx.Meta(account, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	const half = sha256.Size / 2
	for known := range slices.Chunk(told, half) {
		if string(known) == string(sum[:half]) {
			return false, nil
		}
	}
	told = append(told, sum[:half]...)
	if err := tx.SetMeta(account, name, told[max(len(told)-alarmsKept*half, 0):]); err != nil {
		return false, err
	}
	return oncePer(tx, account, peer, kind, alarmPeriod, tx.ProfileTime())
}

// fingerprint returns the fingerprint of a stored key, or "" if there is none.
func fingerprint(pin []byte) string {
	p, err := key.ParseSigningPublic(pin)
	if err != nil {
		return ""
	}
	return p.Fingerprint()
}
