package keyring

import (
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

// limits bound the number of one-time prekeys of each kind.
type limits struct {
	full int // desired number on the server
	low  int // number on the server below which it is refilled
	kept int // stored private halves, so that uploads with lost answers do not accumulate
}

// stockLimits: a server keeps 100 keys of a kind (rpc/PROTOCOL.md).
func stockLimits() limits { return limits{full: 100, low: 25, kept: 1000} }

// Stock is the state of this device's prekeys on the server.
type Stock struct {
	SignedExpires     time.Time // zero: none
	LastResortExpires time.Time // zero: none
	OneTimeExchange   int
	OneTimeKEM        int
}

// Upload contains the prekeys to upload. Empty fields stay unchanged on the server.
type Upload struct {
	SignedPrekey    []byte
	LastResortKEM   []byte
	OneTimeExchange [][]byte
	OneTimeKEM      [][]byte
	Steps           uint64
}

// PrekeyUpload returns the prekeys that the server lacks, or nil: the signed prekey and the
// last-resort key if they are due or not the newest ones, and one-time keys up to 100 if
// fewer than 25 are left. The private halves are in the transaction, which must be
// committed before the upload. It also deletes expired private halves.
func (k *Keyring) PrekeyUpload(tx *store.Tx, account store.AccountID, stock Stock, now time.Time) (*Upload, error) {
	d, err := k.device(tx, account)
	if err != nil {
		return nil, fmt.Errorf("prekeys: %w", err)
	}
	if err := tx.ExpirePrekeys(account, now.Add(-identity.PrekeyKeep), now.Add(-identity.OneTimeKeep)); err != nil {
		return nil, fmt.Errorf("prekeys: %w", err)
	}
	m := prekeyMaker{tx: tx, account: account, device: d, limits: k.stock, now: now}
	var up Upload
	if up.SignedPrekey, err = m.lasting(identity.SignedExchange, stock.SignedExpires, k.renewal); err != nil {
		return nil, fmt.Errorf("prekeys: %w", err)
	}
	if up.LastResortKEM, err = m.lasting(identity.LastResortKEM, stock.LastResortExpires, k.renewal); err != nil {
		return nil, fmt.Errorf("prekeys: %w", err)
	}
	if up.OneTimeExchange, err = m.oneTime(identity.OneTimeExchange, stock.OneTimeExchange); err != nil {
		return nil, fmt.Errorf("prekeys: %w", err)
	}
	if up.OneTimeKEM, err = m.oneTime(identity.OneTimeKEM, stock.OneTimeKEM); err != nil {
		return nil, fmt.Errorf("prekeys: %w", err)
	}
	if up.SignedPrekey == nil && up.LastResortKEM == nil && len(up.OneTimeExchange) == 0 && len(up.OneTimeKEM) == 0 {
		return nil, nil
	}
	if m.made {
		// New keys count as a step, because an older copy of the database does not have
		// their private halves.
		if err := tx.Step(account); err != nil {
			return nil, fmt.Errorf("prekeys: %w", err)
		}
	}
	if up.Steps, err = tx.Steps(account); err != nil {
		return nil, fmt.Errorf("prekeys: %w", err)
	}
	return &up, nil
}

// prekeyMaker creates prekeys in a transaction.
type prekeyMaker struct {
	tx      *store.Tx
	account store.AccountID
	device  *device
	limits  limits
	now     time.Time
	made    bool
}

// lasting returns the signed form of the newest reusable prekey, if the server does not
// have it. If that is due for replacement, it creates a new one.
func (m *prekeyMaker) lasting(kind identity.PrekeyKind, atServer time.Time, renewal time.Duration) ([]byte, error) {
	newest, err := m.tx.NewestPrekey(m.account, uint8(kind))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	age := m.now.Sub(newest.Created)
	// A negative age means that the clock was set back. Then create a new key, since the
	// old one's expiry may be far in the future.
	if err == nil && age < renewal && age > -identity.ClockSkew {
		if newest.Expires.Unix() == atServer.Unix() {
			return nil, nil
		}
		return newest.Signed, nil
	}
	first, err := m.tx.NextPrekeyIDs(m.account, 1)
	if err != nil {
		return nil, err
	}
	if err := m.tx.ReplacePrekeys(m.account, uint8(kind), first, m.now); err != nil {
		return nil, err
	}
	return m.make(kind, first)
}

// oneTime returns as many new one-time keys as the server lacks.
func (m *prekeyMaker) oneTime(kind identity.PrekeyKind, atServer int) ([][]byte, error) {
	if atServer >= m.limits.low {
		return nil, nil
	}
	n := m.limits.full - max(atServer, 0)
	first, err := m.tx.NextPrekeyIDs(m.account, n)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, 0, n)
	for i := range n {
		signed, err := m.make(kind, first+uint32(i))
		if err != nil {
			return nil, err
		}
		out = append(out, signed)
	}
	return out, m.tx.TrimPrekeys(m.account, uint8(kind), m.limits.kept)
}

func (m *prekeyMaker) make(kind identity.PrekeyKind, id uint32) ([]byte, error) {
	p := identity.Prekey{Kind: kind, ID: id, Expires: m.now.Add(identity.PrekeyLifetime)}
	var seed []byte
	if kind.IsKEM() {
		private := key.GenerateKEM()
		p.KEM, seed = private.Public(), private.Seed()
	} else {
		private := key.GenerateExchange()
		p.Exchange, seed = private.Public(), private.Seed()
	}
	defer clear(seed)
	p, err := identity.SignPrekey(m.device.signing, m.device.party.Device, m.device.party.Address, p)
	if err != nil {
		return nil, err
	}
	signed, err := p.Marshal()
	if err != nil {
		return nil, err
	}
	m.made = true
	return signed, m.tx.AddPrekey(m.account, store.Prekey{
		Kind: uint8(kind), ID: id, Created: m.now, Expires: p.Expires, Signed: signed, Private: seed,
	})
}

// Sweep deletes expired data: previous sessions, stored message keys and private halves of
// prekeys. It is called periodically.
func (k *Keyring) Sweep(tx *store.Tx, account store.AccountID, now time.Time) error {
	devices, err := tx.SessionDevices(account)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, ref := range devices {
		before, err := loadSet(tx, ref)
		if _, ok := errors.AsType[*store.ValueError](err); ok {
			continue // it is deleted when it is needed; see DropDamaged
		}
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		after := before.Sweep(now)
		if len(after.Entries()) != len(before.Entries()) {
			if err := saveSet(tx, ref, before, after); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
		}
		for _, e := range after.Entries() {
			if err := expireSkipped(tx, ref, e.Session, now); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
		}
	}
	if err := tx.ExpirePrekeys(account, now.Add(-identity.PrekeyKeep), now.Add(-identity.OneTimeKeep)); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}
