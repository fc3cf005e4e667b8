package history

import (
	"encoding/json"
	"fmt"
	"time"

	"secmsg/daemon/store"
	"secmsg/daemon/trust"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Call is a change of a call that is recorded.
type Call struct {
	Peer   string   // address
	Device [16]byte // of the peer; zero while it is not known
	Began  time.Time
	Call   local.Call
}

// RecordCall appends an event of type call. A call that has ended is also added
// to history. If the daemon is killed before it records the end, its next start
// does; see EndOpenCalls.
func (h *History) RecordCall(tx *store.Tx, id store.MessageID, r Call) error {
	peer, err := tx.Peer(h.account, r.Peer)
	if err != nil {
		return err
	}
	c, err := tx.Contact(h.account, peer)
	if err != nil && store.DamagedValue(err) == nil {
		return err
	}
	ev := h.CallEvent(r)
	ev.Trust = trust.TrustState(c)
	if r.Call.State != local.CallEnded {
		if err := tx.SetOpenCall(h.account, openCall(id, peer, r)); err != nil {
			return err
		}
		_, err = h.journal.Append(tx, h.account, ev)
		return err
	}
	if err := tx.DeleteOpenCall(h.account, id); err != nil {
		return err
	}
	taken, missed, err := h.missedBefore(tx, id, peer)
	if err != nil || missed && r.Call.Missed {
		return err // the user already knows that it was missed
	}
	seq, err := h.journal.Append(tx, h.account, ev)
	if err != nil {
		return err
	}
	if taken {
		if !missed {
			return nil // the peer chose an id that is in use: history stays as it is
		}
		body, err := json.Marshal(r.Call)
		if err != nil {
			return err
		}
		return tx.SetMessageBody(h.account, id, body)
	}
	return h.addCall(tx, id, peer, seq, r)
}

// addCall adds the row of a call that has ended.
func (h *History) addCall(tx *store.Tx, id store.MessageID, peer store.PeerID, seq int64, r Call) error {
	m := &store.Message{
		Account: h.account, ID: id, Peer: peer, Direction: store.In, Kind: int32(e2e.Kind_KIND_CALL), Device: []byte{},
		SentMS: r.Began.UnixMilli(), ReceivedMS: h.now().UnixMilli(), KeptMS: h.profileTime().UnixMilli(), Seq: seq,
	}
	if r.Call.Direction == local.DirectionOut {
		m.Direction = store.Out
	}
	var err error
	if m.Body, err = json.Marshal(r.Call); err != nil {
		return err
	}
	return tx.InsertMessage(m)
}

// missedBefore reports whether the id of a call is taken, and whether the call
// that has it is a missed one of the same peer: the call rang, this daemon was
// restarted, and it rang again.
func (h *History) missedBefore(tx *store.Tx, id store.MessageID, peer store.PeerID) (taken, missed bool, err error) {
	head, err := tx.MessageHead(h.account, id)
	if isNotFound(err) {
		return false, false, nil
	}
	if err != nil || head.Peer != peer || head.Kind != int32(e2e.Kind_KIND_CALL) || head.Direction != store.In {
		return true, false, err
	}
	m, err := tx.Message(h.account, id)
	if store.DamagedValue(err) != nil {
		return true, false, nil
	}
	if err != nil {
		return true, false, err
	}
	c, err := callOf(m)
	return true, err == nil && c.Missed, err
}

func openCall(id store.MessageID, peer store.PeerID, r Call) store.OpenCall {
	o := store.OpenCall{
		ID: id, Peer: peer, Out: r.Call.Direction == local.DirectionOut, Audio: r.Call.Audio, Video: r.Call.Video,
		BeganMS: r.Began.UnixMilli(), Connected: r.Call.State == local.CallConnected,
	}
	if r.Device != ([16]byte{}) {
		o.Device = r.Device[:]
	}
	return o
}

// EndOpenCalls ends the calls that were going on when the daemon was killed.
func (h *History) EndOpenCalls(tx *store.Tx) error {
	list, err := tx.OpenCalls(h.account)
	if err != nil {
		return err
	}
	for _, o := range list {
		addr, err := tx.PeerAddress(o.Peer)
		if store.DamagedValue(err) != nil {
			if err := tx.DeleteOpenCall(h.account, o.ID); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		r := Call{Peer: addr, Began: time.UnixMilli(o.BeganMS), Call: local.Call{
			ID: IDText(o.ID), State: local.CallEnded, Direction: local.DirectionIn, Reason: local.CallDaemonRestart,
			Audio: o.Audio, Video: o.Video, Missed: !o.Out && !o.Connected,
		}}
		if o.Out {
			r.Call.Direction = local.DirectionOut
		}
		copy(r.Device[:], o.Device)
		if err := h.RecordCall(tx, o.ID, r); err != nil {
			return err
		}
	}
	return nil
}

// CallEvent shows a call as an event that is not in the journal.
func (h *History) CallEvent(r Call) local.Event {
	now := local.Time{Time: h.now()}
	ev := local.Event{
		Type: local.TypeCall, Account: h.self, Peer: r.Peer, Direction: r.Call.Direction,
		Time: now, Received: now, Call: &r.Call,
	}
	if r.Device != ([16]byte{}) {
		ev.Device = h.deviceText(r.Device)
	}
	return ev
}

// callOf decodes the row of a call.
func callOf(m *store.Message) (*local.Call, error) {
	c := new(local.Call)
	if err := json.Unmarshal(m.Body, c); err != nil {
		return nil, fmt.Errorf("call %s: %w", IDText(m.ID), err)
	}
	return c, nil
}
