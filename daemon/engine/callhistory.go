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
// history, too. One whose end is not recorded, because the daemon is killed, is
// ended by the next start.
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
	if r.Call.State != local.CallEnded {
		if err := tx.SetOpenCall(e.account, openCall(id, peer, r)); err != nil {
			return err
		}
		_, err = e.journal.Append(tx, e.account, ev)
		return err
	}
	if err := tx.DeleteOpenCall(e.account, id); err != nil {
		return err
	}
	taken, missed, err := e.rangBefore(tx, id, peer)
	if err != nil || missed && r.Call.Missed {
		return err // it was told that it is missed
	}
	seq, err := e.journal.Append(tx, e.account, ev)
	if err != nil {
		return err
	}
	if taken {
		if !missed {
			return nil // the peer chose the id: one that is taken changes nothing
		}
		body, err := json.Marshal(r.Call)
		if err != nil {
			return err
		}
		return tx.SetMessageBody(e.account, id, body)
	}
	m := &store.Message{
		Account: e.account, ID: id, Peer: peer, Direction: store.In, Kind: int32(e2e.Kind_KIND_CALL), Device: []byte{},
		SentMS: r.Began.UnixMilli(), ReceivedMS: e.now().UnixMilli(), KeptMS: e.profileTime().UnixMilli(), Seq: seq,
	}
	if r.Call.Direction == local.DirectionOut {
		m.Direction = store.Out
	}
	if m.Body, err = json.Marshal(r.Call); err != nil {
		return err
	}
	return tx.InsertMessage(m)
}

// rangBefore reports whether the id of a call is taken, and whether by a call
// of the same peer that was missed: this daemon was restarted while it rang, and
// it rang again.
func (e *Engine) rangBefore(tx *store.Tx, id store.MessageID, peer store.PeerID) (taken, missed bool, err error) {
	head, err := tx.MessageHead(e.account, id)
	if isNotFound(err) {
		return false, false, nil
	}
	if err != nil || head.Peer != peer || head.Kind != int32(e2e.Kind_KIND_CALL) || head.Direction != store.In {
		return true, false, err
	}
	m, err := tx.Message(e.account, id)
	if damaged(err) != nil {
		return true, false, nil
	}
	if err != nil {
		return true, false, err
	}
	c, err := callOf(m)
	return true, err == nil && c.Missed, err
}

func openCall(id store.MessageID, peer store.PeerID, r CallRecord) store.OpenCall {
	o := store.OpenCall{
		ID: id, Peer: peer, Out: r.Call.Direction == local.DirectionOut, Audio: r.Call.Audio, Video: r.Call.Video,
		BeganMS: r.Began.UnixMilli(), Connected: r.Call.State == local.CallConnected,
	}
	if r.Device != (key.DeviceID{}) {
		o.Device = r.Device[:]
	}
	return o
}

// endOpenCalls ends the calls that the daemon had when it was killed.
func (e *Engine) endOpenCalls(tx *store.Tx) error {
	list, err := tx.OpenCalls(e.account)
	if err != nil {
		return err
	}
	for _, o := range list {
		addr, err := e.address(tx, o.Peer)
		if damaged(err) != nil {
			if err := tx.DeleteOpenCall(e.account, o.ID); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		r := CallRecord{Peer: addr, Began: time.UnixMilli(o.BeganMS), Call: local.Call{
			ID: idText(o.ID), State: local.CallEnded, Direction: local.DirectionIn, Reason: local.CallDaemonRestart,
			Audio: o.Audio, Video: o.Video, Missed: !o.Out && !o.Connected,
		}}
		if o.Out {
			r.Call.Direction = local.DirectionOut
		}
		copy(r.Device[:], o.Device)
		if err := e.recordCall(tx, o.ID, r); err != nil {
			return err
		}
	}
	return nil
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
			if peer, err = e.peerNamed(tx, p.Peer); err != nil {
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
