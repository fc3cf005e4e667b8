package account

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/daemon/codes"
	"secmsg/daemon/engine"
	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// run runs the account until ctx ends. Calls end first, so that engine and
// link can still tell the peers that the calls have ended.
func (a *Account) run(ctx context.Context) {
	parts, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer end()
		a.ended("calls", ctx, a.Calls.Run(ctx))
	})
	wg.Go(func() { a.ended("engine", parts, a.Engine.Run(parts)) })
	wg.Go(func() { a.ended("files", parts, a.Files.Run(parts)) })
	a.connect(ctx, parts)
}

// ended ends the daemon if a part of the account has ended by itself.
func (a *Account) ended(what string, ctx context.Context, err error) {
	if ctx.Err() == nil {
		a.logger.Error(what+" ended unexpectedly", "error", err)
		a.shared.Fail(fmt.Errorf("%s of account %d ended: %w", what, a.ID, err))
	}
}

// connect keeps the account connected until ctx ends, and replaces the device
// when the server finds this copy of it outdated. It returns early when the
// account may no longer connect; its history stays readable. parts is the
// context of the link, which outlives ctx until calls have ended.
func (a *Account) connect(ctx, parts context.Context) {
	wait := newPatience(a.shared.Config.Intervals.ReconnectMax)
	for parts.Err() == nil {
		began := time.Now()
		end := a.connectOnce(ctx, parts)
		if ctx.Err() != nil {
			return
		}
		pause := time.Duration(0)
		switch {
		case end == nil: // A server that keeps calling new devices outdated makes each wait longer.
			pause = wait.replaced(time.Now())
		case !end.again:
			a.suspend(parts, end.err)
			return
		default:
			a.suspend(parts, end.err)
			pause = wait.refused(time.Since(began))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		a.resume(parts)
	}
}

// connectOnce runs the link until the server refuses the device. It returns nil
// when the device was replaced, or when ctx has ended.
func (a *Account) connectOnce(ctx, parts context.Context) *ending {
	row := a.Row()
	if row.State == store.AccountStopped {
		if a.removed() {
			return &ending{err: stoppedError(row.Stopped)}
		}
		if err := a.takeBackStop(); err != nil {
			return &ending{err: local.As(codes.Local(err))}
		}
	}
	if len(row.Pending) > 0 { // a replacement was interrupted
		return a.replaceDevice(ctx, parts)
	}
	bye, refused := errors.AsType[*link.ByeError](a.Link.Run(parts))
	if !refused {
		return nil
	}
	return a.refused(ctx, parts, bye)
}

// suspend ends the calls and the engine's requests that belong to the present device.
// Requests of users and file transfers that have begun run to their own end.
// reason is shown until the account is connected again; nil: the device is being
// replaced.
func (a *Account) suspend(ctx context.Context, reason *local.Error) {
	a.setReplacing(true)
	a.report("cannot suspend the account", ctx, errors.Join(a.Calls.Suspend(ctx), a.Engine.Suspend(ctx, reason)))
	a.shared.Changed()
}

// resume lets the account's parts continue as its present device.
func (a *Account) resume(ctx context.Context) {
	device := key.DeviceID(a.Row().Device)
	a.report("cannot resume the account", ctx, errors.Join(a.Calls.Resume(ctx, device), a.Engine.Resume(ctx, device)))
	a.setReplacing(false)
	a.shared.Changed()
}

func (a *Account) setReplacing(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replacing = on
}

// report logs an error, unless the account is ending.
func (a *Account) report(what string, ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		a.logger.Error(what, "error", err)
	}
}

// offline returns why the server may not be asked in the name of the device now,
// nil if it may.
func (a *Account) offline() error {
	if why := a.Engine.Suspended(); why != nil {
		return why
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.replacing {
		return engine.ErrReplacing
	}
	return nil
}

// reached is called when a connection stands, perhaps from another network.
func (a *Account) reached() {
	a.Files.Reached()
	now := addresses()
	a.mu.Lock()
	moved := a.network != "" && a.network != now
	a.network = now
	a.told = a.told && !a.Engine.Connected() // a user may be in a hurry without a connection
	a.mu.Unlock()
	if moved {
		a.Calls.NetworkChanged()
	}
}
