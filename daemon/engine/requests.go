package engine

import (
	"fmt"
	"time"

	"secmsg/daemon/history"
	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

const (
	// requestText bounds the encoded first message to a stranger, in bytes
	// (rpc/DELIVERY.md, promise 12). A longer one waits until a request without text
	// is accepted.
	requestText = 1024
	// requestPatience is how long a long first message waits for the server to say
	// whether the peer has accepted this account already.
	requestPatience = 2 * time.Second
)

// waitsForAcceptance holds back a message to a peer that has not accepted this
// account: a message that follows a held one, and a text that is too long for a
// request. Before the latter a request without text is sent.
func (e *Engine) waitsForAcceptance(tx *store.Tx, o *store.Outgoing, p *peerState, user string) (held bool, err error) {
	if o.Control || o.Peer == e.selfPeer || e.presence.mutual(user) {
		return false, nil
	}
	waiting, err := tx.HasHeld(e.account, o.Peer, history.ReasonRequest)
	if err != nil {
		return false, err
	}
	if waiting {
		return true, e.hold(tx, o, history.ReasonRequest)
	}
	if len(o.Body) <= requestText {
		return false, nil
	}
	heard, err := tx.Heard(e.account, o.Peer)
	if err != nil || heard {
		return false, err
	}
	if age := e.profileTime().Sub(time.UnixMilli(o.CreatedMS)); age < requestPatience {
		tx.OnCommit(func() {
			p.notBefore = time.Now().Add(requestPatience - age)
			e.schedule(taskPump, requestPatience-age)
		})
		return true, nil
	}
	flag := fmt.Sprintf("request/%d", o.Peer)
	sent, err := tx.MetaInt(e.account, flag)
	if err != nil {
		return false, err
	}
	if sent == 0 {
		if err := e.control(tx, o.Peer, nil, &e2e.Content{Kind: e2e.Kind_KIND_REQUEST, Body: &e2e.Content_Request{Request: &e2e.Request{}}}); err != nil {
			return false, err
		}
		if err := tx.SetMetaInt(e.account, flag, 1); err != nil {
			return false, err
		}
	}
	return true, e.hold(tx, o, history.ReasonRequest)
}

// release looks at held messages again. Those that nothing holds back any longer
// are queued, in order, or, if they were sealed before, sent as they are.
func (e *Engine) release() error {
	flights, err := inTx(e, func(tx *store.Tx) (flights []*flight, err error) {
		peers, err := tx.HeldPeers(e.account)
		if err != nil {
			return nil, err
		}
		for _, p := range peers {
			rows, err := tx.OutgoingOf(e.account, p, store.PhaseHeld)
			if err != nil {
				return nil, err
			}
			for i := range rows {
				f, err := e.releaseOne(tx, &rows[i])
				if store.DamagedValue(err) != nil {
					continue
				}
				if err != nil {
					return nil, err
				}
				flights = append(flights, f...)
			}
		}
		return flights, nil
	})
	if err != nil {
		return err
	}
	e.window.addAll(flights)
	e.schedule(taskPump, 0)
	return nil
}

// releaseOne releases a held message if nothing holds it back any longer.
func (e *Engine) releaseOne(tx *store.Tx, o *store.Outgoing) ([]*flight, error) {
	addr, err := e.address(tx, o.Peer)
	if err != nil {
		return nil, err
	}
	if o.Reason == history.ReasonRequest && !e.presence.mutual(addr.User) {
		return nil, nil
	}
	if _, err := e.trust.CheckSend(tx, e.account, o.Peer, o.Verified, e.now()); err != nil {
		if store.Failed(err) {
			return nil, err
		}
		return nil, nil
	}
	phase := store.PhaseQueued
	envelopes, err := tx.EnvelopesOf(e.account, o.ID)
	if err != nil {
		return nil, err
	}
	var flights []*flight
	for i := range envelopes {
		env := &envelopes[i]
		if env.Status == store.EnvelopePending {
			phase = store.PhaseSealed
			user := addr.User
			if env.Own {
				user = e.self.User
			}
			f := newFlight(env, user)
			f.ciphertext = nil
			flights = append(flights, f)
		}
	}
	if err := tx.SetPhase(e.account, o.ID, phase, ""); err != nil {
		return nil, err
	}
	if o.Control {
		return flights, nil
	}
	return flights, e.history.SetState(tx, o.ID, local.StateQueued, "")
}
