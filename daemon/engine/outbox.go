package engine

import (
	"context"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// RetryOutbox tries a waiting message now, whatever pause it is in. One that
// failed or expired is sent again as a new message with an id of its own, since
// a state never goes back; when that is asked for again, the answer is the state
// of the new one. What was accepted needs no retry: a usage error.
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
			out.Changed = new(bool) // it is on its way, as before
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
		return out, toLocal(err)
	}
	sent, err := e.Send(ctx, *again)
	if err != nil || len(sent.Results) == 0 {
		return local.SendResult{}, err
	}
	changed := true
	sent.Results[0].Changed = &changed
	return sent.Results[0], nil
}

// retryKey begins the idempotency key under which a message is sent again, with
// its id behind it. No caller on a command line can use a key with NUL in it.
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
			p.Require = requireVerified // what was demanded then holds now
		}
		return err
	})
	return p, err
}

// hurry ends the pauses that a peer's messages are in.
func (e *Engine) hurry(peer store.PeerID) {
	e.onUp() // uploads wait on their own
	e.asking.peer(peer).hurry()
	e.window.hurry(peer)
	e.wakeUp()
}

// CancelOutbox withdraws a message that was never sealed. What was handed to
// the server may have arrived, and is not withdrawn: a usage error.
func (e *Engine) CancelOutbox(ctx context.Context, id string) (local.SendResult, error) {
	var out local.SendResult
	err := e.do(ctx, func() error {
		return e.update(func(tx *store.Tx) error {
			m, err := e.history.OwnMessage(tx, id)
			if err != nil {
				return err
			}
			o, err := tx.OutgoingHead(e.account, m.ID)
			if err != nil && !isNotFound(err) {
				return err
			}
			if history.ShownState(m.State, m.Reason) == local.StateCancelled {
				out, err = e.history.SendResult(tx, m)
				out.Error, out.Changed = nil, new(bool)
				return err
			}
			switch m.State {
			case local.StateFailed, local.StateExpired, local.StateDelivered, local.StateRead:
				return local.Errorf(local.CodeUsage, "the message is %s, so it cannot be cancelled", m.State)
			}
			if err != nil || o.Phase != store.PhaseQueued && o.Phase != store.PhaseHeld && o.Phase != store.PhaseUploading {
				return local.Errorf(local.CodeUsage, "the message is %s and may already be on the server, so it cannot be cancelled", m.State)
			}
			sealed, err := tx.EnvelopesOf(e.account, m.ID)
			if err != nil {
				return err
			}
			for _, env := range sealed {
				if env.Status == store.EnvelopePending && o.Phase == store.PhaseHeld && o.Reason == history.ReasonRequest {
					return local.Errorf(local.CodeUsage, "the message is encrypted and waits until your request is accepted, so it cannot be cancelled")
				}
				if env.Status != store.EnvelopeRejected {
					return local.Errorf(local.CodeUsage, "the message may already be on the server, so it cannot be cancelled")
				}
			}
			if err := e.history.Fail(tx, o, local.StateFailed, history.ReasonCancelled); err != nil {
				return err
			}
			if m, err = tx.MessageHead(e.account, m.ID); err != nil {
				return err
			}
			out, err = e.history.SendResult(tx, m)
			changed := true
			out.Error, out.Changed = nil, &changed // it is what was asked for
			return err
		})
	})
	return out, toLocal(err)
}
