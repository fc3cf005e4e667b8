package account

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"secmsg/config"
	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/crypto/seal"
	"secmsg/daemon/call"
	"secmsg/daemon/codes"
	"secmsg/daemon/engine"
	"secmsg/daemon/files"
	"secmsg/daemon/journal"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// Shared holds the parts that the accounts of a profile share.
type Shared struct {
	Config  config.Client
	Store   *store.Store
	Keyring *keyring.Keyring
	Journal *journal.Journal
	Memory  *files.Memory // for the transfers of all accounts together
	Logger  *slog.Logger
	// Work ends every account. The store stays open until they have ended.
	Work context.Context
	// Fail ends the daemon, which cannot go on after err.
	Fail func(err error)
	// Changed reports a change of an account's connections. It must not block.
	Changed func()
	// Stopping reports whether the daemon is about to end.
	Stopping func() bool
}

// Account is one own account. Its parts live as long as the account, even when
// its device is replaced.
type Account struct {
	// constant
	ID      store.AccountID
	Address identity.Address
	Trust   *trust.Trust
	Engine  *engine.Engine
	Link    *link.Link
	Files   *files.Service
	Calls   *call.Service

	// constant
	shared *Shared
	logger *slog.Logger
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	mu        sync.Mutex
	row       store.Account // guarded by mu
	network   string        // this machine's addresses at the last connection; guarded by mu
	replacing bool          // from suspend to resume; guarded by mu
	told      bool          // the user knows that the server calls the device removed; guarded by mu
}

// Start starts an account in a goroutine of its own.
func (s *Shared) Start(row store.Account) (*Account, error) {
	addr, err := identity.ParseAddress(row.Address)
	if err != nil {
		return nil, fmt.Errorf("account %d: %w", row.ID, err)
	}
	ctx, cancel := context.WithCancel(s.Work)
	a := &Account{
		ID: row.ID, Address: addr, shared: s, logger: s.Logger.With("account", int64(row.ID)),
		cancel: cancel, done: make(chan struct{}), row: row,
	}
	a.build()
	go func() {
		defer close(a.done)
		a.run(ctx)
	}()
	return a, nil
}

// build creates the parts of the account and connects them.
func (a *Account) build() {
	s, device := a.shared, key.DeviceID(a.row.Device)
	a.Trust = trust.New(trust.Options{Logger: s.Logger, Notify: a.identityChanged})
	a.Engine = engine.New(engine.Options{
		Account: a.ID, Address: a.Address, Device: device, Store: s.Store, Keyring: s.Keyring, Trust: a.Trust, Journal: s.Journal,
		Logger: a.logger, Config: engineConfig(s.Config), SafeName: files.SafeName, Calls: callHandler{a},
		OnFiles: func() { a.Files.Kick() }, OnUp: a.reached,
	})
	a.Link = link.New(link.Options{
		Endpoint: a.endpoint(), Account: a.Address.User, Device: device, Signer: signer{s.Keyring, a.ID},
		Handler: linkWatch{a.Engine, s.Changed}, Logger: a.logger, Network: addresses,
	})
	a.Engine.SetLink(a.Link)
	a.Files = files.New(files.Options{
		Account: a.ID, Store: s.Store, Blobs: blobs{a}, Engine: a.Engine, Memory: s.Memory, Logger: a.logger,
		Spool: filepath.Join(s.Config.Paths.Data, spoolDir), Downloads: s.downloads(),
		Parallel: s.Config.Files.Parallel, SpoolParts: int(s.Config.Files.Spool / seal.FilePartPlain),
		KeepFree: int64(s.Config.Files.KeepFree), Explain: codes.Explain,
	})
	a.Calls = call.New(call.Options{
		Self: device, Signals: callSignals{a.Engine}, Logger: a.logger,
		Media: callMedia{link: a.Link, server: a.row.Server, logger: a.logger}, Stopping: s.Stopping,
	})
}

// identityChanged implements trust.Options.Notify.
func (a *Account) identityChanged(tx *store.Tx, _ store.AccountID, peer identity.Address, change local.Identity) error {
	return a.Engine.NotifyIdentity(tx, peer, change)
}

func (a *Account) endpoint() link.Endpoint {
	row := a.Row()
	return link.Endpoint{
		Server: row.Server, Realm: identity.Fingerprint(row.Realm), Domain: a.Address.Domain,
		Timing: linkTiming(a.shared.Config), Proxy: proxyOf(a.shared.Config),
	}
}

// signer signs with the device key of an account.
type signer struct {
	keys    *keyring.Keyring
	account store.AccountID
}

// SignChallenge implements link.Signer.
func (s signer) SignChallenge(role wire.Role, nonce []byte) ([]byte, error) {
	return s.keys.SignChallenge(context.Background(), s.account, string(role), nonce)
}

// linkWatch passes a link's reports to the engine, and reports changes of the
// connections.
type linkWatch struct {
	link.Handler
	changed func()
}

// Up implements link.Handler.
func (w linkWatch) Up(role wire.Role, serverTime time.Time) {
	w.Handler.Up(role, serverTime)
	w.changed()
}

// Down implements link.Handler.
func (w linkWatch) Down(role wire.Role, err error) {
	w.Handler.Down(role, err)
	w.changed()
}

// Cancel ends the account. It does not wait.
func (a *Account) Cancel() { a.cancel() }

// Done is closed when the account has ended.
func (a *Account) Done() <-chan struct{} { return a.done }

// Stop ends the account and waits for it.
func (a *Account) Stop() {
	a.cancel()
	<-a.done
}

// Row returns the account's row in the store, as of the last Reload.
func (a *Account) Row() store.Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.row
}

// Reload reads the account's row again.
func (a *Account) Reload(ctx context.Context) error {
	return a.shared.Store.View(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		row, err := tx.Account(a.ID)
		if err != nil {
			return err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.row = row
		return nil
	})
}

// Wake reports that trust or contacts have changed.
func (a *Account) Wake() {
	a.Engine.Wake()
	a.Files.Changed()
}

// AwaitMail waits briefly for the mail that waits at the server, and returns why
// it cannot be fetched. A daemon that was started for this request has not
// connected yet; one that is known to be offline has nothing to wait for.
func (a *Account) AwaitMail(ctx context.Context) *local.Error {
	e := a.Engine
	if why := e.Suspended(); why != nil {
		return why
	}
	if e.Tried() && !e.Connected() {
		e.Kick() // for the next request
		return e.Away()
	}
	if err := e.Connect(ctx, engine.StageMail); err != nil {
		return local.As(codes.Local(err))
	}
	return nil
}

// stockWait bounds how long a join waits for the first upload of prekeys.
const stockWait = 10 * time.Second

// AwaitStock waits until others can start sessions with a new account, so that
// whoever learns of the account can write to it at once. With a slow server the
// join ends before the upload does.
func (a *Account) AwaitStock(ctx context.Context) {
	timer := time.NewTimer(stockWait)
	defer timer.Stop()
	select {
	case <-a.Engine.Stocked():
	case <-timer.C:
	case <-a.done:
	case <-ctx.Done():
	}
}
