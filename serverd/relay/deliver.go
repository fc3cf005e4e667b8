package relay

import (
	"errors"
	"time"

	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

const (
	// retryStore and retryQuota are what a sender is told to wait when the
	// store fails, and when a mailbox is full.
	retryStore = time.Second
	retryQuota = 5 * time.Second
)

// deliver takes over an admitted envelope and one reference to its device.
// mutual allows handing it over from memory.
func (d *device) deliver(it *item, mutual bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rep := d.replica
	switch {
	case it.mail.Class != uint8(wire.Class_CLASS_DURABLE):
		it.phase = phaseOnline
		switch {
		case rep == nil:
			it.finishLocked(wire.Reason_REASON_OFFLINE, true, 0)
		case rep.online >= d.relay.limits.HandoffEnvelopes,
			len(rep.out)+len(rep.sent) >= feedRows+2*d.relay.limits.HandoffEnvelopes:
			// Mail that waits for its acknowledgement does not stand in the way.
			it.finishLocked(wire.Reason_REASON_UNAVAILABLE, false, retryStore)
		default:
			it.handed = d.relay.since()
			rep.online++
			rep.push(it)
		}
	case it.from.pairs.outdated(it):
		// An earlier one was refused between this one's admission and now.
		it.finishLocked(wire.Reason_REASON_ORDER, false, 0)
	case mutual && d.direct && rep != nil && d.roomLocked(it.size):
		it.phase = phaseMemory
		it.handed = d.relay.since()
		d.flight++
		d.flightBytes += it.size
		rep.push(it)
		d.armLocked(d.relay.limits.HandoffWait)
	default:
		d.leaveDirectLocked()
		d.appendLocked(it)
	}
}

func (d *device) roomLocked(size int) bool {
	l := &d.relay.limits
	return d.flight < l.HandoffEnvelopes && (d.flight == 0 || d.flightBytes+size <= l.HandoffBytes)
}

// finishLocked ends an item that is not stored.
func (it *item) finishLocked(reason wire.Reason, final bool, retry time.Duration) {
	it.answerLocked(reason, final, retry)
	it.phase = phaseDone
	it.mail.Ciphertext = nil
	it.to.release()
}

// armLocked starts the handoff bound for the oldest envelope in flight, unless it runs.
func (d *device) armLocked(wait time.Duration) {
	if d.bound == nil {
		d.bound = time.AfterFunc(wait, d.boundPassed)
	}
}

// boundPassed looks whether the oldest envelope in flight has waited too long.
// The timer is not moved with each envelope: it is set again for the rest.
func (d *device) boundPassed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = nil
	oldest := d.oldestLocked()
	if oldest == nil {
		return
	}
	wait := d.relay.limits.HandoffWait - (d.relay.since() - oldest.handed)
	if wait > 0 {
		d.armLocked(wait)
		return
	}
	d.relay.counters.boundMissed.Add(1)
	d.leaveDirectLocked()
}

func (d *device) oldestLocked() *item {
	if d.replica == nil || d.flight == 0 {
		return nil
	}
	for _, list := range [][]*item{d.replica.sent, d.replica.out} {
		for _, it := range list {
			if it.phase == phaseMemory {
				return it
			}
		}
	}
	return nil
}

// leaveDirectLocked goes to mailbox mode: what is in flight from memory is
// appended in order. What has no number yet is taken back from the connection,
// and reaches it through the mailbox.
func (d *device) leaveDirectLocked() {
	if !d.direct {
		return
	}
	d.direct = false
	if d.bound != nil {
		d.bound.Stop()
		d.bound = nil
	}
	rep := d.replica
	if rep == nil || d.flight == 0 {
		return
	}
	for _, it := range rep.sent {
		if it.phase == phaseMemory {
			rep.spilling++
			d.appendLocked(it)
		}
	}
	kept := rep.out[:0]
	for _, it := range rep.out {
		if it.phase == phaseMemory {
			d.appendLocked(it)
		} else {
			kept = append(kept, it)
		}
	}
	clear(rep.out[len(kept):])
	rep.out = kept
	d.flight, d.flightBytes = 0, 0
}

// appendLocked hands an item to the committer. Its place in the mailbox is
// fixed here, by the order of calls under the device's lock.
func (d *device) appendLocked(it *item) {
	it.phase = phaseAppending
	d.pending++
	d.relay.commit.add(it)
}

// appended is called by the committer with the outcome of an append. It reports
// whether the device may be connected to another node, which is to be woken.
func (d *device) appended(it *item, row int64, err error) (elsewhere bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.release()
	d.pending--
	rep := d.replica
	onConn := rep != nil && it.sentOn == rep // the device has it, or will, on this connection
	if onConn {
		rep.spilling--
	}
	switch {
	case err == nil:
		it.acceptLocked()
		d.relay.counters.stored.Add(1)
	case errors.Is(err, store.ErrNotFound):
		it.answerLocked(wire.Reason_REASON_DEVICE_GONE, true, 0)
	case errors.Is(err, store.ErrFull):
		it.answerLocked(wire.Reason_REASON_QUOTA, false, retryQuota)
	case errors.Is(err, errOrder):
		it.answerLocked(wire.Reason_REASON_ORDER, false, 0)
	default:
		it.answerLocked(wire.Reason_REASON_UNAVAILABLE, false, retryStore)
	}
	acked := it.phase == phaseDone
	it.phase = phaseDone
	it.mail.Ciphertext = nil
	if err == nil && row != 0 {
		switch {
		case acked:
			// The acknowledgement came during the commit: delete after it.
			d.deleteLocked(row)
		case onConn:
			it.phase, it.mail.Row = phaseStored, row
			rep.rows++
			rep.skip[row] = struct{}{}
		}
	}
	if rep != nil {
		rep.more = true
		d.feedLocked()
	}
	return rep == nil && err == nil
}

// deleteLocked has a row deleted that the device has committed.
func (d *device) deleteLocked(row int64) {
	if d.acked == nil {
		d.acked = make(map[int64]struct{})
	}
	d.acked[row] = struct{}{}
	d.retain()
	d.relay.delete.add(d, row)
}

// deleted is called by the deleter when rows are gone.
func (d *device) deleted(rows []int64) {
	d.mu.Lock()
	for _, row := range rows {
		delete(d.acked, row)
		// A page that is being read may still show the row.
		if rep := d.replica; rep != nil && rep.feeding && row > rep.fed {
			rep.skip[row] = struct{}{}
		}
	}
	d.mu.Unlock()
	for range rows {
		d.release()
	}
}

// mailboxGrew is a hint that rows came without this relay's doing.
func (d *device) mailboxGrew() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.replica != nil {
		d.replica.more = true
		d.feedLocked()
	}
}
