package relay

import (
	"context"
	"crypto/subtle"
	"time"

	"secmsg/rpc/wire"
)

// deliverBytes is where one Deliver frame ends. Coalescing saves writes, but not beyond a few TLS records.
const deliverBytes = 64 << 10

// replica is a device's receiving connection. See the glossary in the package comment.
type replica struct {
	sock *socket
	d    *device

	// guarded by d.mu
	opened   []byte  // the first frame; nil once it is written
	out      []*item // to be written, without numbers yet
	sent     []*item // numbered and not acknowledged: base, base+1, ...
	base     uint64
	rows     int                // mailbox rows in out and sent
	fed      int64              // the last row read from the mailbox
	skip     map[int64]struct{} // rows above fed that are already on this connection
	spilling int                // envelopes in sent that are being appended
	online   int                // envelopes in out and sent that are never stored
	more     bool               // the mailbox may hold rows above fed
	feeding  bool
	retry    *time.Timer
}

func newReplica(s *socket) *replica {
	return &replica{sock: s, base: 1, skip: make(map[int64]struct{})}
}

// push queues an item for the writer. The caller holds d.mu.
func (p *replica) push(it *item) {
	p.out = append(p.out, it)
	p.sock.wake()
}

// serve runs on the reader goroutine until the connection ends.
func (p *replica) serve() {
	r := p.sock.relay
	p.d = r.devices.acquire(p.sock.device)
	defer p.d.release()
	if !elsewhere(p.open) {
		p.sock.waitEnd()
		return
	}
	release, err := r.bus.Hold(context.Background(), p.d.id, r.node)
	if err != nil {
		r.log.Warn("bus", "error", err) // the hint is lost; this node gets no wake-ups for the device
	} else {
		defer release()
	}
	defer r.flushSteps([]*device{p.d})
	defer p.detach()
	p.sock.frames(p.readAck)
	p.sock.waitEnd()
}

// read returns the next frame, and an error if it is malformed. It returns nil when the connection ends.
func (p *replica) read() (*wire.ReplicaClient, error) {
	buf, err := p.sock.read()
	if err != nil {
		p.sock.readFailed(err)
		return nil, err
	}
	defer p.sock.free(buf)
	frame := new(wire.ReplicaClient)
	return frame, wire.Unmarshal(*buf, frame)
}

// readAck handles one frame. It returns false when the connection ends.
func (p *replica) readAck() bool {
	frame, err := p.read()
	if frame == nil {
		return false
	}
	ack := frame.GetAck()
	if err != nil || ack == nil {
		p.sock.fail("an Ack was expected")
		return false
	}
	p.d.raiseSteps(ack.GetSteps())
	if !p.ack(ack.GetThrough()) {
		p.sock.fail("an Ack names what was not delivered")
		return false
	}
	return true
}

// open checks the fence, replaces an older connection, and attaches this one once everything in flight on the older one
// is committed.
func (p *replica) open() bool {
	r, d := p.sock.relay, p.d
	_ = p.sock.ws.SetReadDeadline(time.Now().Add(r.limits.Open))
	frame, err := p.read()
	if frame == nil {
		return false
	}
	open := frame.GetOpen()
	if err != nil || open == nil || open.GetProtocol() != wire.ProtocolVersion {
		p.sock.fail("a ReplicaOpen of protocol 1 was expected")
		return false
	}
	_ = p.sock.ws.SetReadDeadline(time.Time{})

	d.opening.Lock()
	defer d.opening.Unlock()
	ctx := context.Background()
	if !p.sock.mayOpen(ctx) {
		return false
	}
	fence, err := r.store.Fence(ctx, d.id)
	if err != nil {
		p.sock.storeFailed("fence", err)
		return false
	}
	if len(fence.Confirmed) == 0 || subtle.ConstantTimeCompare(fence.Confirmed, open.GetValue()) != 1 {
		p.sock.end(&wire.Bye{Reason: wire.Reason_REASON_STALE_FENCE, Text: "the confirmed fence value was expected"})
		return false
	}
	d.mu.Lock()
	old := d.replica
	d.mu.Unlock()
	if old != nil {
		old.sock.end(&wire.Bye{Reason: wire.Reason_REASON_REPLACED, Text: byeText(wire.Reason_REASON_REPLACED)})
		<-old.sock.done
	}
	r.commit.barrier()
	backlog, _, err := r.store.MailboxSize(ctx, d.id)
	if err != nil {
		p.sock.storeFailed("mailbox size", err)
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	opened, err := wire.Marshal(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Opened{Opened: &wire.ReplicaOpened{
		TimeMs: r.now().UnixMilli(), Backlog: uint64(max(0, backlog-len(d.acked))),
	}}})
	if err != nil {
		p.sock.storeFailed("encode", err)
		return false
	}
	p.opened = opened
	p.more = true
	d.direct = false
	d.replica = p
	p.sock.wake()
	d.feedLocked()
	return true
}

// detach removes the connection from its device. Envelopes in flight from memory go to the mailbox in order.
func (p *replica) detach() {
	d := p.d
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaveDirectLocked()
	for _, list := range [][]*item{p.sent, p.out} {
		for _, it := range list {
			if it.phase == phaseOnline {
				it.finishLocked(wire.Reason_REASON_OFFLINE, true, 0)
			}
		}
	}
	if p.retry != nil && p.retry.Stop() {
		p.feeding = false
	}
	p.sent, p.out, p.skip = nil, nil, nil
	d.replica = nil
}

// ack handles a cumulative acknowledgement. It returns false if the number was never delivered.
func (p *replica) ack(through uint64) bool {
	d := p.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if through >= p.base+uint64(len(p.sent)) {
		return false
	}
	if through < p.base {
		return true
	}
	n := int(through - p.base + 1)
	now := d.relay.now()
	for _, it := range p.sent[:n] {
		d.relay.passed(Acknowledged, &it.mail, 0, now)
		switch it.phase {
		case phaseMemory:
			d.flight--
			d.flightBytes -= it.size
			d.relay.counters.direct.Add(1)
			it.finishLocked(wire.Reason_REASON_UNSPECIFIED, true, 0)
		case phaseOnline:
			p.online--
			it.finishLocked(wire.Reason_REASON_UNSPECIFIED, true, 0)
		case phaseAppending:
			// The device has the envelope; its row is deleted as soon as the append reports it.
			it.acceptLocked()
			it.phase = phaseDone
		case phaseStored:
			it.phase = phaseDone
			p.rows--
			d.deleteLocked(it.mail.Row)
		}
	}
	p.base = through + 1
	rest := copy(p.sent, p.sent[n:])
	clear(p.sent[rest:])
	p.sent = p.sent[:rest]
	if rest == 0 {
		p.sent = nil // an idle connection keeps no memory
	}
	d.feedLocked()
	return true
}

// next appends the next frame: ReplicaOpened, or a Deliver with as many envelopes as fit.
func (p *replica) next(buf []byte) ([]byte, error) {
	d := p.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.opened != nil {
		buf = append(buf, p.opened...)
		p.opened = nil
		return buf, nil
	}
	if d.replica != p || len(p.out) == 0 {
		return buf, nil
	}
	n, size := 0, 0
	for n < len(p.out) && n < wire.MaxBatch {
		size += p.out[n].size
		if n > 0 && size > deliverBytes {
			break
		}
		n++
	}
	buf = appendDeliver(buf, p.base+uint64(len(p.sent)), p.out[:n])
	now := d.relay.now()
	for _, it := range p.out[:n] {
		it.sentOn = p
		d.relay.passed(Sent, &it.mail, 0, now)
		if it.phase == phaseStored {
			it.mail.Ciphertext = nil
		}
	}
	p.sent = append(p.sent, p.out[:n]...)
	rest := copy(p.out, p.out[n:])
	clear(p.out[rest:])
	p.out = p.out[:rest]
	if rest == 0 {
		p.out = nil
		d.feedLocked()
	}
	d.relay.counters.delivered.Add(uint64(n))
	return buf, nil
}

// overdue answers OFFLINE for envelopes of class ONLINE or PROBE that the device does not acknowledge. Otherwise they
// would occupy the sender's window for ever.
func (p *replica) overdue(now time.Duration) {
	r := p.sock.relay
	d := r.devices.peek(p.sock.device) // p.d belongs to the reader
	if d == nil {
		return
	}
	defer d.release()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.replica != p || p.online == 0 {
		return
	}
	for _, it := range p.sent {
		if it.phase == phaseOnline && now-it.handed > r.limits.OnlineWait {
			p.online--
			it.finishLocked(wire.Reason_REASON_OFFLINE, true, 0)
		}
	}
}

// bye encodes a Bye as the connection's last frame.
func (p *replica) bye(b *wire.Bye) ([]byte, error) {
	return wire.Marshal(&wire.ReplicaServer{Frame: &wire.ReplicaServer_Bye{Bye: b}})
}
