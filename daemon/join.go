package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
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

// Join implements localapi.Backend. The keys are committed before the server is
// asked, so that the same invite with the same name can be tried again whatever
// happened to the answer. A join that the server refuses leaves nothing behind.
func (d *Daemon) Join(ctx context.Context, p local.JoinParams) (local.Account, error) {
	j, err := d.checkJoin(p)
	if err != nil {
		return local.Account{}, err
	}
	d.life.Lock()
	defer d.life.Unlock()
	if d.keys.Locked() {
		return local.Account{}, lockedError()
	}
	out, err := d.join(ctx, j)
	return out, toLocal(err)
}

// joining is a checked join.
type joining struct {
	invite     identity.Invite
	name       string
	deviceName string
	passphrase []byte
}

func (d *Daemon) checkJoin(p local.JoinParams) (joining, error) {
	invite, err := identity.ParseInvite(p.Invite)
	if err != nil {
		// The text is a secret and is not quoted.
		return joining{}, local.Errorf(local.CodeUsage, "this is not an invite: it has the form secmsg://HOST/join#TOKEN.FINGERPRINT")
	}
	if err := identity.ValidUser(p.Name); err != nil {
		return joining{}, local.Errorf(local.CodeUsage, "%q cannot be a name: a to z, 0 to 9, dot, hyphen and underscore, at most %d", p.Name, identity.MaxUser)
	}
	name := p.DeviceName
	if name == "" {
		if name, err = os.Hostname(); err != nil || identity.ValidDeviceName(name) != nil {
			name = "device"
		}
	}
	if err := identity.ValidDeviceName(name); err != nil {
		return joining{}, local.Errorf(local.CodeUsage, "the device name is empty, too long or has characters that cannot be seen")
	}
	return joining{invite: invite, name: p.Name, deviceName: name, passphrase: []byte(p.Passphrase)}, nil
}

func (d *Daemon) join(ctx context.Context, j joining) (local.Account, error) {
	defer clear(j.passphrase)
	endpoint := link.Endpoint{Server: j.invite.Addr, Realm: j.invite.Fingerprint, Timing: linkTiming(d.cfg), Proxy: proxyOf(d.cfg)}
	realm, err := link.FetchRealm(ctx, endpoint)
	if err != nil {
		return local.Account{}, err
	}
	addr := identity.Address{User: j.name, Domain: realm.Statement.Domain}
	endpoint.Domain = addr.Domain
	fresh, err := d.profileKey(j)
	if err != nil {
		return local.Account{}, err
	}
	token := j.invite.Token.Hash()
	if done, err := d.joinedBefore(ctx, addr, token); err != nil || done != nil {
		return describeOr(done, err)
	}
	id, reg, pub, err := d.commitKeys(ctx, j, addr, realm)
	if err != nil {
		return local.Account{}, err
	}
	answer, err := link.Register(ctx, endpoint, wire.Register{
		Token: j.invite.Token.Bytes(), Name: j.name, CSR: reg.CSR, Manifest: reg.Manifest, Proof: reg.Proof,
	})
	if err != nil {
		return local.Account{}, errors.Join(err, d.undoJoin(ctx, id, fresh, err))
	}
	if answer.Address != addr.String() {
		return local.Account{}, local.Errorf(local.CodeUntrusted, "the server registered another name than was asked for")
	}
	if err := trust.AdmitRegistration(realm.Root.Raw, addr, pub, answer.Chain, time.Now()); err != nil {
		return local.Account{}, err
	}
	return d.finishJoin(ctx, id, answer.Chain, token)
}

func describeOr(row *store.Account, err error) (local.Account, error) {
	if err != nil {
		return local.Account{}, err
	}
	return describe(*row)
}

// profileKey makes the storage key of a new profile, or checks that the
// passphrase is the one that the profile has. It reports whether it is new.
func (d *Daemon) profileKey(j joining) (fresh bool, err error) {
	switch {
	case d.keys.New():
		return true, d.keys.Create(norm.NFC.Bytes(j.passphrase))
	case len(j.passphrase) == 0:
		return false, nil
	case !d.keys.Protected():
		return false, local.Errorf(local.CodeUsage, "the profile exists and has no passphrase")
	}
	return false, d.unlock(j.passphrase)
}

// unlock tries a passphrase as it was typed, which is what profiles of before
// have, and then in the one form that new profiles get: two keyboards may write
// the same letters in two ways.
func (d *Daemon) unlock(passphrase []byte) error {
	err := d.keys.Unlock(passphrase)
	if normal := norm.NFC.Bytes(passphrase); errors.Is(err, keyring.ErrPassphrase) && !bytes.Equal(normal, passphrase) {
		defer clear(normal)
		err = d.keys.Unlock(normal)
	}
	return err
}

// joinedBefore returns the account if this very invite made it: the answer to a
// join that is repeated.
func (d *Daemon) joinedBefore(ctx context.Context, addr identity.Address, token [32]byte) (*store.Account, error) {
	var row store.Account
	err := d.store.View(ctx, func(tx *store.Tx) (err error) {
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
	return nil, local.Errorf(local.CodeUsage, "%s is an account of this profile already", addr)
}

// commitKeys makes the account's keys, or takes those of an earlier try.
func (d *Daemon) commitKeys(ctx context.Context, j joining, addr identity.Address, realm link.Realm) (id store.AccountID, reg keyring.Registration, pub key.SigningPublic, err error) {
	err = d.store.Update(ctx, func(tx *store.Tx) error {
		id, err = d.keys.NewAccount(tx, keyring.NewAccount{
			Address: addr, Server: j.invite.Addr, Realm: j.invite.Fingerprint, Root: realm.Root.Raw, DeviceName: j.deviceName,
		}, time.Now())
		if err != nil {
			return err
		}
		if reg, err = d.keys.Registration(tx, id); err != nil {
			return err
		}
		pub, err = d.keys.Identity(tx, id)
		return err
	})
	return id, reg, pub, err
}

// undoJoin removes what a refused join left. After an answer that may have been
// lost the keys stay, for the next try.
func (d *Daemon) undoJoin(ctx context.Context, id store.AccountID, fresh bool, reason error) error {
	switch link.KindOf(reason) {
	case link.KindInvite, link.KindNameTaken, link.KindRefused, link.KindVersion, link.KindConflict:
	default:
		return nil
	}
	err := d.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.DeleteAccount(id) })
	if err != nil {
		return fmt.Errorf("undo join: %w", err)
	}
	d.keys.Forget()
	if !fresh {
		return nil
	}
	// The passphrase that was given belongs to no account.
	return d.keys.Discard()
}

// finishJoin makes the account one in use and starts it.
func (d *Daemon) finishJoin(ctx context.Context, id store.AccountID, chain [][]byte, token [32]byte) (local.Account, error) {
	var row store.Account
	err := d.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) (err error) {
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
		if err := defaultAny(tx); err != nil {
			return err
		}
		tx.OnCommit(d.keys.Forget)
		row, err = tx.Account(id)
		return err
	})
	if err != nil {
		return local.Account{}, err
	}
	a, err := d.startAccount(row)
	if err != nil {
		return local.Account{}, err
	}
	d.add(a)
	a.awaitStock(ctx)
	return describe(row)
}

// stockWait bounds how long a join waits for the first upload of prekeys.
const stockWait = 10 * time.Second

// awaitStock waits until others can start sessions with a new account, so that
// whoever is told of it can write at once. When the server is slow the join is
// done all the same: the upload goes on.
func (a *account) awaitStock(ctx context.Context) {
	e, _ := a.parts()
	timer := time.NewTimer(stockWait)
	defer timer.Stop()
	select {
	case <-e.Stocked():
	case <-timer.C:
	case <-a.done:
	case <-ctx.Done():
	}
}
