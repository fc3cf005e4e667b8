package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/text/unicode/norm"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// Joining is a join whose parameters are valid.
type Joining struct {
	invite     identity.Invite
	name       string
	deviceName string
	passphrase []byte
}

// CheckJoin checks the parameters of a join.
func CheckJoin(p local.JoinParams) (Joining, error) {
	invite, err := identity.ParseInvite(p.Invite)
	if err != nil {
		// The text is a secret and is not quoted.
		return Joining{}, local.Errorf(local.CodeUsage, "this is not an invite; an invite has the form secmsg://HOST/join#TOKEN.FINGERPRINT")
	}
	if err := identity.ValidUser(p.Name); err != nil {
		return Joining{}, local.Errorf(local.CodeUsage, "%q cannot be an account name; allowed are a to z, 0 to 9, dot, hyphen and underscore, at most %d characters", p.Name, identity.MaxUser)
	}
	name := p.DeviceName
	if name == "" {
		if name, err = os.Hostname(); err != nil || identity.ValidDeviceName(name) != nil {
			name = "device"
		}
	}
	if err := identity.ValidDeviceName(name); err != nil {
		return Joining{}, local.Errorf(local.CodeUsage, "the device name is empty, too long or has invisible characters")
	}
	return Joining{invite: invite, name: p.Name, deviceName: name, passphrase: []byte(p.Passphrase)}, nil
}

// Join makes an account at the server of an invite. It returns the account's
// row, and whether the account is new: repeating a join that succeeded is no
// error. The keys are committed before the server is asked, so that the same
// invite with the same name can be tried again if the answer was lost. A join
// that the server refuses leaves no trace.
func (s *Shared) Join(ctx context.Context, j Joining) (row store.Account, isNew bool, err error) {
	defer clear(j.passphrase)
	endpoint := link.Endpoint{Server: j.invite.Addr, Realm: j.invite.Fingerprint, Timing: linkTiming(s.Config), Proxy: proxyOf(s.Config)}
	realm, err := link.FetchRealm(ctx, endpoint)
	if err != nil {
		return row, false, err
	}
	addr := identity.Address{User: j.name, Domain: realm.Statement.Domain}
	endpoint.Domain = addr.Domain
	freshKey, err := s.profileKey(j)
	if err != nil {
		return row, false, err
	}
	token := j.invite.Token.Hash()
	if done, err := s.joinedBefore(ctx, addr, token); err != nil {
		return row, false, err
	} else if done != nil {
		return *done, false, nil
	}
	id, reg, pub, err := s.commitKeys(ctx, j, addr, realm)
	if err != nil {
		return row, false, err
	}
	answer, err := link.Register(ctx, endpoint, wire.Register{
		Token: j.invite.Token.Bytes(), Name: j.name, CSR: reg.CSR, Manifest: reg.Manifest, Proof: reg.Proof,
	})
	if err != nil {
		return row, false, errors.Join(err, s.undoJoin(ctx, id, freshKey, err))
	}
	if answer.Address != addr.String() {
		return row, false, local.Errorf(local.CodeUntrusted, "the server registered a different name than the requested one")
	}
	if err := trust.AdmitRegistration(realm.Root.Raw, addr, pub, answer.Chain, time.Now()); err != nil {
		return row, false, err
	}
	row, err = s.finishJoin(ctx, id, answer.Chain, token)
	return row, err == nil, err
}

// profileKey creates the storage key of a new profile, or checks the passphrase of
// an existing one. fresh reports whether it created the key.
func (s *Shared) profileKey(j Joining) (fresh bool, err error) {
	switch {
	case s.Keyring.New():
		return true, s.Keyring.Create(norm.NFC.Bytes(j.passphrase))
	case len(j.passphrase) == 0:
		return false, nil
	case !s.Keyring.Protected():
		return false, local.Errorf(local.CodeUsage, "the profile already exists without a passphrase")
	}
	return false, s.Unlock(j.passphrase)
}

// Unlock unlocks the profile. It tries the passphrase as it was typed, which
// old profiles need, and then in the Unicode normal form NFC, which new profiles
// use: two keyboards may encode the same letters differently.
func (s *Shared) Unlock(passphrase []byte) error {
	err := s.Keyring.Unlock(passphrase)
	if normal := norm.NFC.Bytes(passphrase); errors.Is(err, keyring.ErrPassphrase) && !bytes.Equal(normal, passphrase) {
		defer clear(normal)
		err = s.Keyring.Unlock(normal)
	}
	return err
}

// joinedBefore returns the account if an earlier join with the same invite created
// it, nil if there is none.
func (s *Shared) joinedBefore(ctx context.Context, addr identity.Address, token [32]byte) (*store.Account, error) {
	var row store.Account
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		row, err = tx.FindAccount(addr.String())
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && row.State == store.AccountJoining:
		return nil, nil
	case err != nil:
		return nil, err
	case string(row.Invite) == string(token[:]):
		return &row, nil
	}
	return nil, local.Errorf(local.CodeUsage, "%s already is an account of this profile", addr)
}

// commitKeys creates the account's keys, or returns those of an earlier try.
func (s *Shared) commitKeys(ctx context.Context, j Joining, addr identity.Address, realm link.Realm) (id store.AccountID, reg keyring.Registration, pub key.SigningPublic, err error) {
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		id, err = s.Keyring.NewAccount(tx, keyring.NewAccount{
			Address: addr, Server: j.invite.Addr, Realm: j.invite.Fingerprint, Root: realm.Root.Raw, DeviceName: j.deviceName,
		}, time.Now())
		if err != nil {
			return err
		}
		if reg, err = s.Keyring.Registration(tx, id); err != nil {
			return err
		}
		pub, err = s.Keyring.Identity(tx, id)
		return err
	})
	return id, reg, pub, err
}

// undoJoin removes the keys of a refused join. If the answer may have been lost, the
// keys stay for the next try.
func (s *Shared) undoJoin(ctx context.Context, id store.AccountID, fresh bool, reason error) error {
	switch link.KindOf(reason) {
	case link.KindInvite, link.KindNameTaken, link.KindRefused, link.KindVersion, link.KindConflict:
	default:
		return nil
	}
	err := s.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.DeleteAccount(id) })
	if err != nil {
		return fmt.Errorf("undo join: %w", err)
	}
	s.Keyring.Forget()
	if !fresh {
		return nil
	}
	// No account needs the new storage key.
	return s.Keyring.Discard()
}

// finishJoin makes the account active.
func (s *Shared) finishJoin(ctx context.Context, id store.AccountID, chain [][]byte, token [32]byte) (row store.Account, err error) {
	err = s.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) (err error) {
		if row, err = tx.Account(id); err != nil {
			return err
		}
		row.Chain, row.Invite = chain, token[:]
		if err := tx.SaveAccount(row); err != nil {
			return err
		}
		if err := tx.SetAccountState(id, store.AccountActive); err != nil {
			return err
		}
		if err := EnsureDefault(tx); err != nil {
			return err
		}
		tx.OnCommit(s.Keyring.Forget)
		row, err = tx.Account(id)
		return err
	})
	return row, err
}

// EnsureDefault makes the oldest account the default if there is no default.
func EnsureDefault(tx *store.Tx) error {
	refs, err := tx.AccountRefs()
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(r store.AccountRef) bool { return r.State == store.AccountJoining })
	if len(refs) == 0 || slices.ContainsFunc(refs, func(r store.AccountRef) bool { return r.Default }) {
		return nil
	}
	return tx.SetDefaultAccount(refs[0].ID)
}
