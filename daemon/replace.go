package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// Why an account does not connect any more, for people.
const (
	stoppedCopy    = "another copy of this device is connected; this one stays off"
	stoppedRevoked = "this device was removed from its account"
	stoppedLinked  = "this copy of the device is old; link it again"
)

func stoppedError(why string) *local.Error {
	e := local.Errorf(local.CodeRefused, "%s", why)
	if why == stoppedRevoked {
		e.Cause = local.CauseRevoked
	}
	return e
}

// refused decides what becomes of this copy of the device after the server has
// refused it (protocol.md, Fence). nil: a new device takes its place.
//
//	revoked ------------------------------> stopped
//	stale, the other copy is connected ---> stopped until the next start
//	stale, linked device -----------------> stopped
//	stale, primary -----------------------> new device, manifest without the old one
func (a *account) refused(ctx context.Context, bye *link.ByeError) *local.Error {
	if bye.Reason == wire.Reason_REASON_REVOKED {
		return a.halt(stoppedRevoked, true)
	}
	if bye.Text == wire.ByeOtherCopy {
		// Not kept: when the other copy is gone for good, a start of this one
		// enrols it as a new device.
		return a.halt(stoppedCopy, false)
	}
	err := a.daemon.store.View(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Key(a.id, store.KeyIdentity)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return a.halt(stoppedLinked, true)
	}
	if err != nil {
		return a.halt(stoppedLinked, false)
	}
	return a.replaceDevice(ctx)
}

// halt records why this device does not connect any more; for good, if keep.
func (a *account) halt(why string, keep bool) *local.Error {
	ctx := context.WithoutCancel(a.daemon.work)
	err := a.daemon.store.Update(ctx, func(tx *store.Tx) error {
		if keep {
			row, err := tx.Account(a.id)
			if err != nil {
				return err
			}
			row.Stopped = why
			if err := tx.SaveAccount(row); err != nil {
				return err
			}
			if err := tx.SetAccountState(a.id, store.AccountStopped); err != nil {
				return err
			}
		}
		return a.system(tx, why)
	})
	if err == nil {
		err = a.reload(ctx)
	}
	if err != nil {
		a.daemon.logger.Error("stop account", "account", int64(a.id), "error", err)
	}
	return stoppedError(why)
}

// system appends a system event of the account.
func (a *account) system(tx *store.Tx, text string) error {
	now := local.Time{Time: time.Now()}
	_, err := a.daemon.journal.Append(tx, a.id, local.Event{
		Type: local.TypeSystem, Account: a.current().Address, Time: now, Received: now, System: &local.System{Text: text},
	})
	return err
}

// replaceDevice makes this copy a new device of its account, and tries until
// the server has answered. It returns nil when the new device is in use.
// Meanwhile, which is long when the server is away, an engine without a
// connection queues and shows history; it seals nothing.
func (a *account) replaceDevice(parent context.Context) *local.Error {
	ctx, cancel := context.WithCancel(parent)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	a.build()
	e, _ := a.parts()
	wg.Go(func() { a.ended("engine", ctx, e.Run(ctx)) })
	return a.replaceUntilDone(parent)
}

func (a *account) replaceUntilDone(ctx context.Context) *local.Error {
	timing := a.daemon.cfg.Intervals
	wait := backoff.ExponentialBackOff{
		InitialInterval: timing.ReconnectMin, MaxInterval: timing.ReconnectMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	wait.Reset()
	for {
		err := a.replaceOnce(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return stoppedError("the daemon is stopping")
		case errors.Is(err, keyring.ErrRevoked):
			return a.halt(stoppedRevoked, true)
		}
		a.daemon.logger.Warn("enrol as a new device", "account", int64(a.id), "error", err)
		t := time.NewTimer(max(wait.NextBackOff(), link.Wait(err)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return stoppedError("the daemon is stopping")
		}
	}
}

func (a *account) replaceOnce(ctx context.Context) error {
	d := a.daemon
	a.mu.Lock()
	endpoint, addr, old := a.endpointLocked(), a.address, key.DeviceID(a.row.Device)
	a.mu.Unlock()
	taken, err := a.replacementTaken(ctx, endpoint, addr)
	if err != nil {
		return err
	}
	if !taken {
		c := link.NewClient(endpoint, addr.User, old, signer{d.keys, a.id})
		defer c.Close()
		newest, err := c.Account(ctx, addr.User)
		if err != nil {
			return fmt.Errorf("newest manifest: %w", err)
		}
		var r keyring.Replacement
		err = d.store.Update(ctx, func(tx *store.Tx) error {
			r, err = d.keys.PrepareReplacement(tx, a.id, newest.Manifest, time.Now())
			return err
		})
		if err != nil {
			return err
		}
		if err := c.PutManifest(ctx, r.Previous, r.Manifest); err != nil {
			return fmt.Errorf("new manifest: %w", err)
		}
	}
	err = d.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Restart(a.id); err != nil {
			return err
		}
		if err := d.keys.FinishReplacement(tx, a.id); err != nil {
			return err
		}
		return a.system(tx, "this copy of the device was old; it goes on as a new device of the account")
	})
	if err != nil {
		return err
	}
	return a.reload(ctx)
}

// replacementTaken reports whether the server already has the manifest of a
// replacement that was prepared before: then the old device buys no token any
// more, and the new one does.
func (a *account) replacementTaken(ctx context.Context, endpoint link.Endpoint, addr identity.Address) (bool, error) {
	d := a.daemon
	var pending []byte
	var device key.DeviceID
	err := d.store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Account(a.id)
		if err != nil || len(row.Pending) == 0 {
			return err
		}
		pending = row.Pending
		device, err = d.keys.NextDevice(tx, a.id)
		return err
	})
	if err != nil || len(pending) == 0 {
		return false, err
	}
	c := link.NewClient(endpoint, addr.User, device, nextSigner{d.keys, a.id})
	defer c.Close()
	newest, err := c.Account(ctx, addr.User)
	if link.KindOf(err) == link.KindRefused {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("newest manifest: %w", err)
	}
	return identity.ManifestHash(newest.Manifest) == identity.ManifestHash(pending), nil
}

// nextSigner is the key of the device that is to take over.
type nextSigner signer

// SignChallenge implements link.Signer.
func (s nextSigner) SignChallenge(role wire.Role, nonce []byte) ([]byte, error) {
	return s.keys.SignNextChallenge(context.Background(), s.account, string(role), nonce)
}
