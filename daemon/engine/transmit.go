package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// transmit hands the envelopes that may be sent to the sender. Ciphertexts of
// envelopes that are sent again come from the store: they are the same bytes.
func (e *Engine) transmit() error {
	now := time.Now()
	if !e.maySend(now) {
		return nil
	}
	list, wait := e.window.sendable(now)
	if wait > 0 {
		e.schedule(taskTransmit, wait)
	}
	if len(list) == 0 {
		return nil
	}
	out := make([]*wire.Outgoing, 0, len(list))
	steps, gone, err := e.ciphertexts(list)
	for i, f := range list[:len(gone)] {
		if gone[i] {
			e.window.drop(f)
			continue
		}
		o := &wire.Outgoing{
			MessageId: f.key.id[:], Class: wire.Class_CLASS_DURABLE, Recipient: f.user, Device: f.key.device[:],
			ManifestVersion: f.manifest, ExpiresMs: f.expires, Ciphertext: f.ciphertext,
		}
		o.Resume = e.window.launch(f)
		out = append(out, o)
		if e.history.Traced() {
			e.history.LogStation(f.key.id, f.user, f.key.device, history.StationSent, "")
		}
	}
	if len(out) > 0 {
		e.window.put(steps, out...)
	}
	return err
}

// maySend reports whether the account may send now. If the relay's rate limit
// forbids it, the next try is due when the pause ends: the task that asks may have
// taken the place of the one that was due then.
func (e *Engine) maySend(now time.Time) bool {
	if e.up && e.window.paused(now) {
		e.schedule(taskTransmit, e.window.pause.Sub(now))
		return false
	}
	return e.up
}

// ciphertexts reads the ciphertexts that are not in memory, and the step count
// that covers them all. gone marks the envelopes that the store no longer has as
// pending. After an error it ends before the first envelope that was not read.
func (e *Engine) ciphertexts(list []*flight) (steps uint64, gone []bool, err error) {
	err = e.store.View(e.storeCtx(), func(tx *store.Tx) (err error) {
		if steps, err = tx.Steps(e.account); err != nil {
			return err
		}
		for _, f := range list {
			if f.ciphertext != nil {
				gone = append(gone, false)
				continue
			}
			env, err := tx.Envelope(e.account, f.key.id, f.key.device)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err == nil && env.Status == store.EnvelopePending {
				f.ciphertext = env.Ciphertext
			}
			gone = append(gone, f.ciphertext == nil)
		}
		return nil
	})
	return steps, gone, err
}

// batch is a number of envelopes that the sender hands to the link at once.
type batch struct {
	epoch     uint64 // of the contact connection
	steps     uint64
	envelopes []*wire.Outgoing
}

// outbound is the queue between the actor and the sender. The window bounds it.
type outbound struct {
	wake chan struct{}

	mu    sync.Mutex
	list  []batch // guarded by mu
	epoch uint64  // guarded by mu; batches of earlier epochs are not sent
}

func newOutbound() outbound { return outbound{wake: make(chan struct{}, 1)} }

func (o *outbound) put(b batch) {
	o.mu.Lock()
	o.list = append(o.list, b)
	o.mu.Unlock()
	o.poke()
}

func (o *outbound) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// renew drops the batches that were queued for earlier connections.
func (o *outbound) renew(epoch uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.epoch, o.list = epoch, nil
}

func (o *outbound) take() (batch, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.list) == 0 {
		return batch{}, false
	}
	b := o.list[0]
	o.list = o.list[1:]
	return b, b.epoch == o.epoch
}

func (o *outbound) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list) == 0
}

// sendLoop hands batches to the link, so that a slow connection never delays the
// actor. Batches that a broken connection did not take are sent again on the next.
func (e *Engine) sendLoop(ctx context.Context) {
	defer e.window.out.poke() // a wake-up that came at the end is for the next term's sender
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.window.out.wake:
		}
		for !e.window.out.empty() && ctx.Err() == nil {
			b, ok := e.window.out.take()
			if !ok {
				continue
			}
			if err := e.link.Send(ctx, b.envelopes, b.steps); err != nil {
				e.logger.Debug("send", "error", err)
				e.refused(ctx, b.epoch)
			}
		}
	}
}

// refused tells the actor that the link did not take a batch. If the connection
// nevertheless stands, everything is sent again after a while.
func (e *Engine) refused(ctx context.Context, epoch uint64) {
	err := e.do(ctx, func() error {
		if e.up && epoch == e.window.epoch {
			e.window.restart()
			e.window.pause = time.Now().Add(e.cfg.BackoffMin)
			e.schedule(taskPump, e.cfg.BackoffMin)
		}
		return nil
	})
	if err != nil {
		e.logger.Debug("after a refused send", "error", err)
	}
}
