package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/daemon/codes"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Stage is how far the account's connections must have come for a request of the
// user.
type Stage int

// The stages, in their order.
const (
	StageContact Stage = iota // signals and requests can leave
	StageReplica              // and mail can arrive
	StageMail                 // and all mail that waited at the server has arrived
)

// status is the state of the connections, for readers that do not ask the actor.
type status struct {
	device           key.DeviceID
	contact, replica bool
	mail             bool // the mail that waited when the replica connection opened has arrived
	offset           time.Duration
	err              *local.Error
	suspended        bool
	stopped          *local.Error  // the reason of the last Suspend, until a connection stands
	failures         uint64        // attempts and connections that have ended; never less, so that no waiter misses one
	untried          uint64        // the failures before the last Resume
	changed          chan struct{} // closed, and made anew, at each change
}

func (s *status) reached(stage Stage) bool {
	return s.contact && (stage < StageReplica || s.replica) && (stage < StageMail || s.mail)
}

// connection is the status of the connections to the server. It may be read and
// changed from any goroutine.
type connection struct {
	mu     sync.Mutex
	status status // guarded by mu
}

func (c *connection) get() status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// set changes the status and wakes those who wait for a change.
func (c *connection) set(change func(s *status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
	close(c.status.changed)
	c.status.changed = make(chan struct{})
}

// Connect waits until the connections have come as far as stage, for as long as a
// send waits for the server. The daemon may have been started a moment ago, and an
// empty answer would be wrong before the server's first one. If there is no
// connection, an attempt begins at once, and its failure ends the wait. Connect
// fails with a *local.Error that says why the server cannot be reached.
func (e *Engine) Connect(ctx context.Context, stage Stage) error {
	late := time.NewTimer(e.cfg.DefaultWait)
	defer late.Stop()
	before := e.conn.get().failures
	for tried := false; ; {
		s := e.conn.get()
		switch {
		case s.reached(stage):
			return nil
		case s.suspended && s.stopped != nil, s.failures > before:
			return e.Away()
		}
		if !tried && !s.contact {
			tried = true
			e.Kick()
		}
		select {
		case <-s.changed:
		case <-late.C:
			return e.Away()
		case <-ctx.Done():
			return ctx.Err()
		case <-e.quit:
			return errStopped
		}
	}
}

// Tried reports whether an attempt to connect has ended since the engine began
// or was resumed. Before that, nothing is known of the server.
func (e *Engine) Tried() bool {
	s := e.conn.get()
	return s.failures > s.untried
}

// Reached reports whether the connections have come as far as stage.
func (e *Engine) Reached(stage Stage) bool {
	s := e.conn.get()
	return s.reached(stage)
}

// Connected reports whether the contact connection stands.
func (e *Engine) Connected() bool { return e.Reached(StageContact) }

// Kick makes the link try to connect now. Callers may do so as often as they like:
// the link makes at most one such attempt a second.
func (e *Engine) Kick() {
	if e.link != nil {
		e.link.Kick()
	}
}

// Away explains why there is no connection, or why the connection does not answer.
func (e *Engine) Away() *local.Error {
	s := e.conn.get()
	if s.suspended && s.stopped != nil {
		return s.stopped
	}
	if s.err != nil {
		return s.err
	}
	if s.contact {
		return local.Errorf(local.CodeUnreachable, "the server is slow: not all connections have been made yet")
	}
	return local.Errorf(local.CodeUnreachable, "the server cannot be reached yet: still connecting for the first time")
}

// explain adds to results that wait for the server the reason why they wait.
func (e *Engine) explain(out *local.SendResults) {
	for i := range out.Results {
		r := &out.Results[i]
		if r.State != local.StateQueued {
			continue
		}
		if e.Connected() {
			continue // it is on its way, or waits for an answer about its peer
		}
		why := e.Away()
		if r.Error == nil {
			r.Waiting = why
		} else if r.Error.Code == local.CodeTimeout {
			err := *r.Error
			err.Message += "; " + why.Message
			err.Cause, err.Host, err.Hint = why.Cause, why.Host, why.Hint
			r.Error = &err
		}
	}
}

// CaughtUp implements link.Handler.
func (e *Engine) CaughtUp() { e.conn.set(func(s *status) { s.mail = true }) }

// presenceKnown reports whether the server has reported the presence of the
// contacts on the present connection, or there are no contacts; actor only.
func (e *Engine) presenceKnown() (bool, error) {
	if !e.up || !e.loaded {
		return false, nil
	}
	if e.presence.told == e.window.epoch {
		return true, nil
	}
	any := false
	err := e.store.View(e.storeCtx(), func(tx *store.Tx) error {
		all, err := tx.Contacts(e.account)
		for _, c := range all {
			any = any || c.Relation == store.RelationContact
		}
		return err
	})
	return !any, err
}

// awaitPresence waits until the server has reported the presence of the contacts.
func (e *Engine) awaitPresence(ctx context.Context) error {
	if err := e.Connect(ctx, StageContact); err != nil {
		return err
	}
	return e.awaitReady(ctx, e.presenceKnown)
}

// awaitReady waits until ok, which the actor calls again whenever e.ready is closed.
// After as long as a send waits for the server it fails with [Engine.Away].
func (e *Engine) awaitReady(ctx context.Context, ok func() (bool, error)) error {
	late := time.NewTimer(e.cfg.DefaultWait)
	defer late.Stop()
	for {
		var done bool
		var changed chan struct{}
		err := e.do(ctx, func() (err error) {
			done, err = ok()
			changed = e.ready
			return err
		})
		if err != nil || done {
			return err
		}
		if s := e.conn.get(); s.suspended && s.stopped != nil {
			return s.stopped
		}
		select {
		case <-changed:
		case <-late.C:
			return e.Away()
		case <-ctx.Done():
			return ctx.Err()
		case <-e.quit:
			return errStopped
		}
	}
}

// connectionError is the reason that status shows for a connection that has
// ended, nil if this side ended it.
func connectionError(err error) *local.Error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	if e := codes.Server(err); e != nil {
		return e
	}
	return local.Errorf(local.CodeUnreachable, "the connection to the server failed on this machine; see the daemon's log")
}
