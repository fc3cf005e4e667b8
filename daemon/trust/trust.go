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

// Options make a Trust.
type Options struct {
	Logger *slog.Logger
	// Notify records an identity event of a peer in the transaction. It is
	// called for what AdmitInitial and the user's own commands find; Admit
	// returns its changes instead. nil drops them.
	Notify func(tx *store.Tx, account store.AccountID, peer identity.Address, change local.Identity) error
}

// Trust decides about peers. It is not copied.
type Trust struct {
	logger *slog.Logger
	notify func(tx *store.Tx, account store.AccountID, peer identity.Address, change local.Identity) error
	seen   cache
}

// New makes a Trust.
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

// own is the own account as decisions need it.
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

// TrustState returns how a peer stands, in the words of the local RPC.
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

// State returns how a peer stands, in the words of the local RPC.
func (t *Trust) State(tx *store.Tx, account store.AccountID, peer store.PeerID) (string, error) {
	c, err := tx.Contact(account, peer)
	return TrustState(c), err
}

// lies is how many lies about a peer are remembered, each by the first half of
// its hash.
const lies = 8

// alarmOnce reports whether an alarm of a kind about these bytes is due for a peer
// (0: the own account). A lie that was told is remembered, so that a server which
// repeats it raises one event; and one that makes up more, or alternates them,
// raises one a day.
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
	if err := tx.SetMeta(account, name, told[max(len(told)-lies*half, 0):]); err != nil {
		return false, err
	}
	return oncePer(tx, account, peer, kind, alarmPeriod, tx.ProfileTime())
}

// fingerprint returns the fingerprint of a stored key, "" if there is none.
func fingerprint(pin []byte) string {
	p, err := key.ParseSigningPublic(pin)
	if err != nil {
		return ""
	}
	return p.Fingerprint()
}
