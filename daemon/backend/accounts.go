package backend

import (
	"context"
	"errors"
	"os"
	"slices"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/account"
	"secmsg/daemon/codes"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Status implements localapi.Backend.
func (b *Backend) Status(ctx context.Context) (local.Status, error) {
	out := local.Status{
		PID: os.Getpid(), Version: config.Version(), Replaced: config.BinaryReplaced(), Locked: b.keys.Locked(), Accounts: []local.AccountStatus{},
	}
	for _, a := range b.running() {
		st, err := a.Engine.Status(ctx)
		if err != nil {
			return out, codes.Local(err)
		}
		out.Accounts = append(out.Accounts, st)
	}
	return out, nil
}

// Check implements localapi.Backend. It probes the named account, or all.
func (b *Backend) Check(ctx context.Context, name string) ([]local.CheckResult, error) {
	list := b.running()
	if name != "" || len(list) == 0 {
		a, err := b.resolve(name)
		if err != nil {
			return nil, err
		}
		list = []*account.Account{a}
	}
	var out []local.CheckResult
	for _, a := range list {
		if why := a.Engine.Suspended(); why != nil {
			out = append(out, local.CheckResult{Name: a.Address.User, Error: why})
			continue
		}
		r := a.Engine.Check(ctx)
		if why := a.Engine.Suspended(); why != nil { // the check itself revealed it
			r.OK, r.Error = false, why
		}
		out = append(out, r)
	}
	return out, nil
}

// Hello implements localapi.Backend.
func (b *Backend) Hello() local.Hello { return b.hello() }

// Stop implements localapi.Backend.
func (b *Backend) Stop() { b.stop() }

// Join implements localapi.Backend.
func (b *Backend) Join(ctx context.Context, p local.JoinParams) (local.Account, error) {
	j, err := account.CheckJoin(p)
	if err != nil {
		return local.Account{}, err
	}
	b.life.Lock()
	defer b.life.Unlock()
	if b.keys.Locked() {
		return local.Account{}, codes.Locked()
	}
	row, isNew, err := b.shared.Join(ctx, j)
	if err != nil {
		return local.Account{}, codes.Local(err)
	}
	if isNew {
		a, err := b.shared.Start(row)
		if err != nil {
			return local.Account{}, codes.Local(err)
		}
		b.add(a)
		a.AwaitStock(ctx)
	}
	return account.Describe(row)
}

// Accounts implements localapi.Backend.
func (b *Backend) Accounts(context.Context) ([]local.Account, error) {
	if b.keys.Locked() {
		return nil, codes.Locked()
	}
	out := []local.Account{}
	for _, a := range b.running() {
		l, err := account.Describe(a.Row())
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// Account implements localapi.Backend.
func (b *Backend) Account(_ context.Context, name string) (local.Account, error) {
	return on(b, name, func(a *account.Account) (local.Account, error) { return account.Describe(a.Row()) })
}

// SetDefaultAccount implements localapi.Backend.
func (b *Backend) SetDefaultAccount(ctx context.Context, name string) error {
	b.life.Lock()
	defer b.life.Unlock()
	a, err := b.resolve(name)
	if err != nil {
		return err
	}
	if err := b.store.Update(ctx, func(tx *store.Tx) error { return tx.SetDefaultAccount(a.ID) }); err != nil {
		return codes.Local(err)
	}
	return codes.Local(b.reloadAll(ctx))
}

// RemoveAccount implements localapi.Backend. It deletes all local data of the
// account. The account stays at the server until an administrator deletes it.
func (b *Backend) RemoveAccount(ctx context.Context, name string) error {
	b.life.Lock()
	defer b.life.Unlock()
	if name == "" {
		return local.Errorf(local.CodeUsage, "the name of the account is missing")
	}
	a, err := b.resolve(name)
	if err != nil {
		return err
	}
	a.Stop()
	b.drop(a)
	if err := a.Files.Forget(context.WithoutCancel(ctx)); err != nil {
		b.logger.Warn("cannot remove the files of transfers from the disk", "error", err)
	}
	err = b.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		if err := tx.DeleteAccount(a.ID); err != nil {
			return err
		}
		tx.OnCommit(b.keys.Forget)
		return account.EnsureDefault(tx)
	})
	if err != nil {
		if again, startErr := b.shared.Start(a.Row()); startErr == nil {
			b.add(again)
		}
		return codes.Local(err)
	}
	return codes.Local(b.reloadAll(ctx))
}

// Lock implements localapi.Backend.
func (b *Backend) Lock(context.Context) error {
	b.life.Lock()
	defer b.life.Unlock()
	defer b.changed.tell()
	if b.keys.Locked() {
		return nil
	}
	if !b.keys.Protected() {
		return local.Errorf(local.CodeUsage, "the profile has no passphrase")
	}
	b.StopAccounts()
	return codes.Local(b.keys.Lock())
}

// Unlock implements localapi.Backend.
func (b *Backend) Unlock(ctx context.Context, passphrase string) error {
	b.life.Lock()
	defer b.life.Unlock()
	defer b.changed.tell()
	was := b.keys.Locked()
	secret := []byte(passphrase)
	defer clear(secret)
	if err := b.shared.Unlock(secret); err != nil || !was {
		return codes.Local(err)
	}
	return codes.Local(b.Start(ctx))
}

// Devices implements localapi.Backend.
func (b *Backend) Devices(ctx context.Context, name string) (local.Devices, error) {
	a, err := b.resolve(name)
	if err != nil {
		return local.Devices{}, err
	}
	out := local.Devices{Devices: []local.Device{}}
	err = b.store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Account(a.ID)
		if err != nil {
			return err
		}
		addr, err := identity.ParseAddress(row.Address)
		if err != nil {
			return err
		}
		pub, err := b.keys.Identity(tx, a.ID)
		if err != nil {
			return err
		}
		m, err := identity.VerifyManifest(row.Manifest, addr, pub)
		if err != nil {
			return err
		}
		_, noIdentity := tx.Key(a.ID, store.KeyIdentity)
		for _, dev := range m.Devices {
			this := dev.ID == key.DeviceID(row.Device)
			out.Devices = append(out.Devices, local.Device{
				ID: dev.ID.String(), Name: dev.Name, Added: local.Time{Time: dev.Added}, This: this, Primary: this && noIdentity == nil,
			})
		}
		return nil
	})
	return out, codes.Local(err)
}

// running returns the running accounts by ascending id.
func (b *Backend) running() []*account.Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.accounts)
}

func (b *Backend) add(a *account.Account) {
	defer b.changed.tell()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accounts = append(b.accounts, a)
	slices.SortFunc(b.accounts, func(x, y *account.Account) int { return int(x.ID - y.ID) })
}

func (b *Backend) drop(a *account.Account) {
	defer b.changed.tell()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accounts = slices.DeleteFunc(b.accounts, func(x *account.Account) bool { return x == a })
}

// Start starts every account of an unlocked profile.
func (b *Backend) Start(ctx context.Context) error {
	if b.keys.Locked() || b.keys.New() {
		return nil
	}
	var rows []store.Account
	err := b.store.View(ctx, func(tx *store.Tx) (err error) {
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
		a, err := b.shared.Start(row)
		if err != nil {
			return err
		}
		b.add(a)
	}
	return nil
}

// StopAccounts stops all accounts in parallel and waits for them.
func (b *Backend) StopAccounts() {
	b.mu.Lock()
	list := b.accounts
	b.accounts = nil
	b.mu.Unlock()
	for _, a := range list {
		a.Cancel()
	}
	for _, a := range list {
		<-a.Done()
	}
}

func (b *Backend) reloadAll(ctx context.Context) error {
	var errs []error
	for _, a := range b.running() {
		errs = append(errs, a.Reload(ctx))
	}
	return errors.Join(errs...)
}

// resolve returns the account with a name or address. "" names the only account, or
// the default one.
func (b *Backend) resolve(name string) (*account.Account, error) {
	if b.keys.Locked() {
		return nil, codes.Locked()
	}
	list := b.running()
	if len(list) == 0 {
		return nil, local.Errorf(local.CodeNotFound, "this profile has no account").WithHint("create one with: secmsg join INVITE --name NAME")
	}
	if name == "" {
		if len(list) == 1 {
			return list[0], nil
		}
		for _, a := range list {
			if a.Row().Default {
				return a, nil
			}
		}
		return nil, local.Errorf(local.CodeUsage, "this profile has several accounts and no default").WithHint("choose a default with: secmsg account default NAME; or name the account with --account").
			WithCandidates(namesOf(list)...)
	}
	var found []*account.Account
	for _, a := range list {
		if a.Address.User == name || a.Address.String() == name {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return nil, local.Errorf(local.CodeNotFound, "account %q does not exist in this profile", name)
	case 1:
		return found[0], nil
	}
	return nil, local.Errorf(local.CodeUsage, "several accounts have the name %q", name).WithHint("use the whole address, such as %s", found[0].Address).
		WithCandidates(namesOf(found)...)
}

func namesOf(list []*account.Account) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.Address.String()
	}
	return out
}
