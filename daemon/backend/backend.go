// Package backend implements localapi.Backend: it finds the account of a request
// and calls the account's parts, and it owns the list of accounts.
//
// A method of the local RPC takes five files: its name, parameters and result in
// rpc/local (methods.go, or the file of its topic), its function for clients in
// rpc/local/calls.go, its line in the interface and in the table of
// daemon/localapi/methods.go, its implementation here, and the work itself, mostly
// in daemon/engine.
package backend

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"secmsg/config"
	"secmsg/daemon/account"
	"secmsg/daemon/codes"
	"secmsg/daemon/files"
	"secmsg/daemon/journal"
	"secmsg/daemon/keyring"
	"secmsg/daemon/localapi"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Options make a Backend.
type Options struct {
	Config  config.Client
	Store   *store.Store
	Keyring *keyring.Keyring
	Journal *journal.Journal
	Logger  *slog.Logger
	// Work ends every account. The store stays open until they have ended.
	Work context.Context
	// Stop ends the daemon because a caller asked for it; Fail, because it cannot
	// go on after err. Both return at once.
	Stop func()
	Fail func(err error)
	// Stopping reports whether the daemon is about to end.
	Stopping func() bool
	// Hello introduces the daemon's process.
	Hello func() local.Hello
	// StaysUnlocked reports whether an unlocked profile would be unlocked after a
	// restart of the daemon.
	StaysUnlocked func() bool
}

// Backend answers the requests of the local socket.
type Backend struct {
	// constant
	shared        *account.Shared
	store         *store.Store
	keys          *keyring.Keyring
	journal       *journal.Journal
	logger        *slog.Logger
	stop          func()
	hello         func() local.Hello
	staysUnlocked func() bool

	changed changes // of the accounts' connections

	// life is held while accounts come and go: join, remove, lock, unlock.
	life sync.Mutex

	mu       sync.Mutex
	accounts []*account.Account // guarded by mu; in the order of their ids
}

var _ localapi.Backend = (*Backend)(nil)

// New makes a Backend without accounts. Start starts them.
func New(o Options) *Backend {
	b := &Backend{
		store: o.Store, keys: o.Keyring, journal: o.Journal, logger: o.Logger,
		stop: o.Stop, hello: o.Hello, staysUnlocked: o.StaysUnlocked,
	}
	b.shared = &account.Shared{
		Config: o.Config, Store: o.Store, Keyring: o.Keyring, Journal: o.Journal, Memory: files.NewMemory(),
		Logger: o.Logger, Work: o.Work, Fail: o.Fail, Stopping: o.Stopping, Changed: b.changed.tell,
	}
	return b
}

// on calls f with the account of a name, and gives its error a code.
func on[R any](b *Backend, name string, f func(a *account.Account) (R, error)) (R, error) {
	var none R
	a, err := b.resolve(name)
	if err != nil {
		return none, err
	}
	out, err := f(a)
	return out, codes.Local(err)
}

// Alive checks that the store and every engine answer.
func (b *Backend) Alive(ctx context.Context) error {
	if err := b.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.AccountRefs()
		return err
	}); err != nil {
		return err
	}
	for _, a := range b.running() {
		if err := a.Engine.Ping(ctx); err != nil {
			return fmt.Errorf("account %d: %w", a.ID, err)
		}
	}
	return nil
}

// CheckIdle implements localapi.Backend. Transfers from and to paths resume
// after a restart; those from and to a caller's stream hold its connection open.
func (b *Backend) CheckIdle(ctx context.Context) error {
	for _, a := range b.running() {
		calls, err := a.Calls.Status(ctx)
		if err != nil {
			return codes.Local(err)
		}
		if len(calls.Calls) > 0 {
			return local.Errorf(local.CodeRefused, "a call is active")
		}
	}
	if !b.staysUnlocked() {
		return local.Errorf(local.CodeRefused, "its profile was unlocked by hand, and a restart would lock it again")
	}
	return nil
}
