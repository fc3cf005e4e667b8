package relay

import (
	"strings"
	"sync/atomic"

	"secmsg/crypto/key"
	"secmsg/rpc/wire"
)

// counters count since the relay's start.
type counters struct {
	contacts, replicas atomic.Int64

	refused, protocol, stale           atomic.Uint64
	direct, stored, delivered, expired atomic.Uint64
	boundMissed                        atomic.Uint64
	bytesIn, bytesOut                  atomic.Uint64
	rejected                           [reasons]atomic.Uint64
}

// reasons is one above the highest wire.Reason. A test checks it.
const reasons = 19

func (c *counters) opened(role wire.Role) { c.gauge(role).Add(1) }
func (c *counters) ended(role wire.Role)  { c.gauge(role).Add(-1) }

func (c *counters) gauge(role wire.Role) *atomic.Int64 {
	if role == wire.RoleContact {
		return &c.contacts
	}
	return &c.replicas
}

func (c *counters) reject(reason wire.Reason) {
	if int(reason) < len(c.rejected) {
		c.rejected[reason].Add(1)
	}
}

// Stats is a snapshot of a relay's counters (since its start) and gauges (now).
type Stats struct {
	Contacts, Replicas int   // gauges: open connections
	Devices            int   // gauge: devices with a connection or pending work
	MemoryBytes        int64 // gauge: ciphertext without a result

	Refused        uint64 // upgrades
	ProtocolErrors uint64 // connections ended for violating the protocol
	StaleFences    uint64
	Direct         uint64 // envelopes from memory, acknowledged by the device
	Stored         uint64 // envelopes accepted into a mailbox
	Delivered      uint64 // envelopes written to replica connections
	Expired        uint64 // envelopes swept from mailboxes
	BoundMissed    uint64 // times a device left direct mode by the handoff bound
	BytesIn        uint64 // of frames
	BytesOut       uint64
	Rejected       map[string]uint64 // envelopes by reason, such as "quota"
}

// Stats returns the relay's counters and gauges.
func (r *Relay) Stats() Stats {
	c := &r.counters
	s := Stats{
		Contacts: int(c.contacts.Load()), Replicas: int(c.replicas.Load()),
		Devices: r.devices.count(), MemoryBytes: r.memory.Load(),
		Refused: c.refused.Load(), ProtocolErrors: c.protocol.Load(), StaleFences: c.stale.Load(),
		Direct: c.direct.Load(), Stored: c.stored.Load(), Delivered: c.delivered.Load(), Expired: c.expired.Load(),
		BoundMissed: c.boundMissed.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		Rejected: make(map[string]uint64),
	}
	for i := range c.rejected {
		if n := c.rejected[i].Load(); n > 0 {
			s.Rejected[reasonName(wire.Reason(i))] = n
		}
	}
	return s
}

// Connected reports whether a device is connected now.
func (r *Relay) Connected(id key.DeviceID) bool {
	d := r.devices.peek(id)
	if d == nil {
		return false
	}
	defer d.release()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.contact != nil || d.replica != nil
}

// reasonName is the name of a reason in statistics: "quota" for REASON_QUOTA.
func reasonName(reason wire.Reason) string {
	return strings.ToLower(strings.TrimPrefix(reason.String(), "REASON_"))
}
