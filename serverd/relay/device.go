package relay

import (
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// shards spreads the registry's locks.
const shards = 64

// registry holds the devices that have a connection or work under way.
type registry struct {
	relay  *Relay
	shards [shards]struct {
		mu      sync.Mutex
		devices map[key.DeviceID]*device // guarded by mu
	}
}

func (g *registry) init(r *Relay) {
	g.relay = r
	for i := range g.shards {
		g.shards[i].devices = make(map[key.DeviceID]*device)
	}
}

// acquire returns the device, made if need be; the caller releases it.
func (g *registry) acquire(id key.DeviceID) *device {
	sh := &g.shards[id[0]%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	d := sh.devices[id]
	if d == nil {
		d = &device{relay: g.relay, id: id}
		sh.devices[id] = d
	}
	d.refs++
	return d
}

// peek returns the device if it is there, else nil; the caller releases it.
func (g *registry) peek(id key.DeviceID) *device {
	sh := &g.shards[id[0]%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	d := sh.devices[id]
	if d != nil {
		d.refs++
	}
	return d
}

// count returns the number of devices.
func (g *registry) count() int {
	n := 0
	for i := range g.shards {
		sh := &g.shards[i]
		sh.mu.Lock()
		n += len(sh.devices)
		sh.mu.Unlock()
	}
	return n
}

// all returns every device; the caller releases each.
func (g *registry) all() []*device {
	var out []*device
	for i := range g.shards {
		sh := &g.shards[i]
		sh.mu.Lock()
		for _, d := range sh.devices {
			d.refs++
			out = append(out, d)
		}
		sh.mu.Unlock()
	}
	return out
}

// device is one device's state, kept while something refers to it: a
// connection, an envelope on its way to it, a row to be deleted.
//
// Its envelopes are in one of two modes (rpc/DELIVERY.md, "Connections"):
//
//	           replica open, mailbox drained
//	 mailbox -------------------------------> direct
//	    ^                                        |
//	    '----------------------------------------'
//	bound missed, too much in flight, an envelope that must
//	not be handed over from memory, or the connection ended
//
// direct: nothing but notices waits in the mailbox, nothing is being appended;
// envelopes go to the connection from memory. On leaving, all envelopes in
// flight are appended to the mailbox in order, before anything later is; so at
// every moment what is not acknowledged is either all in memory, or all in the
// mailbox or on its way into it, in order.
type device struct {
	// constant
	relay *Relay
	id    key.DeviceID
	refs  int // guarded by the registry's shard

	// opening serializes the opening of connections: fence, replacement.
	opening sync.Mutex

	mu           sync.Mutex // guards below
	contact      *contact
	candidate    *contact // passed the fence's check, not yet confirmed
	replica      *replica
	steps        uint64 // highest heard
	sealed       uint64 // highest heard in a Send
	flushedSteps uint64
	direct       bool
	flight       int // envelopes in memory mode
	flightBytes  int
	pending      int // envelopes handed to the committer
	bound        *time.Timer
	acked        map[int64]struct{} // rows acknowledged, not yet deleted
}

// retain adds a reference; the caller holds one.
func (d *device) retain() {
	sh := &d.relay.devices.shards[d.id[0]%shards]
	sh.mu.Lock()
	d.refs++
	sh.mu.Unlock()
}

func (d *device) release() {
	sh := &d.relay.devices.shards[d.id[0]%shards]
	sh.mu.Lock()
	if d.refs--; d.refs == 0 {
		delete(sh.devices, d.id)
	}
	sh.mu.Unlock()
}

// raiseSteps keeps the highest count of session-changing transactions.
func (d *device) raiseSteps(steps uint64) {
	d.mu.Lock()
	d.steps = max(d.steps, steps)
	d.mu.Unlock()
}

// sending takes the step count of a Send. It is false on a connection that a
// newer one is taking over from: what it sends now would not be counted there.
func (d *device) sending(c *contact, steps uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.superseded {
		return false
	}
	d.steps, d.sealed = max(d.steps, steps), max(d.sealed, steps)
	return true
}

// supersede stops the sending of the contact connection there is, for one that
// showed a step count. It is false, and nothing stops, if more was sealed and
// sent since: then the newer connection is an older copy's.
func (d *device) supersede(shown uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sealed > shown {
		return false
	}
	if d.contact != nil {
		d.contact.superseded = true
	}
	return true
}

// Phases of an item.
const (
	phaseMemory    uint8 = 1 // durable, handed over from memory
	phaseAppending uint8 = 2 // handed to the committer
	phaseStored    uint8 = 3 // a row of the mailbox
	phaseOnline    uint8 = 4 // of a class that is never stored
	phaseDone      uint8 = 5 // acknowledged or refused
)

// item is one envelope on its way to a device. An item holds a reference to its
// device until it is done or stored.
type item struct {
	// constant
	to     *device
	from   *contact // nil for one read from the mailbox
	seq    uint64   // of the sender's connection
	gen    uint32   // of the pair, see pairs
	handed time.Duration

	// guarded by to.mu
	mail     store.Mail
	size     int // of the ciphertext
	phase    uint8
	sentOn   *replica // the connection on which it has a number
	answered bool
}

// answerLocked tells the sender what became of the envelope, once.
func (it *item) answerLocked(reason wire.Reason, final bool, retry time.Duration) {
	if it.answered || it.from == nil {
		return
	}
	it.answered = true
	it.to.relay.memory.Add(-int64(it.size))
	if reason == wire.Reason_REASON_UNSPECIFIED {
		it.from.accept(it.seq, it.size)
		return
	}
	if !final && it.mail.Class == uint8(wire.Class_CLASS_DURABLE) && !it.from.pairs.refused(it) {
		reason, retry = wire.Reason_REASON_ORDER, 0
	}
	it.from.reject(it.seq, it.size, reason, final, retry)
}

func (it *item) acceptLocked() { it.answerLocked(wire.Reason_REASON_UNSPECIFIED, true, 0) }
