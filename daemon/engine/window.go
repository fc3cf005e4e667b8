package engine

import (
	"cmp"
	"slices"
	"time"

	"secmsg/daemon/link"
	"secmsg/daemon/store"
	"secmsg/rpc/wire"
)

// flightKey identifies an envelope.
type flightKey struct {
	id     store.MessageID
	device [16]byte
}

// pairKey identifies a recipient's device. Together with this device it is a
// pair, and the relay keeps the order of envelopes within each pair.
type pairKey struct {
	peer   store.PeerID
	device [16]byte
}

// flight is a sealed envelope without a final answer of the relay.
type flight struct {
	key        flightKey
	pair       pairKey
	user       string // the recipient's local name
	ord        int64  // order of sealing
	manifest   uint64
	expires    int64
	filler     bool
	sent       bool   // on the present connection, and not answered
	ciphertext []byte // kept from sealing to the first try
}

func newFlight(env *store.Envelope, user string) *flight {
	return &flight{
		key: flightKey{id: env.ID, device: env.Device}, pair: pairKey{peer: env.Peer, device: env.Device},
		user: user, ord: env.Ord, manifest: env.Manifest, expires: env.ExpiresMS, filler: env.Filler, ciphertext: env.Ciphertext,
	}
}

// pair holds the flights to one device, in the order of sealing.
type pair struct {
	flights   []*flight
	inFlight  int // of them, sent
	blocked   bool
	resume    bool // the next one is the first after a refusal
	until     time.Time
	tries     int
	fullSince time.Time   // when the present run of quota refusals began
	why       wire.Reason // of the refusal that blocked it
	full      bool        // the mailbox stayed full for FullAfter: counts as a final refusal until it takes one
}

// window is the go-back-N window of an account: the sealed envelopes without a
// final answer, and which of them may be sent now. After a temporary refusal the
// relay refuses all later envelopes of the same pair until the refused one comes
// again or the sender says that it starts over ("resume"). The window therefore
// stops the pair, waits until all its answers are in and the pause is over, and
// goes on with the first envelope that was not accepted.
//
// The window reads neither store nor clock and schedules nothing: its callers pass
// the time in and act on the results. It belongs to the actor, except for out.
type window struct {
	cfg       Config
	flights   map[flightKey]*flight
	pairs     map[pairKey]*pair
	active    int       // flights that are sent
	epoch     uint64    // counts contact connections
	pause     time.Time // nothing is sent before
	unscanned bool      // the outbox may hold queued rows that the last look left there
	out       outbound
}

func newWindow(cfg Config) *window {
	return &window{cfg: cfg, flights: make(map[flightKey]*flight), pairs: make(map[pairKey]*pair), out: newOutbound()}
}

// room returns how many more envelopes may be sent.
func (w *window) room() int { return w.cfg.Window - w.active }

// paused reports whether the account may send nothing yet.
func (w *window) paused(now time.Time) bool { return now.Before(w.pause) }

// add puts a sealed envelope in its place, instead of an earlier one with the same key.
func (w *window) add(f *flight) {
	if old := w.flights[f.key]; old != nil {
		w.drop(old)
	}
	p := w.pairs[f.pair]
	if p == nil {
		p = new(pair)
		w.pairs[f.pair] = p
	}
	w.flights[f.key] = f
	i, _ := slices.BinarySearchFunc(p.flights, f, func(a, b *flight) int { return cmp.Compare(a.ord, b.ord) })
	p.flights = slices.Insert(p.flights, i, f)
}

func (w *window) addAll(list []*flight) {
	for _, f := range list {
		w.add(f)
	}
}

// drop forgets an envelope that has its final answer or was replaced.
func (w *window) drop(f *flight) {
	if w.flights[f.key] != f {
		return
	}
	delete(w.flights, f.key)
	p := w.pairs[f.pair]
	w.land(f, p)
	p.flights = slices.DeleteFunc(p.flights, func(x *flight) bool { return x == f })
	if len(p.flights) == 0 && !p.full {
		delete(w.pairs, f.pair)
	}
}

// dropMessages forgets all envelopes of some messages.
func (w *window) dropMessages(ids []store.MessageID) {
	if len(ids) == 0 {
		return
	}
	for k, f := range w.flights {
		if slices.Contains(ids, k.id) {
			w.drop(f)
		}
	}
}

// clear forgets all envelopes.
func (w *window) clear() {
	clear(w.flights)
	clear(w.pairs)
	w.active = 0
}

// sendable returns the envelopes that may be sent now, in the order of sealing.
// If a blocked pair could be sent later, wait is the time until then, else 0.
func (w *window) sendable(now time.Time) (list []*flight, wait time.Duration) {
	for _, p := range w.pairs {
		if p.blocked {
			if p.inFlight > 0 {
				continue
			}
			if d := p.until.Sub(now); d > 0 {
				if wait == 0 || d < wait {
					wait = d
				}
				continue
			}
			p.blocked, p.resume = false, true
		}
		for _, f := range p.flights {
			if !f.sent {
				list = append(list, f)
			}
		}
	}
	slices.SortFunc(list, func(a, b *flight) int { return cmp.Compare(a.ord, b.ord) })
	return list[:min(len(list), max(w.room(), 0))], wait
}

// launch marks an envelope as sent. It returns whether the envelope must carry the
// resume flag.
func (w *window) launch(f *flight) (resume bool) {
	p := w.pairs[f.pair]
	resume, p.resume = p.resume, false
	f.sent, f.ciphertext = true, nil
	p.inFlight++
	w.active++
	return resume
}

// land counts an envelope as no longer on its way.
func (w *window) land(f *flight, p *pair) {
	if f.sent {
		f.sent = false
		p.inFlight--
		w.active--
	}
}

// answer takes the relay's answer to an envelope. The envelope stays in the window;
// the caller drops it after a final answer. A temporary refusal blocks the pair:
// wait is for how long. full is the pair if its mailbox now counts as full.
func (w *window) answer(r link.Result, now time.Time) (wait time.Duration, full *pair) {
	f := w.flights[flightKey{id: r.MessageID, device: r.Device}]
	if f == nil || !f.sent {
		return 0, nil
	}
	p := w.pairs[f.pair]
	w.land(f, p)
	switch {
	case r.Accepted:
		p.tries, p.full, p.fullSince = 0, false, time.Time{}
	case !r.Final && r.Reason != wire.Reason_REASON_REQUEST:
		return w.block(p, r, now)
	}
	return 0, nil
}

// block stops a pair after a temporary refusal.
func (w *window) block(p *pair, r link.Result, now time.Time) (wait time.Duration, full *pair) {
	if r.Reason == wire.Reason_REASON_ORDER && p.blocked {
		return 0, nil // a consequence of the refusal that blocked the pair
	}
	wait = w.cfg.backoff(p.tries, r.RetryAfter)
	p.tries++
	p.blocked, p.why = true, r.Reason
	p.until = now.Add(wait)
	switch r.Reason {
	case wire.Reason_REASON_RATE:
		w.pause = p.until // the rate limit applies to the account, not to the pair
	case wire.Reason_REASON_QUOTA:
		if p.fullSince.IsZero() {
			p.fullSince = now
		}
		if now.Sub(p.fullSince) >= w.cfg.FullAfter && !p.full {
			p.full = true
			full = p
		}
	}
	return wait, full
}

// restart begins a new epoch in which everything without an answer is sent again,
// in order.
func (w *window) restart() {
	w.disconnected()
	for _, p := range w.pairs {
		for _, f := range p.flights {
			f.sent = false
		}
		p.inFlight, p.blocked, p.resume, p.tries = 0, false, false, 0
	}
	w.active = 0
	w.pause = time.Time{}
}

// disconnected drops the batches that the connection did not take.
func (w *window) disconnected() {
	w.epoch++
	w.out.renew(w.epoch)
}

// hurry ends the pauses of a peer's pairs.
func (w *window) hurry(peer store.PeerID) {
	for k, p := range w.pairs {
		if k.peer == peer {
			p.until, p.tries = time.Time{}, 0
		}
	}
}

// isFull reports whether the mailbox of a pair counts as full.
func (w *window) isFull(k pairKey) bool {
	p := w.pairs[k]
	return p != nil && p.full
}

// backlogged returns the peers for whom enough envelopes wait in blocked pairs.
func (w *window) backlogged() (out []store.PeerID) {
	waiting := make(map[store.PeerID]int)
	for k, p := range w.pairs {
		if p.blocked {
			waiting[k.peer] += len(p.flights)
		}
	}
	for id, n := range waiting {
		if n >= backlogOfPeer {
			out = append(out, id)
		}
	}
	return out
}

// put hands envelopes to the sender.
func (w *window) put(steps uint64, envelopes ...*wire.Outgoing) {
	w.out.put(batch{epoch: w.epoch, steps: steps, envelopes: envelopes})
}
