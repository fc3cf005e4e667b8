package engine

import (
	"crypto/rand"
	"errors"
	"math/big"
	"time"

	"google.golang.org/protobuf/proto"

	"secmsg/crypto/key"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// receiptOwed queues the receipts that are due after a short random delay, so
// that the moment of a receipt tells little. Those that become due before the delay
// is over share it, and share a receipt.
func (e *Engine) receiptOwed() {
	if !e.scheduled(taskReceipts) {
		e.schedule(taskReceipts, randomUpTo(e.cfg.ReceiptJitter))
	}
}

// randomUpTo returns 0 to limit.
func randomUpTo(limit time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(limit)+1))
	if err != nil { // does not happen: crypto/rand never fails since Go 1.24
		return limit
	}
	return time.Duration(n.Int64())
}

// queueReceipts moves receipts that are due to the outbox, up to e2e.MaxIDs ids in
// each. Non-contacts get no receipts; theirs stay pending until they expire or the
// user accepts the peer.
func (e *Engine) queueReceipts() error {
	more, err := inTx(e, func(tx *store.Tx) (more bool, err error) {
		peers, err := tx.OwedPeers(e.account)
		if err != nil {
			return false, err
		}
		for _, p := range peers {
			delivered, err := e.trust.DeliveredReceipts(tx, e.account, p)
			if p == e.selfPeer {
				delivered = true // for copies from other own devices
			}
			if store.DamagedValue(err) != nil {
				continue
			}
			if err != nil {
				return false, err
			}
			if !delivered {
				continue
			}
			read, err := e.trust.ReadReceipts(tx, e.account, p)
			if err != nil {
				return false, err
			}
			full, err := e.queueReceiptsTo(tx, p, read)
			if err != nil {
				return false, err
			}
			more = more || full
		}
		return more, nil
	})
	if more {
		e.schedule(taskReceipts, 0)
	}
	return err
}

// queueReceiptsTo queues one receipt of each state and reports whether there are more.
func (e *Engine) queueReceiptsTo(tx *store.Tx, peer store.PeerID, read bool) (more bool, err error) {
	for _, state := range []e2e.ReceiptState{
		e2e.ReceiptState_RECEIPT_STATE_DELIVERED, e2e.ReceiptState_RECEIPT_STATE_READ, e2e.ReceiptState_RECEIPT_STATE_DECLINED,
	} {
		ids, err := tx.Owed(e.account, peer, int32(state), e2e.MaxIDs)
		if err != nil {
			return false, err
		}
		if len(ids) == 0 {
			continue
		}
		r := &e2e.Receipt{State: state}
		for _, id := range ids {
			r.MessageIds = append(r.MessageIds, id[:])
			if err := tx.Receipted(e.account, store.Receipt{Peer: peer, ID: id, State: int32(state)}); err != nil {
				return false, err
			}
		}
		if state == e2e.ReceiptState_RECEIPT_STATE_READ && !read {
			continue // read receipts are switched off
		}
		if err := e.control(tx, peer, nil, &e2e.Content{Kind: e2e.Kind_KIND_RECEIPT, Body: &e2e.Content_Receipt{Receipt: r}}); err != nil {
			return false, err
		}
		more = more || len(ids) == e2e.MaxIDs
	}
	return more, nil
}

// receipt advances own messages to the peer that sent the receipt, and no others.
// Receipts of own devices acknowledge their copies, which changes no state.
func (e *Engine) receipt(tx *store.Tx, in *incoming, r *e2e.Receipt) error {
	if r.GetState() == e2e.ReceiptState_RECEIPT_STATE_DECLINED {
		return e.declined(tx, in, r)
	}
	state := local.StateDelivered
	if r.GetState() == e2e.ReceiptState_RECEIPT_STATE_READ {
		state = local.StateRead
	}
	for _, b := range r.GetMessageIds() {
		id := store.MessageID(b)
		if in.addr == e.self {
			if err := e.copied(tx, id, in.device); err != nil {
				return err
			}
			continue
		}
		m, err := tx.MessageHead(e.account, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && (m.Direction != store.Out || m.Peer != in.peer) {
			continue
		}
		if err != nil {
			return err
		}
		if state == local.StateRead && m.State != local.StateRead {
			// Whoever read it received it; no state is skipped.
			if err := e.history.Advance(tx, m, local.StateDelivered, ""); err != nil {
				return err
			}
		}
		if err := e.history.Advance(tx, m, state, ""); err != nil {
			return err
		}
		if err := tx.AckOutgoing(e.account, id, in.device); err != nil {
			return err
		}
		e.needless(tx, flightKey{id: id, device: in.device})
	}
	return nil
}

// declined records that a peer does not want some files.
func (e *Engine) declined(tx *store.Tx, in *incoming, r *e2e.Receipt) error {
	if in.addr == e.self {
		return nil
	}
	failed, err := e.history.PeerDeclined(tx, in.peer, r.GetMessageIds())
	if err != nil {
		return err
	}
	for _, id := range failed {
		if err := tx.AckOutgoing(e.account, id, in.device); err != nil {
			return err
		}
		e.needless(tx, flightKey{id: id, device: in.device})
	}
	return nil
}

// copied records that an own device has its copy of a message, or has received a
// note for this device alone.
func (e *Engine) copied(tx *store.Tx, id store.MessageID, device key.DeviceID) error {
	env, err := tx.EnvelopeHead(e.account, id, device)
	if errors.Is(err, store.ErrNotFound) || err == nil && env.Peer != e.selfPeer {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.DeleteEnvelope(e.account, id, device); err != nil {
		return err
	}
	e.needless(tx, flightKey{id: id, device: device})
	o, err := tx.OutgoingHead(e.account, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (!o.Control || o.Phase == store.PhaseQueued) {
		return nil
	}
	if err != nil {
		return err
	}
	left, err := tx.EnvelopesOf(e.account, id)
	if err != nil || len(left) > 0 {
		return err
	}
	return tx.DeleteOutgoing(e.account, id)
}

// needless forgets an envelope that waits to be sent to a device that has the
// message already.
func (e *Engine) needless(tx *store.Tx, k flightKey) {
	if f := e.window.flights[k]; f != nil {
		tx.OnCommit(func() { e.window.drop(f) })
	}
}

// keepsForRetry reports whether control content of a kind is kept after it was
// accepted, so that it can be sealed again if it does not open: a lost receipt
// would leave a message in a state behind the truth. Other kinds are repeated
// anyway.
func keepsForRetry(kind int32) bool {
	return e2e.Kind(kind) == e2e.Kind_KIND_RECEIPT || e2e.Kind(kind) == e2e.Kind_KIND_SYNC
}

// syncCopy encodes the copy of a message for other own devices.
func (e *Engine) syncCopy(tx *store.Tx, o *store.Outgoing) ([]byte, error) {
	c, err := syncOf(tx, o)
	if err != nil {
		return nil, err
	}
	return e2e.Marshal(c)
}

// syncOf is the content of such a copy.
func syncOf(tx *store.Tx, o *store.Outgoing) (*e2e.Content, error) {
	c := new(e2e.Content)
	if err := proto.Unmarshal(o.Body, c); err != nil {
		return nil, err
	}
	peer, err := tx.PeerAddress(o.Peer)
	if err != nil {
		return nil, err
	}
	return &e2e.Content{Kind: e2e.Kind_KIND_SYNC, SentMs: e2e.SentTime(o.SentMS), Body: &e2e.Content_Sync{Sync: copyOf(peer, o.ID, c)}}, nil
}
