package relay

import (
	"context"
	"time"
)

const (
	// feedRows bounds the rows of a mailbox that are on a connection and not acknowledged.
	feedRows = 512
	// feedBytes bounds one page that is read from a mailbox, and so what waits in memory for one slow device.
	feedBytes = 128 << 10
	// feedShare is the part of Limits.MemoryBytes that pages may take when all
	// devices come back at once, slow ones too; leastFeedBytes is a page then.
	feedShare      = 4
	leastFeedBytes = 8 << 10
	// feedRetry is how long the feeder waits after the store failed.
	feedRetry = time.Second
)

// feedLocked starts the feeder if there may be rows that the connection lacks and it has room.
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
	// The connection's reader is counted and detaches under d.mu before it
	// leaves, so the count is not zero.
	d.relay.conns.Add(1)
	go d.feed(rep)
}

// roomLocked reports whether the connection can take another page. While
// envelopes that are on the connection already are being appended, their rows
// cannot be told from new ones, so the feeder waits.
func (p *replica) roomLocked() bool {
	return p.spilling == 0 && len(p.out) == 0 && len(p.sent) < feedRows
}

// enterDirectLocked goes to direct mode if the mailbox is drained: the last read
// found nothing, nothing was appended since, and all rows are acknowledged.
func (d *device) enterDirectLocked() {
	rep := d.replica
	if !d.direct && d.pending == 0 && rep.rows == 0 && rep.spilling == 0 {
		d.direct = true
	}
}

// pageBytes is the size of one device's page, by how many devices may have one.
func (r *Relay) pageBytes() int {
	each := r.limits.MemoryBytes / feedShare / max(1, r.counters.replicas.Load())
	return int(min(feedBytes, max(leastFeedBytes, each)))
}

// feed is the feeder goroutine: it puts the mailbox's rows on the connection.
func (d *device) feed(rep *replica) {
	defer d.relay.conns.Done()
	for d.feedPage(rep) {
		rep.sock.wake()
	}
}

// feedPage reads one page; it reports whether there is more to do.
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
		clear(rep.skip) // none of these rows is left
	}
	return true
}

// feedAgain ends the pause after a failed read.
func (d *device) feedAgain(rep *replica) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rep.feeding = false
	if d.replica == rep {
		d.feedLocked()
	}
}
