package relay

import (
	"context"
	"time"
)

const (
	// feedRows bounds the unacknowledged mailbox rows on a connection.
	feedRows = 512
	// feedBytes bounds one page read from a mailbox, and with it the memory for a slow device.
	feedBytes = 128 << 10
	// feedShare is the divisor of Limits.MemoryBytes for the pages of all devices together, when all reconnect at once.
	// A page never gets smaller than leastFeedBytes.
	feedShare      = 4
	leastFeedBytes = 8 << 10
	// feedRetry is how long the feeder waits after a store error.
	feedRetry = time.Second
)

// feedLocked starts the feeder if the mailbox may hold rows for the connection and the connection has room.
func (d *device) feedLocked() {
	rep := d.replica
	if rep == nil || rep.feeding {
		return
	}
	if !rep.more {
		d.enterDirectLocked()
		return
	}
	if !rep.roomLocked() {
		return
	}
	rep.feeding = true
	// The count is not zero here: the connection's reader is counted, and it detaches under d.mu before it leaves.
	d.relay.conns.Add(1)
	go d.feed(rep)
}

// roomLocked reports whether the connection can take another page. It cannot while envelopes already on the connection
// are being appended: until the append reports its row, the feeder could not tell that row from a new one.
func (p *replica) roomLocked() bool {
	return p.spilling == 0 && len(p.out) == 0 && len(p.sent) < feedRows
}

// enterDirectLocked switches to direct mode if the mailbox is drained: the last read found nothing,
// nothing was appended since, and all rows are acknowledged.
func (d *device) enterDirectLocked() {
	rep := d.replica
	if !d.direct && d.pending == 0 && rep.rows == 0 && rep.spilling == 0 {
		d.direct = true
	}
}

// pageBytes is the page size for one device, by the number of devices that may have a page.
func (r *Relay) pageBytes() int {
	each := r.limits.MemoryBytes / feedShare / max(1, r.counters.replicas.Load())
	return int(min(feedBytes, max(leastFeedBytes, each)))
}

// feed is the feeder goroutine. It puts the mailbox's rows on the connection.
func (d *device) feed(rep *replica) {
	defer d.relay.conns.Done()
	for d.feedPage(rep) {
		rep.sock.wake()
	}
}

// feedPage reads one page. It returns false when the feeder should stop.
func (d *device) feedPage(rep *replica) bool {
	d.mu.Lock()
	if d.replica != rep || !rep.more || !rep.roomLocked() {
		rep.feeding = false
		if d.replica == rep && !rep.more {
			d.enterDirectLocked()
		}
		d.mu.Unlock()
		return false
	}
	rep.more = false
	after, limit := rep.fed, feedRows-len(rep.sent)
	d.mu.Unlock()

	mails, err := d.relay.store.Read(context.Background(), d.id, after, limit, d.relay.pageBytes())

	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.replica != rep:
		rep.feeding = false
		return false
	case err != nil:
		d.relay.log.Warn("read mailbox", "error", err)
		rep.more = true
		rep.retry = time.AfterFunc(feedRetry, func() { d.feedAgain(rep) })
		return false // still feeding, until feedAgain
	case rep.spilling > 0:
		rep.more = true
		return true // the page may hold rows that are on the connection; feedPage ends there
	}
	for _, m := range mails {
		rep.fed = m.Row
		if _, skip := rep.skip[m.Row]; skip {
			delete(rep.skip, m.Row)
			continue
		}
		if _, skip := d.acked[m.Row]; skip {
			continue
		}
		rep.rows++
		rep.out = append(rep.out, &item{to: d, mail: m, size: len(m.Ciphertext), phase: phaseStored})
	}
	switch {
	case len(mails) > 0:
		rep.more = true
	case !rep.more:
		clear(rep.skip) // the mailbox holds none of these rows
	}
	return true
}

// feedAgain ends the pause after a store error.
func (d *device) feedAgain(rep *replica) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rep.feeding = false
	if d.replica == rep {
		d.feedLocked()
	}
}
