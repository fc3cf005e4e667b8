package engine

import (
	"context"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// RetryOutbox tries a waiting message now, whatever pause it is in. A failed or
// expired message is sent again as a new message with its own id, since a state
// never goes back; a second such call returns the state of the new message. A
// message that was accepted needs no retry: a usage error.
func (e *Engine) RetryOutbox(ctx context.Context, id string) (local.SendResult, error) {
	var out local.SendResult
	var again *local.SendParams
	err := e.do(ctx, func() error {
		var m *store.Message
		err := e.store.View(ctx, func(tx *store.Tx) (err error) {
			if m, err = e.history.OwnMessage(tx, id); err != nil {
				return err
			}
			out, err = e.history.SendResult(tx, m)
			return err
		})
		if err != nil {
			return err
		}
		switch m.State {
		case local.StateQueued, local.StateHeld:
			e.hurry(m.Peer)
			out.Changed = new(bool) // it was queued before and still is
			if !e.up {
				out.Waiting = e.Away()
			}
			return nil
		case local.StateFailed, local.StateExpired:
			again, err = e.repeat(ctx, m, out.Peer)
			return err
		}
		return local.Errorf(local.CodeUsage, "the message is %s, so it cannot be retried", m.State)
	})
	if err != nil || again == nil {
		return out, err
	}
	sent, err := e.Send(ctx, *again)
	if err != nil || len(sent.Results) == 0 {
		return local.SendResult{}, err
	}
	changed := true
	sent.Results[0].Changed = &changed
	return sent.Results[0], nil
}

// retryKey is the prefix of the idempotency key under which a message is sent
// again; the message's id follows. It contains NUL, which no command line can pass.
const retryKey = "\x00retry "

// repeat makes the parameters that send a message's text again, once.
func (e *Engine) repeat(ctx context.Context, m *store.Message, peer string) (*local.SendParams, error) {
	p := &local.SendParams{Peers: []string{peer}, IdempotencyKey: retryKey + history.IDText(m.ID)}
	err := e.store.View(ctx, func(tx *store.Tx) error {
		m, err := tx.Message(e.account, m.ID)
		if err != nil {
			return err
		}
		ev, err := e.history.MessageEvent(tx, m)
		if err != nil {
			return err
		}
		if m.Kind != int32(e2e.Kind_KIND_TEXT) || ev.Message == nil || len(ev.Message.Files) > 0 {
			return local.Errorf(local.CodeUsage, "only a message without files can be sent again").WithHint("send the file again with: secmsg file send %s PATH", peer)
		}
		p.Text = ev.Message.Text
		if ev.Message.ReplyTo != nil {
			p.ReplyTo = *ev.Message.ReplyTo
		}
		verified, err := tx.MessageVerified(e.account, m.ID)
		if verified {
			p.Require = requireVerified // the first send demanded it
		}
		return err
	})
	return p, err
}

// hurry ends all pauses of the messages to a peer.
func (e *Engine) hurry(peer store.PeerID) {
	e.onUp() // uploads have pauses of their own
	e.asking.peer(peer).hurry()
	e.window.hurry(peer)
	e.wakeUp()
}

// CancelOutbox withdraws a message that was never sealed. A message that was handed
// to the server may have arrived, and cannot be withdrawn: a usage error.
func (e *Engine) CancelOutbox(ctx context.Context, id string) (local.SendResult, error) {
	out, err := inActor(ctx, e, func() (local.SendResult, error) {
		return inTx(e, func(tx *store.Tx) (local.SendResult, error) { return e.cancel(tx, id) })
	})
	return out, err
}

func (e *Engine) cancel(tx *store.Tx, id string) (out local.SendResult, err error) {
	m, err := e.history.OwnMessage(tx, id)
	if err != nil {
		return out, err
	}
	o, err := tx.OutgoingHead(e.account, m.ID)
	if err != nil && !isNotFound(err) {
		return out, err
	}
	if history.ShownState(m.State, m.Reason) == local.StateCancelled {
		out, err = e.history.SendResult(tx, m)
		out.Error, out.Changed = nil, new(bool)
		return out, err
	}
	switch m.State {
	case local.StateFailed, local.StateExpired, local.StateDelivered, local.StateRead:
		return out, local.Errorf(local.CodeUsage, "the message is %s, so it cannot be cancelled", m.State)
	}
	if err != nil || o.Phase != store.PhaseQueued && o.Phase != store.PhaseHeld && o.Phase != store.PhaseUploading {
		return out, local.Errorf(local.CodeUsage, "the message is %s and may already be on the server, so it cannot be cancelled", m.State)
	}
	sealed, err := tx.EnvelopesOf(e.account, m.ID)
	if err != nil {
		return out, err
	}
	for _, env := range sealed {
		if env.Status == store.EnvelopePending && o.Phase == store.PhaseHeld && o.Reason == history.ReasonRequest {
			return out, local.Errorf(local.CodeUsage, "the message is encrypted and waits until your request is accepted, so it cannot be cancelled")
		}
		if env.Status != store.EnvelopeRejected {
			return out, local.Errorf(local.CodeUsage, "the message may already be on the server, so it cannot be cancelled")
		}
	}
	if err := e.history.Fail(tx, o, local.StateFailed, history.ReasonCancelled); err != nil {
		return out, err
	}
	if m, err = tx.MessageHead(e.account, m.ID); err != nil {
		return out, err
	}
	out, err = e.history.SendResult(tx, m)
	changed := true
	out.Error, out.Changed = nil, &changed // the caller wanted that: no error
	return out, err
}
