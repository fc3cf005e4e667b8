package relay

import (
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// shards is the number of locks in the registry.
const shards = 64

// registry holds the devices that have a connection or pending work.
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

// acquire returns the device, creating it if necessary. The caller releases it.
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

// peek returns the device, or nil if the registry does not have it. The caller releases it.
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

// all returns every device. The caller releases each.
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

// device is the state of one device. It lives as long as something refers to it: a connection, an envelope on its way
// to it, or a row to be deleted.
//
// Its envelopes travel in one of two modes (rpc/DELIVERY.md):
//
//	          replica open, mailbox drained
//	mailbox -------------------------------> direct
//	   ^                                        |
//	   '----------------------------------------'
//	  bound missed, too much in flight, an envelope that must
//	  not be handed over from memory, or the connection ended
//
// In direct mode the mailbox holds nothing but notices and no append is pending; envelopes go from memory to the
// connection. On leaving direct mode, all envelopes in flight are appended to the mailbox in order, before any later
// one. So at every moment the unacknowledged envelopes are either all in memory, or all in the mailbox or on their way
// into it, in order.
type device struct {
	// constant
	relay *Relay
	id    key.DeviceID
	refs  int // guarded by the registry's shard

	// opening serializes the opening of connections (fence check, replacement of an older connection).
	opening sync.Mutex

	mu           sync.Mutex // guards below
	contact      *contact
	candidate    *contact // has passed the fence check but is not confirmed
	replica      *replica
	steps        uint64 // highest count received
	sealed       uint64 // highest count received in a Send
	flushedSteps uint64
	direct       bool
	flight       int // envelopes in memory mode
	flightBytes  int
	pending      int // envelopes handed to the committer
	bound        *time.Timer
	acked        map[int64]struct{} // rows acknowledged but not deleted yet
}

// retain adds a reference. The caller already holds one.
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

// raiseSteps records a count of session-changing transactions if it is higher than the one kept.
func (d *device) raiseSteps(steps uint64) {
	d.mu.Lock()
	d.steps = max(d.steps, steps)
	d.mu.Unlock()
}

// sending records the step count of a Send. It returns false on a connection that a newer one is replacing: the newer
// connection has already compared the counts, so this Send would be missed.
func (d *device) sending(c *contact, steps uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.superseded {
		return false
	}
	d.steps, d.sealed = max(d.steps, steps), max(d.sealed, steps)
	return true
}

// supersede stops the current contact connection from sending, in favour of one whose fence frame showed a step count.
// If the current connection has sent with a higher count, the newer connection belongs to an older copy of the device:
// then supersede stops nothing and returns false.
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

// item is one envelope on its way to a device. It holds a reference to the device until it is done or stored.
type item struct {
	// constant
	to     *device
	from   *contact // nil if read from the mailbox
	seq    uint64   // in the sender's connection
	gen    uint32   // generation of the pair, see pairs
	handed time.Duration

	// guarded by to.mu
	mail     store.Mail
	size     int // of the ciphertext
	phase    uint8
	sentOn   *replica // the connection on which it has a number
	answered bool
}

// answerLocked sends the result to the sender, once.
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
	it.to.relay.passed(Refused, &it.mail, reason, it.to.relay.now())
	it.from.reject(it.seq, it.size, reason, final, retry)
}

func (it *item) acceptLocked() { it.answerLocked(wire.Reason_REASON_UNSPECIFIED, true, 0) }
