package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// CallRecord is a change of a call that the journal keeps.
type CallRecord struct {
	Peer   identity.Address
	Device key.DeviceID // of the peer; zero while it is not known
	Began  time.Time
	Call   local.Call
}

// RecordCall appends an event of type call; one that has ended is added to
// history, too.
func (e *Engine) RecordCall(ctx context.Context, r CallRecord) error {
	id, err := parseID(r.Call.ID)
	if err != nil {
		return fmt.Errorf("record call: %w", err)
	}
	return toLocal(e.do(ctx, func() error {
		return e.update(func(tx *store.Tx) error { return e.recordCall(tx, id, r) })
	}))
}

func (e *Engine) recordCall(tx *store.Tx, id store.MessageID, r CallRecord) error {
	peer, err := tx.Peer(e.account, r.Peer.String())
	if err != nil {
		return err
	}
	c, err := tx.Contact(e.account, peer)
	if err != nil && damaged(err) == nil {
		return err
	}
	ev := e.CallEvent(r)
	ev.Trust = trust.TrustState(c)
	seq, err := e.journal.Append(tx, e.account, ev)
	if err != nil || r.Call.State != local.CallEnded {
		return err
	}
	if _, err := tx.MessageHead(e.account, id); !isNotFound(err) {
		return err // the peer chose the id: one that is taken changes nothing
	}
	m := &store.Message{
		Account: e.account, ID: id, Peer: peer, Direction: store.In, Kind: int32(e2e.Kind_KIND_CALL), Device: []byte{},
		SentMS: r.Began.UnixMilli(), ReceivedMS: e.now().UnixMilli(), Seq: seq,
	}
	if r.Call.Direction == local.DirectionOut {
		m.Direction = store.Out
	}
	if m.Body, err = json.Marshal(r.Call); err != nil {
		return err
	}
	return tx.InsertMessage(m)
}

// CallEvent shows a call as an event that the journal has not got.
func (e *Engine) CallEvent(r CallRecord) local.Event {
	now := local.Time{Time: e.now()}
	ev := local.Event{
		Type: local.TypeCall, Account: e.self.String(), Peer: r.Peer.String(), Direction: r.Call.Direction,
		Time: now, Received: now, Call: &r.Call,
	}
	if r.Device != (key.DeviceID{}) {
		ev.Device = r.Device.String()
	}
	return ev
}

// callOf reads what history keeps of a call.
func callOf(m *store.Message) (*local.Call, error) {
	c := new(local.Call)
	if err := json.Unmarshal(m.Body, c); err != nil {
		return nil, fmt.Errorf("call %s: %w", idText(m.ID), err)
	}
	return c, nil
}

// ListCalls returns the calls that have ended, with a peer or with all, oldest
// first.
func (e *Engine) ListCalls(ctx context.Context, p local.CallListParams) (local.Events, error) {
	out := local.Events{Events: []local.Event{}}
	limit, err := limitOf(p.Limit, defaultHistory)
	if err != nil {
		return out, err
	}
	err = e.store.View(ctx, func(tx *store.Tx) error {
		peer := store.PeerID(0)
		if p.Peer != "" {
			addr, err := e.trust.Resolve(tx, e.account, p.Peer)
			if err != nil {
				return err
			}
			if peer, err = e.findPeer(tx, addr.String()); err != nil {
				return err
			}
		}
		list, err := tx.MessagesOfKind(e.account, int32(e2e.Kind_KIND_CALL), peer, limit)
		if err != nil {
			return err
		}
		for i := range list {
			ev, err := e.messageEvent(tx, &list[i])
			if err != nil {
				return err
			}
			out.Events = append(out.Events, ev)
		}
		return nil
	})
	return out, toLocal(err)
}

// AutoAnswer reports whether a contact's calls are taken unasked.
func (e *Engine) AutoAnswer(ctx context.Context, addr identity.Address) (yes bool, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		peer, err := e.findPeer(tx, addr.String())
		if err != nil || peer < 0 {
			return err
		}
		yes, err = e.trust.AutoAnswer(tx, e.account, peer)
		return err
	})
	return yes, toLocal(err)
}
