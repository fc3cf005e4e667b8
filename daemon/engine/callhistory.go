package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// CallRecord is a change of a call that history records.
type CallRecord struct {
	Peer   identity.Address
	Device key.DeviceID // of the peer; zero while it is not known
	Began  time.Time
	Call   local.Call
}

func (r CallRecord) entry() history.Call {
	return history.Call{Peer: r.Peer.String(), Device: r.Device, Began: r.Began, Call: r.Call}
}

// RecordCall appends an event of type call. A call that has ended is also added to
// history.
func (e *Engine) RecordCall(ctx context.Context, r CallRecord) error {
	id, err := history.ParseID(r.Call.ID)
	if err != nil {
		return fmt.Errorf("record call: %w", err)
	}
	return e.do(ctx, func() error {
		return e.update(func(tx *store.Tx) error { return e.history.RecordCall(tx, id, r.entry()) })
	})
}

// CallEvent shows a call as an event that is not in the journal.
func (e *Engine) CallEvent(r CallRecord) local.Event { return e.history.CallEvent(r.entry()) }

// ListCalls returns the calls that have ended, with a peer or with all, oldest
// first.
func (e *Engine) ListCalls(ctx context.Context, p local.CallListParams) (local.Events, error) {
	limit, err := limitOf(p.Limit, defaultHistory)
	if err != nil {
		return noEvents(), err
	}
	return e.viewEvents(ctx, func(tx *store.Tx) ([]local.Event, error) { return e.history.Calls(tx, p.Peer, limit) })
}

// AutoAnswer reports whether a contact's calls are answered without asking.
func (e *Engine) AutoAnswer(ctx context.Context, addr identity.Address) (bool, error) {
	yes, err := inView(ctx, e, func(tx *store.Tx) (bool, error) {
		peer, err := tx.FindPeer(e.account, addr.String())
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return e.trust.AutoAnswer(tx, e.account, peer)
	})
	return yes, err
}
