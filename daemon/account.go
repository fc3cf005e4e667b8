package daemon

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
	"secmsg/daemon/engine"
	"secmsg/daemon/files"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// account runs one own account: its engine for as long as the profile is
// unlocked, and its link for as long as this copy of the device is good.
type account struct {
	// constant
	daemon *Daemon
	id     store.AccountID
	cancel context.CancelFunc
	done   chan struct{} // closed when supervise has ended
	sends  *engine.Sends // what waits for an engine, whichever it is

	mu      sync.Mutex
	row     store.Account    // guarded by mu
	address identity.Address // guarded by mu
	engine  *engine.Engine   // guarded by mu
	link    *link.Link       // guarded by mu
	files   *files.Service   // guarded by mu
	calls   *call.Service    // guarded by mu
	// addresses are this machine's when the server was reached last; guarded by mu.
	addresses string
	// contactUp and replicaUp tell which connections stand; guarded by mu.
	contactUp, replicaUp bool
	stopped              *local.Error // guarded by mu; why it does not connect, for good or for now
	told                 bool         // guarded by mu; the user knows of an end that is not proven
}

// startAccount starts an account in a goroutine of its own.
func (d *Daemon) startAccount(row store.Account) (*account, error) {
	addr, err := identity.ParseAddress(row.Address)
	if err != nil {
		return nil, fmt.Errorf("account %d: %w", row.ID, err)
	}
	ctx, cancel := context.WithCancel(d.work)
	a := &account{daemon: d, id: row.ID, cancel: cancel, done: make(chan struct{}), sends: engine.NewSends(), row: row, address: addr}
	a.build()
	go func() {
		defer close(a.done)
		defer a.sends.End()
		a.supervise(ctx)
	}()
	return a, nil
}

// stop ends an account and waits for it.
func (a *account) stop() {
	a.cancel()
	<-a.done
}

// build makes engine and link for the account's present device.
func (a *account) build() {
	d := a.daemon
	logger := d.logger.With("account", int64(a.id))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.contactUp, a.replicaUp = false, false
	a.engine = engine.New(engine.Options{
		Account: a.id, Address: a.address, Device: key.DeviceID(a.row.Device),
		Store: d.store, Keyring: d.keys, Trust: d.trust, Journal: d.journal, Sends: a.sends,
		Logger: logger, Config: engineConfig(d.cfg), SafeName: files.SafeName,
		OnFiles: func() { a.fileService().Kick() }, OnUp: a.reached,
		Calls: callHandler{a},
	})
	a.link = link.New(link.Options{
		Endpoint: a.endpointLocked(), Account: a.address.User, Device: key.DeviceID(a.row.Device),
		Signer: signer{d.keys, a.id}, Handler: linkWatch{a.engine, a}, Logger: logger, Network: addresses,
	})
	a.engine.SetLink(a.link)
	a.files = files.New(files.Options{
		Account: a.id, Store: d.store, Blobs: blobs{a.link.Client}, Engine: a.engine, Memory: d.memory, Logger: logger,
		Spool: filepath.Join(d.cfg.Paths.Data, spoolDir), Downloads: d.downloads(),
		Parallel: d.cfg.Files.Parallel, SpoolParts: int(d.cfg.Files.Spool / seal.FilePartPlain),
		KeepFree: int64(d.cfg.Files.KeepFree), Explain: linkError,
	})
	a.calls = call.New(call.Options{
		Self: call.Device(a.row.Device), Signals: callSignals{a.engine}, Logger: logger,
		Media:    callMedia{link: a.link, server: a.row.Server, logger: logger},
		Stopping: d.stopping,
	})
}

// reached is told that the server can be reached again: perhaps from another
// network, which calls then must know.
func (a *account) reached() {
	a.fileService().Reached()
	now := addresses()
	e, _ := a.parts()
	up := e.Connected() // else a user is in a hurry
	a.mu.Lock()
	changed := a.addresses != "" && a.addresses != now
	a.addresses = now
	if up {
		a.stopped, a.told = nil, false
	}
	a.mu.Unlock()
	if changed {
		a.callService().NetworkChanged()
	}
}

func (a *account) callService() *call.Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

func (a *account) endpointLocked() link.Endpoint {
	return link.Endpoint{
		Server: a.row.Server, Realm: identity.Fingerprint(a.row.Realm), Domain: a.address.Domain,
		Timing: linkTiming(a.daemon.cfg), Proxy: proxyOf(a.daemon.cfg),
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
func (a *account) supervise(ctx context.Context) {
	wait := newPatience(a.daemon.cfg.Intervals.ReconnectMax)
	for ctx.Err() == nil {
		began := time.Now()
		var end *ending
		switch {
		case a.current().State == store.AccountStopped && a.removed():
			end = &ending{err: stoppedError(a.current().Stopped)}
		case a.current().State == store.AccountStopped:
			err := a.resume()
			if err == nil {
				continue
			}
			end = &ending{err: local.As(toLocal(err))}
		case len(a.current().Pending) > 0:
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
func (a *account) rest(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	a.runEngine(ctx)
}

// connected runs engine and link until ctx ends or the server refuses this copy
// of the device. It returns nil when a new device is to take over.
func (a *account) connected(parent context.Context) *ending {
	// Calls end first: their peers are told through engine and link.
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	callCtx, endCalls := context.WithCancel(parent)
	defer endCalls()
	var wg sync.WaitGroup
	defer wg.Wait()
	e, l := a.parts()
	f, c := a.fileService(), a.callService()
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
func (a *account) runEngine(ctx context.Context) {
	a.build()
	e, _ := a.parts()
	var wg sync.WaitGroup
	defer wg.Wait()
	c := a.callService()
	wg.Go(func() { a.ended("calls", ctx, c.Run(ctx)) })
	a.ended("engine", ctx, e.Run(ctx))
}

func (a *account) ended(what string, ctx context.Context, err error) {
	if ctx.Err() == nil {
		a.daemon.logger.Error(what+" ended by itself", "account", int64(a.id), "error", err)
		a.daemon.fail(fmt.Errorf("%s of account %d ended: %w", what, a.id, err))
	}
}

// parts returns the present engine and link.
func (a *account) parts() (*engine.Engine, *link.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.engine, a.link
}

func (a *account) fileService() *files.Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files
}

func (a *account) current() store.Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.row
}

func (a *account) stoppedWhy() *local.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stopped
}

// reload reads the account's row again.
func (a *account) reload(ctx context.Context) error {
	return a.daemon.store.View(context.WithoutCancel(ctx), func(tx *store.Tx) error {
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

// describe shows an account as the local RPC does.
func describe(row store.Account) (local.Account, error) {
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

// sweepInterval is how often the keyring deletes what time has ended.
const sweepInterval = time.Hour

// sweep deletes old sessions, message keys and prekeys now and then.
func (d *Daemon) sweep(ctx context.Context) {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		for _, a := range d.running() {
			err := d.store.Update(ctx, func(tx *store.Tx) error { return d.keys.Sweep(tx, a.id, d.store.KeyTime()) })
			if err != nil && ctx.Err() == nil {
				d.logger.Warn("sweep keys", slog.Int64("account", int64(a.id)), "error", err)
			}
		}
	}
}
