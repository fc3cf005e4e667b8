package engine

import (
	"context"

	"secmsg/crypto/key"
	"secmsg/rpc/local"
)

// An engine lives as long as its account; its device does not. When the server
// refuses the device, the account suspends the engine, and resumes it as the
// device that has replaced it, or as the same one for another try:
//
//	Run ---> connecting ---Suspend---> suspended ---Resume---> connecting
//
// A suspended engine still queues messages, shows history and expires messages. It
// seals and sends nothing, since there is no connection.

// beginTerm starts a term with its sender; actor only.
func (e *Engine) beginTerm() {
	t := e.newTerm()
	e.inTerm(t, func() { e.sendLoop(t.ctx) })
}

// Suspend ends all of the engine's own requests to the server and forgets the state
// of the connections and the device. When it returns, the device's keys may change.
// A request that a caller waits for, such as a look-up, may still be answered; the
// answer to one for a call is dropped.
// The link must have ended. reason is what users are shown until the next
// connection stands; nil: the device is being replaced. Then requests wait for
// the new device as they wait for a connection, and fail with [ErrReplacing].
func (e *Engine) Suspend(ctx context.Context, reason *local.Error) error {
	return e.nextTerm(ctx, func() {
		e.conn.set(func(s *status) {
			s.suspended, s.stopped, s.err = true, reason, nil // the server's refusal is dealt with
			if reason == nil {
				s.err = ErrReplacing
			}
		})
	})
}

// ErrReplacing is the reason why the server cannot be asked while another device
// takes the place of this one.
var ErrReplacing = local.Errorf(local.CodeUnreachable, "this device is being replaced")

// Resume makes the engine that of a device, which may be the one it had. It loads
// the pending envelopes from the store. The link must start after it.
func (e *Engine) Resume(ctx context.Context, device key.DeviceID) error {
	return e.nextTerm(ctx, func() {
		e.device = device
		e.conn.set(func(s *status) {
			s.device, s.suspended, s.err, s.untried = device, false, nil, s.failures
		})
	})
}

// Suspended returns the reason of the last Suspend, until a connection stands.
func (e *Engine) Suspended() *local.Error {
	return e.conn.get().stopped
}

// nextTerm ends the present term, waits for its workers, and begins the next one
// with change.
func (e *Engine) nextTerm(ctx context.Context, change func()) error {
	var old *term
	err := e.do(ctx, func() error {
		old = e.term
		old.end()
		e.forgetDevice()
		change()
		e.beginTerm()
		e.schedule(taskLoad, 0)
		return nil
	})
	if err == nil {
		old.wg.Wait()
	}
	return err
}

// forgetDevice drops everything that the actor remembers of the device, its
// connections and the questions that were asked in its name; all of it comes
// from the store or the server again. Those who wait for a message go on waiting.
func (e *Engine) forgetDevice() {
	e.up, e.loaded = false, false
	e.announceReady()
	e.window.disconnected()
	e.window.clear()
	e.asking, e.presence, e.relations = newAsking(e.cfg), newPresence(), relations{}
	e.upkeep.busy, e.upkeep.tries = false, 0
	e.signals.disconnected()
	e.probes.failAll(e.Away())
}
