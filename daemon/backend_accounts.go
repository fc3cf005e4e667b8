package daemon

import (
	"context"
	"errors"
	"os"
	"slices"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Status implements localapi.Backend.
func (d *Daemon) Status(ctx context.Context) (local.Status, error) {
	out := local.Status{
		PID: os.Getpid(), Version: config.Version(), Replaced: config.BinaryReplaced(), Locked: d.keys.Locked(), Accounts: []local.AccountStatus{},
	}
	for _, a := range d.running() {
		e, _ := a.parts()
		st, err := e.Status(ctx)
		if err != nil {
			return out, toLocal(err)
		}
		if why := a.stoppedWhy(); why != nil {
			st.Error = why
		}
		out.Accounts = append(out.Accounts, st)
	}
	return out, nil
}

// Check implements localapi.Backend: a probe for each account that is meant.
func (d *Daemon) Check(ctx context.Context, name string) ([]local.CheckResult, error) {
	list := d.running()
	if name != "" || len(list) == 0 {
		a, err := d.resolve(name)
		if err != nil {
			return nil, err
		}
		list = []*account{a}
	}
	var out []local.CheckResult
	for _, a := range list {
		if why := a.stoppedWhy(); why != nil {
			out = append(out, local.CheckResult{Name: a.address.User, Error: why})
			continue
		}
		e, _ := a.parts()
		r := e.Check(ctx)
		if why := a.stoppedWhy(); why != nil { // the check was how it found out
			r.OK, r.Error = false, why
		}
		out = append(out, r)
	}
	return out, nil
}

// Stop implements localapi.Backend.
func (d *Daemon) Stop() { d.stop(errStop) }

// Accounts implements localapi.Backend.
func (d *Daemon) Accounts(context.Context) ([]local.Account, error) {
	if d.keys.Locked() {
		return nil, lockedError()
	}
	out := []local.Account{}
	for _, a := range d.running() {
		l, err := describe(a.current())
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// Account implements localapi.Backend.
func (d *Daemon) Account(_ context.Context, name string) (local.Account, error) {
	a, err := d.resolve(name)
	if err != nil {
		return local.Account{}, err
	}
	return describe(a.current())
}

// SetDefaultAccount implements localapi.Backend.
func (d *Daemon) SetDefaultAccount(ctx context.Context, name string) error {
	d.life.Lock()
	defer d.life.Unlock()
	a, err := d.resolve(name)
	if err != nil {
		return err
	}
	if err := d.store.Update(ctx, func(tx *store.Tx) error { return tx.SetDefaultAccount(a.id) }); err != nil {
		return toLocal(err)
	}
	return toLocal(d.reloadAll(ctx))
}

// RemoveAccount implements localapi.Backend: everything that this profile has of
// the account is deleted. The server is not told; an administrator deletes
// accounts there.
func (d *Daemon) RemoveAccount(ctx context.Context, name string) error {
	d.life.Lock()
	defer d.life.Unlock()
	if name == "" {
		return local.Errorf(local.CodeUsage, "which account is to be removed?")
	}
	a, err := d.resolve(name)
	if err != nil {
		return err
	}
	a.stop()
	d.drop(a)
	if err := a.fileService().Forget(context.WithoutCancel(ctx)); err != nil {
		d.logger.Warn("remove what transfers have on the disk", "error", err)
	}
	err = d.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		if err := tx.DeleteAccount(a.id); err != nil {
			return err
		}
		tx.OnCommit(d.keys.Forget)
		return defaultAny(tx)
	})
	if err != nil {
		if again, startErr := d.startAccount(a.current()); startErr == nil {
			d.add(again)
		}
		return toLocal(err)
	}
	return toLocal(d.reloadAll(ctx))
}

// defaultAny makes the oldest account the default if none is.
func defaultAny(tx *store.Tx) error {
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

// Lock implements localapi.Backend.
func (d *Daemon) Lock(context.Context) error {
	d.life.Lock()
	defer d.life.Unlock()
	defer d.statusChanged()
	if d.keys.Locked() {
		return nil
	}
	if !d.keys.Protected() {
		return local.Errorf(local.CodeUsage, "the profile has no passphrase")
	}
	d.stopAccounts()
	return toLocal(d.keys.Lock())
}

// Unlock implements localapi.Backend.
func (d *Daemon) Unlock(ctx context.Context, passphrase string) error {
	d.life.Lock()
	defer d.life.Unlock()
	defer d.statusChanged()
	was := d.keys.Locked()
	secret := []byte(passphrase)
	defer clear(secret)
	if err := d.unlock(secret); err != nil || !was {
		return toLocal(err)
	}
	return toLocal(d.startAccounts(ctx))
}

// Devices implements localapi.Backend.
func (d *Daemon) Devices(ctx context.Context, name string) (local.Devices, error) {
	a, err := d.resolve(name)
	if err != nil {
		return local.Devices{}, err
	}
	out := local.Devices{Devices: []local.Device{}}
	err = d.store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Account(a.id)
		if err != nil {
			return err
		}
		addr, err := identity.ParseAddress(row.Address)
		if err != nil {
			return err
		}
		pub, err := d.keys.Identity(tx, a.id)
		if err != nil {
			return err
		}
		m, err := identity.VerifyManifest(row.Manifest, addr, pub)
		if err != nil {
			return err
		}
		_, noIdentity := tx.Key(a.id, store.KeyIdentity)
		for _, dev := range m.Devices {
			this := dev.ID == key.DeviceID(row.Device)
			out.Devices = append(out.Devices, local.Device{
				ID: dev.ID.String(), Name: dev.Name, Added: local.Time{Time: dev.Added}, This: this, Primary: this && noIdentity == nil,
			})
		}
		return nil
	})
	return out, toLocal(err)
}

// running returns the accounts, in the order of their ids.
func (d *Daemon) running() []*account {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.accounts)
}

func (d *Daemon) add(a *account) {
	defer d.statusChanged()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accounts = append(d.accounts, a)
	slices.SortFunc(d.accounts, func(x, y *account) int { return int(x.id - y.id) })
}

func (d *Daemon) drop(a *account) {
	defer d.statusChanged()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accounts = slices.DeleteFunc(d.accounts, func(x *account) bool { return x == a })
}

// startAccounts starts every account of an unlocked profile.
func (d *Daemon) startAccounts(ctx context.Context) error {
	if d.keys.Locked() || d.keys.New() {
		return nil
	}
	var rows []store.Account
	err := d.store.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = tx.Accounts()
		return err
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.State == store.AccountJoining {
			continue
		}
		a, err := d.startAccount(row)
		if err != nil {
			return err
		}
		d.add(a)
	}
	return nil
}

// stopAccounts stops all accounts, side by side, and waits for them.
func (d *Daemon) stopAccounts() {
	d.mu.Lock()
	list := d.accounts
	d.accounts = nil
	d.mu.Unlock()
	for _, a := range list {
		a.cancel()
	}
	for _, a := range list {
		<-a.done
	}
}

func (d *Daemon) reloadAll(ctx context.Context) error {
	var errs []error
	for _, a := range d.running() {
		errs = append(errs, a.reload(ctx))
	}
	return errors.Join(errs...)
}

// resolve finds the account of a name or address; "" is the only or the default one.
func (d *Daemon) resolve(name string) (*account, error) {
	if d.keys.Locked() {
		return nil, lockedError()
	}
	list := d.running()
	if len(list) == 0 {
		return nil, local.Errorf(local.CodeNotFound, "there is no account").WithHint("secmsg join INVITE --name NAME")
	}
	if name == "" {
		if len(list) == 1 {
			return list[0], nil
		}
		for _, a := range list {
			if a.current().Default {
				return a, nil
			}
		}
		return nil, local.Errorf(local.CodeUsage, "there are several accounts and no default").WithHint("secmsg account default NAME").
			WithCandidates(namesOf(list)...)
	}
	var found []*account
	for _, a := range list {
		if a.address.User == name || a.address.String() == name {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return nil, local.Errorf(local.CodeNotFound, "there is no account %q", name)
	case 1:
		return found[0], nil
	}
	return nil, local.Errorf(local.CodeUsage, "several accounts are called %q", name).WithHint("name it as %s", found[0].address).
		WithCandidates(namesOf(found)...)
}

func namesOf(list []*account) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.address.String()
	}
	return out
}
