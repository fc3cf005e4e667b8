package engine

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// upkeep looks, after each connect and once a day, at what the server has of
// this device: prekeys are replaced and filled up, the certificate is renewed
// at two thirds of its life, the own manifest is signed anew after a month, and
// the own account is compared with what this device knows of it, so that a
// device nobody approved is noticed. Contacts whose manifests are old are looked
// up.
func (e *Engine) upkeep() error {
	if !e.up || e.upkeeping {
		return nil
	}
	e.upkeeping = true
	var count wire.PrekeyCount
	var own wire.Account
	var err error
	e.worker(func(ctx context.Context) {
		if own, err = e.link.Account(ctx, e.self.User); err == nil {
			count, err = e.link.PrekeyCount(ctx)
		}
	}, func() {
		if err == nil {
			// What is wrong with it is an event; the prekeys go on.
			if e := e.learn(e.self.User, own.Chain, [][]byte{own.Manifest}); e != nil {
				err = e
			}
			if e := e.fillUp(count); e != nil {
				err = e
			}
			if e := e.renewManifest(own.Manifest); e != nil {
				err = e
			}
			if e := e.recheckStale(); e != nil {
				err = e
			}
		}
		e.upkept(err)
	})
	return nil
}

// upkept ends an upkeep, which is tried again soon if it failed.
func (e *Engine) upkept(err error) {
	e.upkeeping = false
	if err == nil {
		e.upkeepTries = 0
		e.at(taskUpkeep, e.cfg.Upkeep)
		return
	}
	e.logger.Info("upkeep", "error", err)
	e.at(taskUpkeep, e.cfg.backoff(e.upkeepTries, link.Wait(err)))
	e.upkeepTries++
}

// fillUp uploads what the server lacks. The private halves are committed before
// anything leaves.
func (e *Engine) fillUp(count wire.PrekeyCount) error {
	var up *keyring.Upload
	var renew bool
	err := e.update(func(tx *store.Tx) (err error) {
		if renew, err = e.renewalDue(tx); err != nil {
			return err
		}
		up, err = e.keys.PrekeyUpload(tx, e.account, stockOf(count), e.keyTime())
		return err
	})
	if err != nil {
		return fmt.Errorf("prekeys: %w", err)
	}
	if up != nil {
		e.upload(up)
	} else {
		e.stock()
	}
	if renew {
		e.renew()
	}
	return nil
}

// restockAfter is the least time between a new session of a peer and the look
// at the stock that it took from, which is put off by up to as much again: the
// moment of a refill must not tell a stranger that this device is online.
const restockAfter = 30 * time.Minute

// restock makes a look at the prekeys due after a peer used some.
func (e *Engine) restock() {
	e.at(taskUpkeep, restockAfter+randomUpTo(restockAfter))
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

func (e *Engine) upload(up *keyring.Upload) {
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
		e.stock()
	})
}

// stock tells that the server has prekeys of this device, so that everybody can
// start a session with it.
func (e *Engine) stock() { e.stockOnce.Do(func() { close(e.stocked) }) }

// Stocked is closed once the server has prekeys of this device, in this run.
func (e *Engine) Stocked() <-chan struct{} { return e.stocked }

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
		return true, nil // expired, or not readable any more: a new one is needed
	}
	return !e.now().Before(cert.RenewAt()), nil
}

// renew asks for a new certificate and takes it as any other statement of the
// server about this account.
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
