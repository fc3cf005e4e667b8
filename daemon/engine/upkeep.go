package engine

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// upkeep is the state of the daily look at the server's record of this device. It
// belongs to the actor, except for stocked.
type upkeep struct {
	busy  bool
	tries int
	// stocked is closed, once, when the server has prekeys of this device.
	stocked chan struct{}
	once    sync.Once
}

func newUpkeep() *upkeep { return &upkeep{stocked: make(chan struct{})} }

// begin reports whether an upkeep may begin: one runs at a time.
func (u *upkeep) begin() bool {
	if u.busy {
		return false
	}
	u.busy = true
	return true
}

// end ends an upkeep and returns the time until the next one, which comes soon
// after a failure.
func (u *upkeep) end(cfg Config, failed error) (next time.Duration) {
	u.busy = false
	if failed == nil {
		u.tries = 0
		return cfg.Upkeep
	}
	next = cfg.backoff(u.tries, link.Wait(failed))
	u.tries++
	return next
}

// stock records that the server has prekeys of this device, so that everybody can
// start a session with it.
func (u *upkeep) stock() { u.once.Do(func() { close(u.stocked) }) }

// Stocked is closed once the server has prekeys of this device, in this run.
func (e *Engine) Stocked() <-chan struct{} { return e.upkeep.stocked }

// runUpkeep looks, after each connect and once a day, at the server's record of
// this device. Prekeys are replaced and filled up, the certificate is renewed after
// two thirds of its life, and the own manifest is signed anew after a month. The
// own account is compared with the local record, which reveals devices that nobody
// approved. Contacts whose manifests are old are looked up.
func (e *Engine) runUpkeep() error {
	if !e.up || !e.upkeep.begin() {
		return nil
	}
	var count wire.PrekeyCount
	var own wire.Account
	var err error
	e.worker(func(ctx context.Context) {
		if own, err = e.link.Account(ctx, e.self.User); err == nil {
			count, err = e.link.PrekeyCount(ctx)
		}
	}, func() {
		if err == nil {
			err = e.keepUp(own, count)
		}
		e.upkept(err)
	})
	return nil
}

// keepUp acts on the server's answers. A step that fails does not stop the next;
// the last failure is returned. An answer that is refused is an event.
func (e *Engine) keepUp(own wire.Account, count wire.PrekeyCount) (failed error) {
	for _, step := range []func() error{
		func() error { return e.learn(e.self.User, own.Chain, [][]byte{own.Manifest}) },
		func() error { return e.fillUp(count) },
		func() error { return e.renewManifest(own.Manifest) },
		e.recheckStale,
	} {
		if err := step(); err != nil {
			failed = err
		}
	}
	return failed
}

// upkept ends an upkeep.
func (e *Engine) upkept(err error) {
	if err != nil {
		e.logger.Info("upkeep", "error", err)
	}
	e.schedule(taskUpkeep, e.upkeep.end(e.cfg, err))
}

// fillUp uploads the prekeys that the server lacks. The private halves are
// committed before anything leaves.
func (e *Engine) fillUp(count wire.PrekeyCount) error {
	type due struct {
		upload *keyring.Upload
		renew  bool
	}
	d, err := inTx(e, func(tx *store.Tx) (d due, err error) {
		if d.renew, err = e.renewalDue(tx); err != nil {
			return d, err
		}
		d.upload, err = e.keys.PrekeyUpload(tx, e.account, stockOf(count), e.keyTime())
		return d, err
	})
	if err != nil {
		return fmt.Errorf("prekeys: %w", err)
	}
	if d.upload != nil {
		e.uploadPrekeys(d.upload)
	} else {
		e.upkeep.stock()
	}
	if d.renew {
		e.renew()
	}
	return nil
}

// restockAfter is the least time between a new session of a peer and the look at
// the stock that it took from. The look is put off by up to as much again, since
// the moment of a refill must not tell a stranger that this device is online.
const restockAfter = 30 * time.Minute

// restock schedules a look at the prekeys after a peer used some.
func (e *Engine) restock() {
	e.schedule(taskUpkeep, restockAfter+randomUpTo(restockAfter))
}

func stockOf(c wire.PrekeyCount) keyring.Stock {
	s := keyring.Stock{OneTimeExchange: c.OneTimeExchange, OneTimeKEM: c.OneTimeKEM}
	if c.SignedExpiresMS > 0 {
		s.SignedExpires = time.UnixMilli(c.SignedExpiresMS)
	}
	if c.LastResortExpiresMS > 0 {
		s.LastResortExpires = time.UnixMilli(c.LastResortExpiresMS)
	}
	return s
}

func (e *Engine) uploadPrekeys(up *keyring.Upload) {
	var err error
	e.worker(func(ctx context.Context) {
		_, err = e.link.PutPrekeys(ctx, &wire.PutPrekeys{
			SignedPrekey: up.SignedPrekey, LastResortKEM: up.LastResortKEM,
			OneTimeExchange: up.OneTimeExchange, OneTimeKEM: up.OneTimeKEM, Steps: up.Steps,
		})
	}, func() {
		if err != nil {
			e.upkept(fmt.Errorf("upload prekeys: %w", err))
			return
		}
		e.upkeep.stock()
	})
}

// renewalDue reports whether the own certificate has lived two thirds of its life.
func (e *Engine) renewalDue(tx *store.Tx) (bool, error) {
	a, err := tx.Account(e.account)
	if err != nil {
		return false, err
	}
	root, err := x509.ParseCertificate(a.Root)
	if err != nil {
		return false, fmt.Errorf("own root: %w", err)
	}
	cert, err := identity.VerifyAccount(root, a.Chain, e.self, e.now())
	if err != nil {
		return true, nil // expired or unreadable: a new one is needed
	}
	return !e.now().Before(cert.RenewAt()), nil
}

// renew asks for a new certificate and learns from it as from any other statement
// of the server about this account.
func (e *Engine) renew() {
	var c wire.Certificate
	var err error
	e.worker(func(ctx context.Context) { c, err = e.link.RenewCertificate(ctx) }, func() {
		if err == nil {
			err = e.learn(e.self.User, c.Chain, nil)
		}
		if err != nil {
			e.upkept(fmt.Errorf("renew certificate: %w", err))
		}
	})
}

// renewManifest signs the own manifest anew when that is due, on the primary
// device, and puts it on the server. A server that has lost the present manifest
// gets that one again.
func (e *Engine) renewManifest(shown []byte) error {
	var next []byte
	var previous [32]byte
	err := e.update(func(tx *store.Tx) (err error) {
		previous, next, err = e.keys.RenewManifest(tx, e.account, shown, e.keyTime())
		return err
	})
	if err != nil || next == nil {
		return err
	}
	e.worker(func(ctx context.Context) { err = e.link.PutManifest(ctx, previous, next) }, func() {
		if err == nil {
			err = e.learn(e.self.User, nil, [][]byte{next})
		}
		if wire.CodeOf(err) == wire.CodeConflict {
			e.logger.Warn("the server has another manifest of this account", "error", err)
			return // the next upkeep looks at it again
		}
		if err != nil {
			e.upkept(fmt.Errorf("renew manifest: %w", err))
		}
	})
	return nil
}
