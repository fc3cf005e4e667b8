package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// flightKey names an envelope.
type flightKey struct {
	id     store.MessageID
	device [16]byte
}

// pairKey names the devices at both ends: this one and the recipient's. Order
// holds for each pair.
type pairKey struct {
	peer   store.PeerID
	device [16]byte
}

// flight is a sealed envelope that the relay has not answered for good.
type flight struct {
	key        flightKey
	pair       pairKey
	user       string // the recipient's local name
	ord        int64
	manifest   uint64
	expires    int64
	filler     bool
	sent       bool   // on the present connection, and not answered
	ciphertext []byte // kept from sealing to the first try
}

// pair is what waits for one device, in the order of sealing. After a
// temporary rejection the relay rejects all that follows until the rejected one
// comes again (go back N): nothing more is sent until all answers are in and the
// wait is over, and then from the first that is not accepted.
type pair struct {
	flights   []*flight
	inFlight  int
	blocked   bool
	resume    bool // the next one is the first after a rejection
	until     time.Time
	tries     int
	fullSince time.Time // the first of the quota rejections in a row
	full      bool      // for FullAfter: counts as rejected until it takes one
}

// addFlight puts a sealed envelope in its place.
func (e *Engine) addFlight(f *flight) {
	if old := e.flights[f.key]; old != nil {
		e.dropFlight(old)
	}
	p := e.pairs[f.pair]
	if p == nil {
		p = new(pair)
		e.pairs[f.pair] = p
	}
	e.flights[f.key] = f
	at, _ := slices.BinarySearchFunc(p.flights, f, func(a, b *flight) int { return cmp.Compare(a.ord, b.ord) })
	p.flights = slices.Insert(p.flights, at, f)
}

// dropFlight forgets an envelope that is answered or replaced.
func (e *Engine) dropFlight(f *flight) {
	if e.flights[f.key] != f {
		return
	}
	delete(e.flights, f.key)
	p := e.pairs[f.pair]
	e.landed(f, p)
	p.flights = slices.DeleteFunc(p.flights, func(x *flight) bool { return x == f })
	if len(p.flights) == 0 && !p.full {
		delete(e.pairs, f.pair)
	}
}

// dropFlights forgets all envelopes of messages that are done.
func (e *Engine) dropFlights(ids []store.MessageID) {
	if len(ids) == 0 {
		return
	}
	for k, f := range e.flights {
		if slices.Contains(ids, k.id) {
			e.dropFlight(f)
		}
	}
}

// landed counts an answer.
func (e *Engine) landed(f *flight, p *pair) {
	if f.sent {
		f.sent = false
		p.inFlight--
		e.active--
	}
}

// sendable returns what may be sent now, in the order of sealing, within the window.
func (e *Engine) sendable(now time.Time) []*flight {
	var out []*flight
	for _, p := range e.pairs {
		if p.blocked {
			if p.inFlight > 0 {
				continue
			}
			if d := p.until.Sub(now); d > 0 {
				e.at(taskTransmit, d)
				continue
			}
			p.blocked, p.resume = false, true
		}
		for _, f := range p.flights {
			if !f.sent {
				out = append(out, f)
			}
		}
	}
	slices.SortFunc(out, func(a, b *flight) int { return cmp.Compare(a.ord, b.ord) })
	return out[:min(len(out), max(e.cfg.Window-e.active, 0))]
}

// transmit hands what may be sent to the sender. Ciphertexts of retries come
// from the store: they are the same bytes.
func (e *Engine) transmit() error {
	if !e.up || time.Now().Before(e.pause) {
		return nil
	}
	list := e.sendable(time.Now())
	if len(list) == 0 {
		return nil
	}
	out := make([]*wire.Outgoing, 0, len(list))
	var steps uint64
	var gone []*flight
	err := e.store.View(e.work, func(tx *store.Tx) (err error) {
		if steps, err = tx.Steps(e.account); err != nil {
			return err
		}
		for _, f := range list {
			ciphertext := f.ciphertext
			if ciphertext == nil {
				env, err := tx.Envelope(e.account, f.key.id, f.key.device)
				if errors.Is(err, store.ErrNotFound) || err == nil && env.Status != store.EnvelopePending {
					gone = append(gone, f)
					continue
				}
				if err != nil {
					return err
				}
				ciphertext = env.Ciphertext
			}
			p := e.pairs[f.pair]
			out = append(out, &wire.Outgoing{
				MessageId: f.key.id[:], Class: wire.Class_CLASS_DURABLE, Recipient: f.user, Device: f.key.device[:],
				ManifestVersion: f.manifest, ExpiresMs: f.expires, Ciphertext: ciphertext, Resume: p.resume,
			})
			f.sent, f.ciphertext = true, nil
			p.resume = false
			p.inFlight++
			e.active++
		}
		return nil
	})
	for _, f := range gone {
		e.dropFlight(f)
	}
	if len(out) > 0 {
		e.out.put(batch{epoch: e.epoch, steps: steps, envelopes: out})
	}
	return err
}

// reset prepares everything that is not answered to be sent again, in order,
// on a new connection.
func (e *Engine) reset() {
	for _, p := range e.pairs {
		for _, f := range p.flights {
			f.sent = false
		}
		p.inFlight, p.blocked, p.resume, p.tries = 0, false, false, 0
	}
	e.active = 0
	e.pause = time.Time{}
}

// batch is what the sender hands to the link at once.
type batch struct {
	epoch     uint64 // of the contact connection
	steps     uint64
	envelopes []*wire.Outgoing
}

// outbound is the queue between the actor and the sender. The window bounds it.
type outbound struct {
	wake chan struct{}

	mu    sync.Mutex
	list  []batch // guarded by mu
	epoch uint64  // guarded by mu; what older batches carry is not sent any more
}

func (o *outbound) put(b batch) {
	o.mu.Lock()
	o.list = append(o.list, b)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// renew drops what was queued for earlier connections.
func (o *outbound) renew(epoch uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.epoch, o.list = epoch, nil
}

func (o *outbound) take() (batch, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.list) == 0 {
		return batch{}, false
	}
	b := o.list[0]
	o.list = o.list[1:]
	return b, b.epoch == o.epoch || b.epoch == 0
}

func (o *outbound) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list) == 0
}

// sendLoop hands batches to the link, so that a slow connection never holds
// the actor. What a broken connection did not take is sent again after the
// next one stands.
func (e *Engine) sendLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.out.wake:
		}
		for !e.out.empty() && ctx.Err() == nil {
			b, ok := e.out.take()
			if !ok {
				continue
			}
			if err := e.link.Send(ctx, b.envelopes, b.steps); err != nil {
				e.logger.Debug("send", "error", err)
				e.refused(ctx, b.epoch)
			}
		}
	}
}

// refused tells the actor that the link did not take a batch: if the
// connection stands in spite of that, everything is sent again after a while.
func (e *Engine) refused(ctx context.Context, epoch uint64) {
	err := e.do(ctx, func() error {
		if e.up && epoch == e.epoch {
			e.epoch++
			e.out.renew(e.epoch)
			e.reset()
			e.pause = time.Now().Add(e.cfg.BackoffMin)
			e.at(taskPump, e.cfg.BackoffMin)
		}
		return nil
	})
	if err != nil {
		e.logger.Debug("after a refused send", "error", err)
	}
}
