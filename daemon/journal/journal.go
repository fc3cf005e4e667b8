package journal

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

// Defaults of Options (rpc/DELIVERY.md, "Limits").
const (
	// DefaultRetention is how long events are kept.
	DefaultRetention = 30 * 24 * time.Hour
	// DefaultEvents is the maximum number of events kept.
	DefaultEvents = 100_000
)

// Options are the optional parameters of New. The zero value is usable.
type Options struct {
	Logger    *slog.Logger
	Now       func() time.Time // wall clock for events without a time; nil: time.Now
	Retention time.Duration    // 0: DefaultRetention
	Events    int              // 0: DefaultEvents
	Attempts  int              // attempts of a handler for one event, unless its consumer sets a number; 0: local.DefaultRetry plus one
	DeadAfter time.Duration    // how long a handler is retried, likewise; 0: local.DefaultDeadLetterAfter
}

// Journal appends events and serves subscriptions.
type Journal struct {
	// constant
	store     *store.Store
	logger    *slog.Logger
	now       func() time.Time
	retention time.Duration
	events    int
	retries   int           // for consumers without their own number
	deadAfter time.Duration // for consumers without their own time

	unreadable atomic.Int64

	mu       sync.Mutex
	subs     map[*Subscription]struct{} // guarded by mu
	attached map[string]*Subscription   // by consumer; guarded by mu
	closed   bool                       // guarded by mu

	ackMu sync.Mutex
	acks  []*ack // in the order of arrival, starting with those being written; guarded by ackMu
}

// New returns a journal on a store.
func New(st *store.Store, o Options) *Journal {
	j := &Journal{
		store: st, logger: o.Logger, now: o.Now, retention: o.Retention, events: o.Events, retries: o.Attempts - 1, deadAfter: o.DeadAfter,
		subs: make(map[*Subscription]struct{}), attached: make(map[string]*Subscription),
	}
	if j.logger == nil {
		j.logger = slog.New(slog.DiscardHandler)
	}
	if j.now == nil {
		j.now = time.Now
	}
	if j.retention <= 0 {
		j.retention = DefaultRetention
	}
	if j.events <= 0 {
		j.events = DefaultEvents
	}
	if j.deadAfter <= 0 {
		j.deadAfter = local.DefaultDeadLetterAfter
	}
	if j.retries < 0 {
		j.retries = local.DefaultRetry
	}
	return j
}

// Append appends an event in a transaction and returns its seq. It fills in an empty ID and
// empty times. Subscribers are woken after the commit.
func (j *Journal) Append(tx *store.Tx, account store.AccountID, e local.Event) (int64, error) {
	seq, err := tx.NextSeq()
	if err != nil {
		return 0, fmt.Errorf("append event: %w", err)
	}
	if e.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return 0, fmt.Errorf("append event: %w", err)
		}
		e.ID = id.String()
	}
	if e.Received.IsZero() {
		e.Received.Time = j.now()
	}
	if e.Time.IsZero() {
		e.Time = e.Received
	}
	e.Seq = seq
	row := store.Event{
		Seq: seq, Account: account, ID: e.ID, Type: e.Type, Direction: direction(e.Direction),
		CreatedMS: j.store.ProfileTime().UnixMilli(),
	}
	if e.Peer != "" {
		if row.Peer, err = tx.Peer(account, e.Peer); err != nil {
			return 0, fmt.Errorf("append event: %w", err)
		}
	}
	if row.Body, err = json.Marshal(e); err != nil {
		return 0, fmt.Errorf("append event: %w", err)
	}
	if err := tx.InsertEvent(row); err != nil {
		return 0, fmt.Errorf("append event: %w", err)
	}
	if seq%j.sweepEvery() == 0 {
		if err := j.Sweep(tx); err != nil {
			return 0, err
		}
	}
	tx.OnCommit(j.wake)
	return seq, nil
}

func direction(d string) int {
	switch d {
	case local.DirectionIn:
		return store.In
	case local.DirectionOut:
		return store.Out
	}
	return 0
}

// wake wakes all subscriptions.
func (j *Journal) wake() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := range j.subs {
		s.poke()
	}
}

// sweepEvery is the number of events after which Append sweeps: a flood of events must not
// fill the disk until the next regular sweep.
func (j *Journal) sweepEvery() int64 { return max(int64(j.events)/4, 1) }

// Sweep deletes events beyond the retention time or the maximum number.
func (j *Journal) Sweep(tx *store.Tx) error {
	if _, err := tx.DeleteEvents(j.store.ProfileTime().Add(-j.retention).UnixMilli(), j.events); err != nil {
		return fmt.Errorf("sweep journal: %w", err)
	}
	return nil
}

// Close ends all subscriptions and waits for them.
func (j *Journal) Close() {
	j.mu.Lock()
	j.closed = true
	subs := make([]*Subscription, 0, len(j.subs))
	for s := range j.subs {
		subs = append(subs, s)
	}
	j.mu.Unlock()
	for _, s := range subs {
		s.end(errClosed)
		<-s.done
	}
}

// errClosed ends subscriptions when the daemon stops.
var errClosed = local.Errorf(local.CodeNoDaemon, "the daemon is stopping")

// decode decodes the event of a row. An unreadable one is counted and replaced by a system
// event with the same seq and id: one bad row must not block the events after it.
func (j *Journal) decode(row store.Event) local.Event {
	known := local.Event{
		Seq: row.Seq, ID: row.ID, Type: row.Type, Received: local.Time{Time: time.UnixMilli(row.CreatedMS)},
	}
	if row.Damaged != nil {
		j.passOver(row, row.Damaged)
		e := local.Unreadable(known)
		e.System.Text = "an event of type " + row.Type + " is damaged on disk and cannot be shown"
		return e
	}
	e, err := local.DecodeEvent(row.Body)
	if err != nil {
		j.passOver(row, err)
		known.Account, known.Peer = e.Account, e.Peer
		return local.Unreadable(known)
	}
	e.Seq = row.Seq
	return e
}

// passOver counts an unreadable row.
func (j *Journal) passOver(row store.Event, err error) {
	j.unreadable.Add(1)
	j.logger.Error("an event cannot be read", "seq", row.Seq, "type", row.Type, "error", err)
}

// Unreadable returns the number of unreadable events read since the start.
func (j *Journal) Unreadable() int64 { return j.unreadable.Load() }
