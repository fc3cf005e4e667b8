package relay

import (
	"errors"
	"time"

	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

const (
	// retryStore and retryQuota are the retry delays sent with a refusal when the store fails and when a mailbox is
	// full.
	retryStore = time.Second
	retryQuota = 5 * time.Second
)

// deliver takes over an admitted envelope and one reference to its device. It hands the envelope over from memory only
// if mutual is set.
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
			// This bounds the whole queue; mail waiting for its acknowledgement alone cannot fill it.
			it.finishLocked(wire.Reason_REASON_UNAVAILABLE, false, retryStore)
		default:
			it.handed = d.relay.since()
			rep.online++
			rep.push(it)
		}
	case it.from.pairs.outdated(it):
		// An earlier envelope of the pair was refused after this one was admitted.
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

// finishLocked answers an item that is not stored and releases it.
func (it *item) finishLocked(reason wire.Reason, final bool, retry time.Duration) {
	it.answerLocked(reason, final, retry)
	it.phase = phaseDone
	it.mail.Ciphertext = nil
	it.to.release()
}

// armLocked starts the timer that bounds how long the oldest envelope in flight may stay unacknowledged, unless it is
// running.
func (d *device) armLocked(wait time.Duration) {
	if d.bound == nil {
		d.bound = time.AfterFunc(wait, d.boundPassed)
	}
}

// boundPassed leaves direct mode if the oldest envelope in flight has waited too long. The timer does not move with
// each envelope: if the oldest has time left, the timer is set for the rest.
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

// leaveDirectLocked switches to mailbox mode. Envelopes in flight from memory are appended in order. Those not written
// to the connection yet are taken off its queue and reach it through the mailbox.
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

// appendLocked hands an item to the committer. The order of these calls under the device's lock is the order in the
// mailbox.
func (d *device) appendLocked(it *item) {
	it.phase = phaseAppending
	d.pending++
	d.relay.commit.add(it)
}

// appended receives the result of an append from the committer. It reports whether the device may be connected to
// another node, which must then be woken.
func (d *device) appended(it *item, row int64, err error) (elsewhere bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.release()
	d.pending--
	rep := d.replica
	onConn := rep != nil && it.sentOn == rep // the device has it, or will get it, on this connection
	if onConn {
		rep.spilling--
	}
	switch {
	case err == nil:
		d.relay.passed(Stored, &it.mail, 0, d.relay.now())
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
			// The acknowledgement came during the commit, so the row can go.
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

// deleteLocked queues the deletion of a row that the device has acknowledged.
func (d *device) deleteLocked(row int64) {
	if d.acked == nil {
		d.acked = make(map[int64]struct{})
	}
	d.acked[row] = struct{}{}
	d.retain()
	d.relay.delete.add(d, row)
}

// deleted is called by the deleter once the rows are deleted.
func (d *device) deleted(rows []int64) {
	d.mu.Lock()
	for _, row := range rows {
		delete(d.acked, row)
		// The feeder may be reading a page that still holds the row.
		if rep := d.replica; rep != nil && rep.feeding && row > rep.fed {
			rep.skip[row] = struct{}{}
		}
	}
	d.mu.Unlock()
	for range rows {
		d.release()
	}
}

// mailboxGrew is a hint from the bus that another node has appended rows.
func (d *device) mailboxGrew() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.replica != nil {
		d.replica.more = true
		d.feedLocked()
	}
}
