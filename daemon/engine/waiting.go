package engine

import (
	"context"
	"fmt"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// Outbox lists the messages that the server has not accepted yet, oldest first, and
// says what each of them waits for.
func (e *Engine) Outbox(ctx context.Context) (local.SendResults, error) {
	list, err := inActor(ctx, e, func() ([]local.SendResult, error) {
		return inView(ctx, e, func(tx *store.Tx) ([]local.SendResult, error) {
			now := time.Now()
			return e.history.Outbox(tx, func(o *store.Outgoing, peer string) *local.Error { return e.waitsFor(o, peer, now) })
		})
	})
	if err != nil {
		return local.SendResults{Results: []local.SendResult{}}, err
	}
	return local.SendResults{Results: list}, nil
}

// waitsFor says why a queued message is not at the server yet; actor only.
func (e *Engine) waitsFor(o *store.Outgoing, peer string, now time.Time) *local.Error {
	if o.Phase == store.PhaseUploading {
		return waiting(local.CodeUnreachable, 0, "its file is being uploaded")
	}
	if !e.up {
		return e.Away()
	}
	if e.window.paused(now) {
		return waiting(local.CodeRateLimited, e.window.pause.Sub(now), "the server limits how much this account sends")
	}
	if p := e.asking.peers[o.Peer]; p != nil {
		pause := p.notBefore.Sub(now)
		switch {
		case len(p.noKeys) > 0 && pause > 0:
			return waiting(local.CodeNotFound, pause, fmt.Sprintf("no device of %s has keys to start a session", peer))
		case p.busy:
			return waiting(local.CodeUnreachable, 0, fmt.Sprintf("the server is being asked for the keys of %s", peer))
		case pause > 0:
			return waiting(local.CodeUnreachable, pause, fmt.Sprintf("asking the server for the keys of %s failed", peer))
		}
	}
	for k, p := range e.window.pairs {
		if k.peer != o.Peer || !p.blocked {
			continue
		}
		if p.why == wire.Reason_REASON_QUOTA {
			return waiting(local.CodeQuota, p.until.Sub(now), fmt.Sprintf("the mailbox of %s is full", peer))
		}
		return waiting(local.CodeUnreachable, p.until.Sub(now), fmt.Sprintf("the server refused a message to %s for now (%s)", peer, reasonText(p.why)))
	}
	if e.window.hasMessage(o.ID) {
		return waiting(local.CodeUnreachable, 0, "it was sent, and the server has not answered yet")
	}
	return waiting(local.CodeUnreachable, 0, "earlier messages are sent first")
}

// waiting makes the reason of a wait that ends without the user. pause is how long
// until the next try, if that is known.
func waiting(code local.Code, pause time.Duration, text string) *local.Error {
	w := local.Errorf(code, "%s", text)
	if pause > 0 {
		w.RetryAfter = pause.Round(time.Millisecond).Seconds()
		w.Message += fmt.Sprintf("; next try in %s", max(pause.Round(time.Second), time.Second))
	}
	return w
}

// hasMessage reports whether an envelope of a message is on its way.
func (w *window) hasMessage(id store.MessageID) bool {
	for k := range w.flights {
		if k.id == id {
			return true
		}
	}
	return false
}
