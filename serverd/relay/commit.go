package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"secmsg/crypto/key"
	"secmsg/serverd/store"
)

const (
	// commitItems and commitBytes bound one group of appends.
	commitItems = 1000
	commitBytes = 4 << 20
	// deleteRows bounds one transaction of the deleter, because appends wait for it.
	deleteRows = 1000
	// deleteRetry is how long the deleter waits after a store error.
	deleteRetry = time.Second
)

// errOrder refuses an envelope because an earlier one of its pair was refused.
var errOrder = errors.New("an earlier envelope of the pair was refused")

// committer appends envelopes to mailboxes in the order of add, in groups: while one group commits, the next one
// gathers.
type committer struct {
	relay *Relay
	some  chan struct{} // buffered, capacity 1: signals that the queue is not empty

	mu       sync.Mutex // guards below
	queue    []*item
	added    uint64
	done     uint64
	barriers []barrier
}

// barrier's channel is closed once the first `after` items are committed or refused.
type barrier struct {
	after uint64
	ch    chan struct{}
}

func (c *committer) init(r *Relay) {
	c.relay = r
	c.some = make(chan struct{}, 1)
}

// add queues an item. The caller holds the device's lock, which fixes the item's place in the mailbox.
func (c *committer) add(it *item) {
	c.mu.Lock()
	c.queue = append(c.queue, it)
	c.added++
	c.mu.Unlock()
	select {
	case c.some <- struct{}{}:
	default:
	}
}

// barrier waits until every item added so far is committed or refused.
func (c *committer) barrier() {
	c.mu.Lock()
	if c.done == c.added {
		c.mu.Unlock()
		return
	}
	b := barrier{after: c.added, ch: make(chan struct{})}
	c.barriers = append(c.barriers, b)
	c.mu.Unlock()
	<-b.ch
}

// take removes the next group from the queue.
func (c *committer) take() []*item {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, 0
	for n < len(c.queue) && n < commitItems && bytes < commitBytes {
		bytes += c.queue[n].size
		n++
	}
	group := c.queue[:n:n]
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil
	}
	return group
}

func (c *committer) finished(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += uint64(n)
	kept := c.barriers[:0]
	for _, b := range c.barriers {
		if b.after <= c.done {
			close(b.ch)
		} else {
			kept = append(kept, b)
		}
	}
	c.barriers = kept
}

// run commits groups until ctx ends. By then nobody calls add.
func (c *committer) run(ctx context.Context) {
	for {
		select {
		case <-c.some:
		case <-ctx.Done():
			return
		}
		for group := c.take(); len(group) > 0; group = c.take() {
			c.commit(group)
			c.finished(len(group))
		}
	}
}

// commit appends a group. It leaves out an envelope whose pair has had a refusal since the envelope was admitted:
// stored, it would overtake the refused one.
func (c *committer) commit(group []*item) {
	mails := make([]store.Mail, 0, len(group))
	refs := make([]*store.Mail, 0, len(group))
	items := make([]*item, 0, len(group))
	for _, it := range group {
		if it.from != nil && it.from.pairs.outdated(it) {
			it.to.appended(it, 0, errOrder)
			continue
		}
		it.to.mu.Lock()
		mails = append(mails, it.mail)
		it.to.mu.Unlock()
		refs = append(refs, &mails[len(mails)-1])
		items = append(items, it)
	}
	if len(items) == 0 {
		return
	}
	results, err := c.relay.store.Append(context.Background(), refs, c.relay.limits.Mailbox)
	if err != nil {
		c.relay.log.Error("append to mailboxes", "envelopes", len(items), "error", err)
	}
	for i, it := range items {
		if err != nil {
			it.to.appended(it, 0, err)
			continue
		}
		id := it.to.id
		if !it.to.appended(it, refs[i].Row, results[i]) {
			continue
		}
		if err := c.relay.bus.Wake(context.Background(), id); err != nil {
			c.relay.log.Warn("bus", "error", err) // the hint is lost; the device gets the mail when it next connects
		}
	}
}

// deleter deletes acknowledged rows in groups. A row that cannot be deleted stays queued; at worst its device receives
// it a second time.
type deleter struct {
	relay *Relay
	some  chan struct{}

	mu   sync.Mutex // guards below
	rows map[*device][]int64
}

func (c *deleter) init(r *Relay) {
	c.relay = r
	c.some = make(chan struct{}, 1)
	c.rows = make(map[*device][]int64)
}

// add queues a row. The row holds a reference to its device until it is deleted.
func (c *deleter) add(d *device, row int64) {
	c.mu.Lock()
	c.rows[d] = append(c.rows[d], row)
	c.mu.Unlock()
	select {
	case c.some <- struct{}{}:
	default:
	}
}

func (c *deleter) take() map[*device][]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := c.rows
	c.rows = make(map[*device][]int64)
	return rows
}

// run deletes rows until ctx ends, then tries once more with the rows still queued.
func (c *deleter) run(ctx context.Context) {
	for {
		select {
		case <-c.some:
		case <-ctx.Done():
			c.delete(c.take())
			return
		}
		if c.delete(c.take()) {
			continue
		}
		select {
		case <-time.After(deleteRetry):
		case <-ctx.Done():
		}
	}
}

// delete deletes rows and queues those again that failed. It returns false if any failed.
func (c *deleter) delete(rows map[*device][]int64) bool {
	group, n, ok := make(map[*device][]int64), 0, true
	for d, list := range rows {
		for part := range slices.Chunk(list, deleteRows) {
			if n+len(part) > deleteRows {
				ok = c.deleteGroup(group) && ok
				clear(group)
				n = 0
			}
			group[d] = part // a device's second part begins a new group
			n += len(part)
		}
	}
	return c.deleteGroup(group) && ok
}

func (c *deleter) deleteGroup(rows map[*device][]int64) bool {
	if len(rows) == 0 {
		return true
	}
	byID := make(map[key.DeviceID][]int64, len(rows))
	for d, list := range rows {
		byID[d.id] = list
	}
	if err := c.relay.store.Delete(context.Background(), byID); err != nil {
		c.relay.log.Error("delete from mailboxes", "error", err)
		for d, list := range rows {
			for _, row := range list {
				c.add(d, row)
			}
		}
		return false
	}
	for d, list := range rows {
		d.deleted(list)
	}
	return true
}
