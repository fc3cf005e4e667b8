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
	why, err := inActor(ctx, e, func() (reasons, error) { return e.reasons(time.Now()), nil })
	if err == nil {
		var list []local.SendResult
		list, err = inView(ctx, e, func(tx *store.Tx) ([]local.SendResult, error) { return e.history.Outbox(tx, why.of) })
		if err == nil {
			return local.SendResults{Results: list}, nil
		}
	}
	return local.SendResults{Results: []local.SendResult{}}, err
}

// reasons are the things that a queued message can wait for, as they were at one
// moment, so that a long outbox is read without the actor.
type reasons struct {
	account *local.Error                                    // of all messages; nil: none
	peers   map[store.PeerID]func(peer string) *local.Error // of the messages to a peer, by its address
	sent    map[store.MessageID]bool                        // on their way, unanswered
}

// reasons describes what messages wait for; actor only.
func (e *Engine) reasons(now time.Time) reasons {
	r := reasons{peers: make(map[store.PeerID]func(string) *local.Error), sent: make(map[store.MessageID]bool)}
	switch {
	case !e.up:
		r.account = e.Away()
	case e.window.paused(now):
		r.account = waiting(local.CodeRateLimited, e.window.pause.Sub(now), "the server limits how much this account sends")
	}
	for k := range e.window.flights {
		r.sent[k.id] = true
	}
	for k, p := range e.window.pairs {
		if p.blocked {
			why, pause := p.why, p.until.Sub(now)
			r.peers[k.peer] = func(peer string) *local.Error {
				if why == wire.Reason_REASON_QUOTA {
					return waiting(local.CodeQuota, pause, fmt.Sprintf("the mailbox of %s is full", peer))
				}
				return waiting(local.CodeUnreachable, pause, fmt.Sprintf("the server refused a message to %s for now (%s)", peer, reasonText(why)))
			}
		}
	}
	for id, p := range e.asking.peers { // these come first: without keys nothing is sealed
		if why := p.waits(now); why != nil {
			r.peers[id] = why
		}
	}
	return r
}

// waits returns why nothing can be sealed for a peer, by its address; nil if something
// can.
func (p *peerState) waits(now time.Time) func(peer string) *local.Error {
	pause, keys := p.notBefore.Sub(now), len(p.noKeys) > 0
	switch {
	case keys && pause > 0:
		return func(peer string) *local.Error {
			return waiting(local.CodeNotFound, pause, fmt.Sprintf("no device of %s has keys to start a session", peer))
		}
	case p.busy:
		return func(peer string) *local.Error {
			return waiting(local.CodeUnreachable, 0, fmt.Sprintf("the server is being asked for the keys of %s", peer))
		}
	case pause > 0:
		return func(peer string) *local.Error {
			return waiting(local.CodeUnreachable, pause, fmt.Sprintf("asking the server for the keys of %s failed", peer))
		}
	}
	return nil
}

// of says why a queued message is not at the server yet.
func (r reasons) of(o *store.Outgoing, peer string) *local.Error {
	why := r.peers[o.Peer]
	switch {
	case o.Phase == store.PhaseUploading:
		return waiting(local.CodeUnreachable, 0, "its file is being uploaded")
	case r.account != nil:
		return r.account
	case why != nil:
		return why(peer)
	case r.sent[o.ID]:
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
