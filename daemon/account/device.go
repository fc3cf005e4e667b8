package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/keyring"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/backoff"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// Reasons why an account is not connected, as users see them.
const (
	stoppedCopy    = "another copy of this device is connected; this one stays disconnected"
	stoppedRevoked = "this device was removed from its account"
	stoppedLinked  = "this copy of the device is outdated: a newer copy has connected since"
	// stoppedUnproven is shown while the server claims a revocation without proof.
	stoppedUnproven = "the server says that this device was removed from its account, but shows no proof signed by the account; retrying"
	// shownOlder is shown while the server's device list is older than the local one.
	shownOlder = "the server shows an outdated device list of this account; this copy waits for the newest list before it becomes a new device"
)

func stoppedError(why string) *local.Error {
	e := local.Errorf(local.CodeRefused, "%s", why)
	if why == stoppedRevoked {
		e.Cause = local.CauseRevoked
	}
	return e
}

// ending is the reason why a connection has ended.
type ending struct {
	err *local.Error
	// again: the server gave no proof, so the account connects again after a while.
	// Nothing of it is recorded.
	again bool
}

// refused decides what happens after the server has refused this copy of the
// device (rpc/PROTOCOL.md, sections 3.1 and 5). The refusal is not signed, so it
// ends the device for good only if a manifest proves it. refused returns nil after
// a new device has taken its place.
//
//	revoked, by the manifest as well -----> stopped
//	revoked, by the server's word alone --> tried again, later each time
//	stale, the other copy is connected ---> stopped until the next start
//	stale, linked device -----------------> stopped until the next start
//	stale, primary -----------------------> new device, manifest without the old one
func (a *Account) refused(ctx, parts context.Context, bye *link.ByeError) *ending {
	if bye.Reason == wire.Reason_REASON_REVOKED {
		if a.removed() {
			return a.halt(stoppedRevoked, true)
		}
		return a.unproven()
	}
	if bye.Text == wire.ByeOtherCopy {
		// If the other copy never comes back, a restart enrols this one as a new
		// device.
		return a.halt(stoppedCopy, false)
	}
	err := a.shared.Store.View(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Key(a.ID, store.KeyIdentity)
		return err
	})
	if err != nil {
		return a.halt(stoppedLinked, false)
	}
	return a.replaceDevice(ctx, parts)
}

// removed reports whether the account's newest known manifest omits this device.
func (a *Account) removed() bool {
	var removed bool
	err := a.shared.Store.View(context.Background(), func(tx *store.Tx) (err error) {
		removed, err = a.Trust.Removed(tx, a.ID)
		return err
	})
	if err != nil {
		a.logger.Error("cannot look for this device in its manifest", "error", err)
	}
	return err == nil && removed
}

// unproven handles a revocation that nothing but the server's word supports. It
// is reported once until the account connects again.
func (a *Account) unproven() *ending {
	a.mu.Lock()
	told := a.told
	a.told = true
	a.mu.Unlock()
	e := stoppedError(stoppedUnproven)
	e.Cause = local.CauseRevoked
	if !told {
		a.tellWhy(stoppedUnproven)
	}
	return &ending{err: e, again: true}
}

func (a *Account) tellWhy(why string) {
	err := a.shared.Store.Update(context.WithoutCancel(a.shared.Work), func(tx *store.Tx) error { return a.system(tx, why) })
	if err != nil {
		a.logger.Error("cannot record why the account is stopped", "error", err)
	}
}

// halt reports why this device stays disconnected, and records it if keep is set.
func (a *Account) halt(why string, keep bool) *ending {
	ctx := context.WithoutCancel(a.shared.Work)
	err := a.shared.Store.Update(ctx, func(tx *store.Tx) error {
		if keep {
			if err := setStopped(tx, a.ID, why, store.AccountStopped); err != nil {
				return err
			}
		}
		return a.system(tx, why)
	})
	if err == nil {
		err = a.Reload(ctx)
	}
	if err != nil {
		a.logger.Error("cannot stop the account", "error", err)
	}
	return &ending{err: stoppedError(why)}
}

// takeBackStop makes an account active again that was stopped without proof.
func (a *Account) takeBackStop() error {
	ctx := context.WithoutCancel(a.shared.Work)
	err := a.shared.Store.Update(ctx, func(tx *store.Tx) error { return setStopped(tx, a.ID, "", store.AccountActive) })
	if err != nil {
		return err
	}
	return a.Reload(ctx)
}

func setStopped(tx *store.Tx, id store.AccountID, why string, state store.AccountState) error {
	row, err := tx.Account(id)
	if err != nil {
		return err
	}
	row.Stopped = why
	if err := tx.SaveAccount(row); err != nil {
		return err
	}
	return tx.SetAccountState(id, state)
}

// system appends a system event of the account.
func (a *Account) system(tx *store.Tx, text string) error {
	now := local.Time{Time: time.Now()}
	_, err := a.shared.Journal.Append(tx, a.ID, local.Event{
		Type: local.TypeSystem, Account: a.Row().Address, Time: now, Received: now, System: &local.System{Text: text},
	})
	return err
}

// identity appends an identity event of the own account. The engine's
// NotifyIdentity may report a change of devices only in the engine's actor.
func (a *Account) identity(tx *store.Tx, change local.Identity) error {
	now, addr := local.Time{Time: time.Now()}, a.Row().Address
	_, err := a.shared.Journal.Append(tx, a.ID, local.Event{
		Type: local.TypeIdentity, Account: addr, Peer: addr, Direction: local.DirectionIn, Time: now, Received: now, Trust: local.TrustVerified, Identity: &change,
	})
	return err
}

// replaceDevice enrols this copy as a new device of its account, in the place of
// the outdated one. It retries until the server answers, and returns nil when the
// new device is recorded. It suspends the account first, since the device's keys
// change, and leaves it suspended.
func (a *Account) replaceDevice(ctx, parts context.Context) *ending {
	a.suspend(parts, nil)
	timing := a.shared.Config.Intervals
	again := backoff.New(timing.ReconnectMin, timing.ReconnectMax)
	for tries := 0; ; tries++ {
		err := a.replaceOnce(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return &ending{err: stoppedError("the daemon is stopping")}
		case errors.Is(err, keyring.ErrRevoked):
			return a.halt(stoppedRevoked, true)
		case errors.Is(err, keyring.ErrOlder):
			a.shown(ctx, shownOlder)
		}
		a.logger.Warn("cannot enrol as a new device", "error", err)
		t := time.NewTimer(again.After(tries, link.Wait(err)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return &ending{err: stoppedError("the daemon is stopping")}
		}
	}
}

// shown suspends the account with a reason and reports the reason once.
func (a *Account) shown(ctx context.Context, why string) {
	if e := a.Engine.Suspended(); e != nil && e.Message == why {
		return
	}
	a.suspend(ctx, stoppedError(why))
	a.tellWhy(why)
}

func (a *Account) replaceOnce(ctx context.Context) error {
	s := a.shared
	endpoint, addr, old := a.endpoint(), a.Address, key.DeviceID(a.Row().Device)
	taken, err := a.replacementTaken(ctx, endpoint, addr)
	if err != nil {
		return err
	}
	if !taken {
		c := link.NewClient(endpoint, addr.User, old, signer{s.Keyring, a.ID})
		defer c.Close()
		newest, err := c.Account(ctx, addr.User)
		if err != nil {
			return fmt.Errorf("newest manifest: %w", err)
		}
		r, err := a.prepareReplacement(ctx, addr, newest.Manifest)
		if err == nil && r.Renewal {
			if err := c.PutManifest(ctx, r.Previous, r.Manifest); err != nil {
				return fmt.Errorf("manifest that was on its way: %w", err)
			}
			r, err = a.prepareReplacement(ctx, addr, r.Manifest)
		}
		if err != nil {
			return err
		}
		if err := c.PutManifest(ctx, r.Previous, r.Manifest); err != nil {
			return fmt.Errorf("new manifest: %w", err)
		}
	}
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Restart(a.ID); err != nil {
			return err
		}
		if err := s.Keyring.FinishReplacement(tx, a.ID); err != nil {
			return err
		}
		return a.system(tx, "this copy of the device was outdated; it continues as a new device of the account")
	})
	if err != nil {
		return err
	}
	if err := a.Reload(ctx); err != nil {
		return err
	}
	// The keyring signs as the new device from now on. Users' requests do not wait for
	// the connection, which may begin much later.
	a.Link.SetDevice(key.DeviceID(a.Row().Device))
	return nil
}

// prepareReplacement admits the server's newest manifest of the account and signs
// its successor, in which this copy is a new device. The admission is kept even if
// no successor can be signed.
func (a *Account) prepareReplacement(ctx context.Context, addr identity.Address, newest []byte) (r keyring.Replacement, err error) {
	s := a.shared
	var refused error
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		refused = nil
		admitted, err := a.Trust.Admit(tx, a.ID, addr, nil, [][]byte{newest}, time.Now())
		for _, change := range admitted.Changes {
			if err := a.identity(tx, change); err != nil {
				return err
			}
		}
		if errors.Is(err, trust.ErrRevoked) {
			refused = keyring.ErrRevoked
			return nil
		}
		if err != nil {
			return err
		}
		r, err = s.Keyring.PrepareReplacement(tx, a.ID, newest, time.Now())
		if errors.Is(err, keyring.ErrOlder) || errors.Is(err, keyring.ErrRevoked) {
			refused = err
			return nil
		}
		return err
	})
	if err == nil {
		err = refused
	}
	return r, err
}

// replacementTaken reports whether the server already has the manifest of an
// earlier, interrupted replacement. It asks as the new device, since the server
// then gives the old one no tokens.
func (a *Account) replacementTaken(ctx context.Context, endpoint link.Endpoint, addr identity.Address) (bool, error) {
	s := a.shared
	var pending []byte
	var device key.DeviceID
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Account(a.ID)
		if err != nil || len(row.Pending) == 0 {
			return err
		}
		pending = row.Pending
		device, err = s.Keyring.NextDevice(tx, a.ID)
		return err
	})
	if err != nil || len(pending) == 0 {
		return false, err
	}
	c := link.NewClient(endpoint, addr.User, device, nextSigner{s.Keyring, a.ID})
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

// nextSigner signs with the key of the device that will take over.
type nextSigner signer

// SignChallenge implements link.Signer.
func (s nextSigner) SignChallenge(role wire.Role, nonce []byte) ([]byte, error) {
	return s.keys.SignNextChallenge(context.Background(), s.account, string(role), nonce)
}
