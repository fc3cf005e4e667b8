package engine

import (
	"time"

	"secmsg/crypto/key"
	"secmsg/daemon/store"
)

const (
	// perPeer is how many messages to one peer are sealed in one transaction, so that a
	// long queue to one peer does not delay the others by more.
	perPeer = 32
	// perTx bounds the messages sealed in one transaction.
	perTx = 64
	// backlogOfPeer is how many envelopes may wait for blocked devices of one peer
	// before nothing more is sealed for it.
	backlogOfPeer = 128
)

// reasonCodeNoKeys is the reason in the envelope row of a device that had neither a
// session nor a bundle: nothing was sealed. Reasons of the wire are smaller.
const reasonCodeNoKeys = 1000

// later puts off a peer after a failure.
func (e *Engine) later(p *peerState, wish time.Duration) {
	e.schedule(taskPump, e.asking.failed(p, wish, time.Now()))
}

// putOff tries a peer again after d.
func (e *Engine) putOff(p *peerState, d time.Duration) {
	p.notBefore = time.Now().Add(d)
	e.schedule(taskPump, d)
}

// need is a question that the server must answer before a message can be sealed.
type need struct {
	peer    store.PeerID
	user    string
	lookUp  bool           // chain and newest manifest
	bundles []key.DeviceID // sessions to start
}

// pump seals queued messages while the window has room, and sends the sealed ones.
// An answer of the relay queues nothing, so after one the outbox is read only if
// the last look left something there.
func (e *Engine) pump() error {
	if !e.maySend(time.Now()) {
		return nil
	}
	if err := e.transmit(); err != nil {
		return err
	}
	limit := min(e.window.room(), perTx)
	if limit <= 0 || !e.window.unscanned {
		return nil // the next answer runs the pump again
	}
	var rows []store.Outgoing
	except, backlog := e.except()
	err := e.store.View(e.storeCtx(), func(tx *store.Tx) (err error) {
		rows, err = tx.Queued(e.account, except, perPeer, limit)
		return err
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		e.window.unscanned = backlog
		return nil
	}
	needs, flights, err := e.sealRows(rows)
	if err != nil {
		return err
	}
	e.window.unscanned = backlog
	e.window.addAll(flights)
	for _, n := range needs {
		e.ask(n)
	}
	if cutOff(rows, limit) {
		e.schedule(taskPump, 0)
	}
	return e.transmit()
}

// cutOff reports whether a look that found these rows may have left others behind.
func cutOff(rows []store.Outgoing, limit int) bool {
	if len(rows) == limit {
		return true
	}
	of := make(map[store.PeerID]int)
	for i := range rows {
		if of[rows[i].Peer]++; of[rows[i].Peer] == perPeer {
			return true
		}
	}
	return false
}

// except returns the peers that must not be tried now, and whether one of them only
// waits for answers. The others are tried when their pause ends.
func (e *Engine) except() (out []store.PeerID, backlog bool) {
	out, wait := e.asking.except(time.Now())
	if wait > 0 {
		e.schedule(taskPump, wait)
	}
	full := e.window.backlogged()
	return append(out, full...), len(full) > 0
}
