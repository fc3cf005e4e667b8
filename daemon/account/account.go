package account

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
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

// Shared is what the accounts of a profile have in common.
type Shared struct {
	Config  config.Client
	Store   *store.Store
	Keyring *keyring.Keyring
	Trust   *trust.Trust
	Journal *journal.Journal
	Memory  *files.Memory // for the transfers of all accounts together
	Logger  *slog.Logger
	// Work ends every account. The store stays open until they have ended.
	Work context.Context
	// Fail ends the daemon, which cannot go on after err.
	Fail func(err error)
	// Changed reports a change of an account's connections. It must not wait.
	Changed func()
	// Stopping reports whether the daemon is about to end.
	Stopping func() bool
	// Identity appends an identity event of a peer, in a transaction.
	Identity func(tx *store.Tx, account store.AccountID, peer identity.Address, change local.Identity) error
}

// Account runs one own account: its engine for as long as the profile is
// unlocked, and its link for as long as this copy of the device is good.
type Account struct {
	// constant
	shared *Shared
	id     store.AccountID
	cancel context.CancelFunc
	done   chan struct{} // closed when supervise has ended
	sends  *engine.Sends // what waits for an engine, whichever it is

	address identity.Address

	mu     sync.Mutex
	row    store.Account  // guarded by mu
	engine *engine.Engine // guarded by mu
	link   *link.Link     // guarded by mu
	files  *files.Service // guarded by mu
	calls  *call.Service  // guarded by mu
	// addresses are this machine's when the server was reached last; guarded by mu.
	addresses string
	// contactUp and replicaUp tell which connections stand; guarded by mu.
	contactUp, replicaUp bool
	stopped              *local.Error // guarded by mu; why it does not connect, for good or for now
	told                 bool         // guarded by mu; the user knows of an end that is not proven
}

// Start starts an account in a goroutine of its own.
func (s *Shared) Start(row store.Account) (*Account, error) {
	addr, err := identity.ParseAddress(row.Address)
	if err != nil {
		return nil, fmt.Errorf("account %d: %w", row.ID, err)
	}
	ctx, cancel := context.WithCancel(s.Work)
	a := &Account{shared: s, id: row.ID, cancel: cancel, done: make(chan struct{}), sends: engine.NewSends(), row: row, address: addr}
	a.build()
	go func() {
		defer close(a.done)
		defer a.sends.End()
		a.supervise(ctx)
	}()
	return a, nil
}

// ID returns the account's number in the store.
func (a *Account) ID() store.AccountID { return a.id }

// Address returns the account's address, which never changes.
func (a *Account) Address() identity.Address { return a.address }

// Cancel makes the account end. It does not wait.
func (a *Account) Cancel() { a.cancel() }

// Done is closed when the account has ended.
func (a *Account) Done() <-chan struct{} { return a.done }

// Stop ends the account and waits for it.
func (a *Account) Stop() {
	a.cancel()
	<-a.done
}

// build makes engine and link for the account's present device.
func (a *Account) build() {
	s := a.shared
	logger := s.Logger.With("account", int64(a.id))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.contactUp, a.replicaUp = false, false
	a.engine = engine.New(engine.Options{
		Account: a.id, Address: a.address, Device: key.DeviceID(a.row.Device),
		Store: s.Store, Keyring: s.Keyring, Trust: s.Trust, Journal: s.Journal, Sends: a.sends,
		Logger: logger, Config: engineConfig(s.Config), SafeName: files.SafeName,
		OnFiles: func() { a.Files().Kick() }, OnUp: a.reached,
		Calls: callHandler{a},
	})
	a.link = link.New(link.Options{
		Endpoint: a.endpointLocked(), Account: a.address.User, Device: key.DeviceID(a.row.Device),
		Signer: signer{s.Keyring, a.id}, Handler: linkWatch{a.engine, a}, Logger: logger, Network: addresses,
	})
	a.engine.SetLink(a.link)
	a.files = files.New(files.Options{
		Account: a.id, Store: s.Store, Blobs: blobs{a.link.Client}, Engine: a.engine, Memory: s.Memory, Logger: logger,
		Spool: filepath.Join(s.Config.Paths.Data, spoolDir), Downloads: s.downloads(),
		Parallel: s.Config.Files.Parallel, SpoolParts: int(s.Config.Files.Spool / seal.FilePartPlain),
		KeepFree: int64(s.Config.Files.KeepFree), Explain: codes.Server,
	})
	a.calls = call.New(call.Options{
		Self: call.Device(a.row.Device), Signals: callSignals{a.engine}, Logger: logger,
		Media:    callMedia{link: a.link, server: a.row.Server, logger: logger},
		Stopping: s.Stopping,
	})
}

// reached is told that the server can be reached again: perhaps from another
// network, which calls then must know.
func (a *Account) reached() {
	a.Files().Reached()
	now := addresses()
	e, _ := a.Parts()
	up := e.Connected() // else a user is in a hurry
	a.mu.Lock()
	changed := a.addresses != "" && a.addresses != now
	a.addresses = now
	if up {
		a.stopped, a.told = nil, false
	}
	a.mu.Unlock()
	if changed {
		a.Calls().NetworkChanged()
	}
}

func (a *Account) Calls() *call.Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

func (a *Account) endpointLocked() link.Endpoint {
	return link.Endpoint{
		Server: a.row.Server, Realm: identity.Fingerprint(a.row.Realm), Domain: a.address.Domain,
		Timing: linkTiming(a.shared.Config), Proxy: proxyOf(a.shared.Config),
	}
}

// signer is a device key as a link uses it.
type signer struct {
	keys    *keyring.Keyring
	account store.AccountID
}

// SignChallenge implements link.Signer.
func (s signer) SignChallenge(role wire.Role, nonce []byte) ([]byte, error) {
	return s.keys.SignChallenge(context.Background(), s.account, string(role), nonce)
}

// supervise runs the account until ctx ends: connected; or, once this copy of
// the device is found to be old, as a new device; or without a connection, so
// that history can still be read.
func (a *Account) supervise(ctx context.Context) {
	wait := newPatience(a.shared.Config.Intervals.ReconnectMax)
	for ctx.Err() == nil {
		began := time.Now()
		var end *ending
		switch {
		case a.Row().State == store.AccountStopped && a.removed():
			end = &ending{err: stoppedError(a.Row().Stopped)}
		case a.Row().State == store.AccountStopped:
			err := a.resume()
			if err == nil {
				continue
			}
			end = &ending{err: local.As(codes.Local(err))}
		case len(a.Row().Pending) > 0:
			end = a.replaceDevice(ctx)
		default:
			end = a.connected(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if end == nil {
			// As a new device. A server that calls one after the other old makes
			// each wait longer.
			if d := wait.replaced(time.Now()); d > 0 {
				a.rest(ctx, d)
			}
			a.build()
			continue
		}
		a.mu.Lock()
		a.stopped = end.err
		a.mu.Unlock()
		if !end.again {
			a.runEngine(ctx)
			return
		}
		a.rest(ctx, wait.refused(time.Since(began)))
		a.build()
	}
}

// rest runs the engine without a connection for a while.
func (a *Account) rest(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	a.runEngine(ctx)
}

// connected runs engine and link until ctx ends or the server refuses this copy
// of the device. It returns nil when a new device is to take over.
func (a *Account) connected(parent context.Context) *ending {
	// Calls end first: their peers are told through engine and link.
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	callCtx, endCalls := context.WithCancel(parent)
	defer endCalls()
	var wg sync.WaitGroup
	defer wg.Wait()
	e, l := a.Parts()
	f, c := a.Files(), a.Calls()
	wg.Go(func() {
		defer cancel()
		a.ended("calls", callCtx, c.Run(callCtx))
	})
	wg.Go(func() { a.ended("engine", ctx, e.Run(ctx)) })
	wg.Go(func() { a.ended("files", ctx, f.Run(ctx)) })
	err := l.Run(ctx)
	endCalls()
	cancel() // the engine ends before its keys change
	wg.Wait()
	bye, ok := errors.AsType[*link.ByeError](err)
	if !ok {
		return nil
	}
	return a.refused(parent, bye)
}

// runEngine runs the engine without a connection until ctx ends.
func (a *Account) runEngine(ctx context.Context) {
	a.build()
	e, _ := a.Parts()
	var wg sync.WaitGroup
	defer wg.Wait()
	c := a.Calls()
	wg.Go(func() { a.ended("calls", ctx, c.Run(ctx)) })
	a.ended("engine", ctx, e.Run(ctx))
}

func (a *Account) ended(what string, ctx context.Context, err error) {
	if ctx.Err() == nil {
		a.shared.Logger.Error(what+" ended unexpectedly", "account", int64(a.id), "error", err)
		a.shared.Fail(fmt.Errorf("%s of account %d ended: %w", what, a.id, err))
	}
}

// Parts returns the present engine and link.
func (a *Account) Parts() (*engine.Engine, *link.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.engine, a.link
}

func (a *Account) Files() *files.Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files
}

func (a *Account) Row() store.Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.row
}

func (a *Account) Stopped() *local.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopped
}

// Reload reads the account's row again.
func (a *Account) Reload(ctx context.Context) error {
	return a.shared.Store.View(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		row, err := tx.Account(a.id)
		if err != nil {
			return err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.row = row
		return nil
	})
}

// Describe shows an account as the local RPC does.
func Describe(row store.Account) (local.Account, error) {
	addr, err := identity.ParseAddress(row.Address)
	if err != nil {
		return local.Account{}, err
	}
	out := local.Account{
		Name: addr.User, Address: row.Address, Default: row.Default, Device: key.DeviceID(row.Device).String(),
		DeviceName: row.DeviceName, Realm: identity.Fingerprint(row.Realm).String(), Server: row.Server,
	}
	if len(row.Chain) == 0 {
		return out, nil
	}
	leaf, err := x509.ParseCertificate(row.Chain[0])
	if err != nil {
		return local.Account{}, fmt.Errorf("own certificate: %w", err)
	}
	root, err := x509.ParseCertificate(row.Root)
	if err != nil {
		return local.Account{}, fmt.Errorf("realm root: %w", err)
	}
	cert, err := identity.VerifyAccount(root, row.Chain, addr, leaf.NotBefore)
	if err != nil {
		return local.Account{}, fmt.Errorf("own certificate: %w", err)
	}
	out.Fingerprint, out.CertificateExpires = cert.Key.Fingerprint(), local.Time{Time: cert.NotAfter}
	return out, nil
}

func linkTiming(c config.Client) link.Timing {
	i := c.Intervals
	return link.Timing{
		BackoffMin: i.ReconnectMin, BackoffMax: i.ReconnectMax, Ping: i.Ping, Write: i.Write, Request: i.Request,
	}
}

// proxyOf returns the proxy of the configuration, which has been validated.
func proxyOf(c config.Client) link.ProxyFunc {
	proxy, err := link.ProxyFrom(c.Proxy)
	if err != nil { // never directly where a proxy is wanted
		return func(*http.Request) (*url.URL, error) { return nil, err }
	}
	return proxy
}

func engineConfig(c config.Client) engine.Config {
	return engine.Config{
		Window: c.Limits.InFlight, DefaultWait: c.Intervals.SendWait, Retention: c.Limits.OutboxAge,
		ReceiptJitter: c.Intervals.ReceiptDelay, GapAfter: c.Intervals.Gap, ProbeTimeout: c.Intervals.Probe,
		RetryEvery: c.Intervals.Retry, AutoAccept: uint64(max(c.Files.AutoAccept, 0)),
		BackoffMin: c.Intervals.ReconnectMin, BackoffMax: c.Intervals.ReconnectMax,
	}
}

const (
	// spoolDir is where sealed parts wait, in the profile's data directory.
	spoolDir = "spool"
	// downloadsDir is where files go unless the configuration says otherwise.
	downloadsDir = "downloads"
)

func (s *Shared) downloads() string {
	if s.Config.Files.Dir != "" {
		return s.Config.Files.Dir
	}
	return filepath.Join(s.Config.Paths.Data, downloadsDir)
}

// AwaitMail waits a little until what waited at the server is here, and says
// why it is not. A daemon that was started for this very question has not been
// connected yet; one that is known to be offline has nothing to wait for.
func (a *Account) AwaitMail(ctx context.Context) *local.Error {
	if why := a.Stopped(); why != nil {
		return why
	}
	e, _ := a.Parts()
	if e.Tried() && !e.Connected() {
		e.Kick() // for the next question
		return e.Away()
	}
	if err := e.Connect(ctx, engine.StageMail); err != nil {
		return local.As(codes.Local(err))
	}
	return nil
}
