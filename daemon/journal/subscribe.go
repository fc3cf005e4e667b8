package journal

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

const (
	// defaultWindow is the number of events that a consumer may leave unacknowledged.
	defaultWindow = 256
	// maxWindow bounds the window that a consumer may set.
	maxWindow = 10_000
	// readBatch is the number of events read from the store at once. With texts of 64 KiB
	// it bounds the memory of a slow subscriber.
	readBatch = 64
	// readyEvents is the number of events buffered for a reader, so that it gets those of a
	// burst together.
	readyEvents = 16
	// passAfter is the number of events excluded by a filter after which the cursor is
	// moved past them. Fewer are passed when the subscription ends.
	passAfter = 256
)

// Filter selects the events of a subscription, with names resolved.
type Filter struct {
	Accounts []store.AccountID // empty: all
	Peers    []store.PeerID    // empty: all, unless there are Unmet
	Unmet    []Unmet           // addresses of unknown peers
}

// Unmet is an address in a filter for which the account has no peer yet.
type Unmet struct {
	Account store.AccountID
	Address string // user@domain
}

// nobody is a peer id that does not occur in the store.
const nobody store.PeerID = -1

// Subscription is a stream of events in the order of seq. It implements
// localapi.Subscription.
type Subscription struct {
	// constant
	journal  *Journal
	filter   store.EventFilter // owned by run, as is unmet
	unmet    []Unmet
	consumer string
	window   int
	cancel   context.CancelFunc
	events   chan local.Event
	wake     chan struct{}
	done     chan struct{}

	mu      sync.Mutex
	err     error   // why it ended; guarded by mu
	cursor  int64   // acknowledged by the consumer; guarded by mu
	pending []int64 // pushed and not acknowledged; guarded by mu
	scanned int64   // everything up to it was pushed or excluded by the filter; guarded by mu
}

// defaultTypes are the types of events for a subscriber that names none
// (cmd/secmsg/COMMANDS.md, listen).
func defaultTypes() []string {
	return []string{local.TypeMessage, local.TypeCall, local.TypeFile, local.TypeIdentity}
}

func checkTypes(types []string) ([]string, error) {
	if len(types) == 0 {
		return defaultTypes(), nil
	}
	for _, t := range types {
		switch t {
		case local.TypeMessage, local.TypeReceipt, local.TypeCall, local.TypeFile, local.TypeFileState, local.TypeIdentity,
			local.TypePresence, local.TypeSystem:
		default:
			return nil, local.Errorf(local.CodeUsage, "%q is not a type of event", t)
		}
	}
	return types, nil
}

// Subscribe starts a subscription. It returns cursor and newest seq of the same moment. All
// matching events after the cursor follow. A consumer has one subscription: a new one ends
// the previous one. The subscription ends with ctx, Close or an error. The caller always
// calls Close.
func (j *Journal) Subscribe(ctx context.Context, f Filter, p local.SubscribeParams) (local.Subscribed, *Subscription, error) {
	types, err := checkTypes(p.Types)
	if err != nil {
		return local.Subscribed{}, nil, err
	}
	if err := checkRetries(p); err != nil {
		return local.Subscribed{}, nil, err
	}
	var out local.Subscribed
	open := func(tx *store.Tx) (err error) {
		if out.Newest, err = tx.NewestSeq(); err != nil {
			return err
		}
		if p.Consumer != "" {
			out.Cursor, err = j.openConsumer(tx, p)
		} else {
			out.Cursor, err = j.position(tx, p.Since)
		}
		return err
	}
	if p.Consumer != "" {
		err = j.store.Update(ctx, open)
	} else {
		err = j.store.View(ctx, open)
	}
	if err != nil {
		return local.Subscribed{}, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Subscription{
		journal: j, unmet: f.Unmet, consumer: p.Consumer, window: window(p), cancel: cancel, cursor: out.Cursor,
		filter: store.EventFilter{After: out.Cursor, Accounts: f.Accounts, Peers: f.Peers, Types: types,
			Outgoing: p.Outgoing, Limit: readBatch},
		events: make(chan local.Event, readyEvents), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if len(s.unmet) > 0 {
		s.filter.Peers = append(slices.Clone(f.Peers), nobody) // so that an empty list does not match everybody
	}
	if err := j.attach(s); err != nil {
		cancel()
		return local.Subscribed{}, nil, err
	}
	go s.run(ctx)
	return out, s, nil
}

// window returns the maximum number of unacknowledged events; 0 without a consumer, which
// does not acknowledge.
func window(p local.SubscribeParams) int {
	switch {
	case p.Consumer == "":
		return 0
	case p.Window <= 0:
		return defaultWindow
	}
	return min(p.Window, maxWindow)
}

func (j *Journal) attach(s *Subscription) error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return errClosed
	}
	var former *Subscription
	if s.consumer != "" {
		former = j.attached[s.consumer]
		j.attached[s.consumer] = s
	}
	j.subs[s] = struct{}{}
	j.mu.Unlock()
	if former != nil {
		former.end(local.Errorf(local.CodeUsage, "another \"listen --consumer %s\" has taken over", s.consumer).
			WithHint("give each command a different --consumer NAME"))
	}
	return nil
}

func (j *Journal) detach(s *Subscription) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.subs, s)
	if s.consumer != "" && j.attached[s.consumer] == s {
		delete(j.attached, s.consumer)
	}
}

// Events returns the stream. It is closed when the subscription ends.
func (s *Subscription) Events() <-chan local.Event { return s.events }

// Err returns why the subscription ended: nil after Close or the end of its context.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the subscription and waits for its goroutine.
func (s *Subscription) Close() {
	s.end(nil)
	<-s.done
}

// end stops the subscription without waiting. The first reason is kept.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.cancel()
}

func (s *Subscription) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// acked removes acknowledged events from the window.
func (s *Subscription) acked(cursor int64) {
	s.mu.Lock()
	s.cursor = max(s.cursor, cursor)
	for len(s.pending) > 0 && s.pending[0] <= s.cursor {
		s.pending = s.pending[1:]
	}
	s.mu.Unlock()
	s.poke()
}

// run reads by seq and pushes until the context ends.
func (s *Subscription) run(ctx context.Context) {
	defer close(s.done)
	defer s.finish()
	defer s.journal.detach(s)
	defer s.cancel()
	defer s.pass(1)
	for {
		rows, newest, err := s.read(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.end(err)
			}
			return
		}
		for _, row := range rows {
			if !s.push(ctx, row) {
				return
			}
		}
		if len(rows) == readBatch {
			continue
		}
		// Skip the events excluded by the filter in the next read.
		s.filter.After = max(s.filter.After, newest)
		s.mu.Lock()
		s.scanned = newest
		s.mu.Unlock()
		s.pass(passAfter)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}

// finish closes the stream and drops buffered events: another subscription of the consumer
// may deliver them by now.
func (s *Subscription) finish() {
	for {
		select {
		case <-s.events:
		default:
			close(s.events)
			return
		}
	}
}

// read returns the next events and the newest seq of the same moment.
func (s *Subscription) read(ctx context.Context) (rows []store.Event, newest int64, err error) {
	err = s.journal.store.View(ctx, func(tx *store.Tx) error {
		if newest, err = tx.NewestSeq(); err != nil {
			return err
		}
		if err := s.meet(tx); err != nil {
			return err
		}
		rows, err = tx.Events(s.filter)
		return err
	})
	return rows, newest, err
}

// meet resolves addresses that have become known.
func (s *Subscription) meet(tx *store.Tx) error {
	var unmet []Unmet
	for _, u := range s.unmet {
		id, err := tx.FindPeer(u.Account, u.Address)
		switch {
		case err == nil:
			s.filter.Peers = append(s.filter.Peers, id)
		case errors.Is(err, store.ErrNotFound):
			unmet = append(unmet, u)
		default:
			return err
		}
	}
	s.unmet = unmet
	return nil
}

// pass moves the consumer's cursor past events excluded by the filter, if there are at
// least n and everything that was pushed is acknowledged. A filter belongs to the
// subscription, while the cursor belongs to the consumer and passes everything.
func (s *Subscription) pass(n int64) {
	if s.consumer == "" {
		return
	}
	s.mu.Lock()
	to := s.scanned
	due := len(s.pending) == 0 && to-s.cursor >= n
	if due {
		s.cursor = to
	}
	s.mu.Unlock()
	if !due {
		return
	}
	err := s.journal.store.Update(context.Background(), func(tx *store.Tx) error { return tx.AckConsumer(s.consumer, to, 0) })
	if err != nil {
		s.journal.logger.Debug("move the cursor over events that do not match", "consumer", s.consumer, "error", err)
	}
}

// push passes one event to the reader. It waits for the window and for the reader, and
// returns false when the subscription ends.
func (s *Subscription) push(ctx context.Context, row store.Event) bool {
	e := s.journal.decode(row)
	waited := false
	for !s.room() {
		waited = true
		select {
		case <-ctx.Done():
			return false
		case <-s.wake:
		}
	}
	if s.note(row.Seq) {
		select {
		case <-ctx.Done():
			return false
		case s.events <- e:
			s.logShown(e)
		}
	}
	s.filter.After = row.Seq
	if waited {
		s.poke() // the consumed wake-up may have been for new events
	}
	return true
}

// logShown logs at level debug that a message was handed to a reader: the last station of its way, under the keys that
// daemon/history uses.
func (s *Subscription) logShown(e local.Event) {
	if e.Message != nil && s.journal.logger.Enabled(context.Background(), slog.LevelDebug) {
		s.journal.logger.Debug("message", "message", e.ID, "peer", e.Peer, "state", "shown", "account", e.Account, "consumer", s.consumer)
	}
}

// room reports whether one more event may be pushed.
func (s *Subscription) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window == 0 || len(s.pending) < s.window
}

// note adds an event to the window before it is pushed. It returns false if the event is
// already acknowledged: an acknowledgement may go beyond the pushed events. Such an event
// would stay in the window forever.
func (s *Subscription) note(seq int64) bool {
	if s.window == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.cursor {
		return false
	}
	s.pending = append(s.pending, seq)
	return true
}

// owes reports whether an event before seq was pushed and is not acknowledged.
func (s *Subscription) owes(seq int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0 && s.pending[0] < seq
}
