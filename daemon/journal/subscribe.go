package journal

import (
	"context"
	"errors"
	"slices"
	"sync"

	"secmsg/daemon/store"
	"secmsg/rpc/local"
)

const (
	// defaultWindow is how many events a consumer may leave unacknowledged.
	defaultWindow = 256
	// maxWindow bounds what a consumer may ask for.
	maxWindow = 10_000
	// readBatch is how many events are read from the store at once: with texts
	// of 64 KiB it bounds what a slow subscriber holds in memory.
	readBatch = 64
	// readyEvents is how many events lie ready for a reader, so that it takes
	// those of a burst together.
	readyEvents = 16
	// passAfter is how many events a filter leaves out before the cursor is
	// moved over them; what is less is moved when the subscription ends.
	passAfter = 256
)

// Filter is what of the journal a subscription wants, with names resolved.
type Filter struct {
	Accounts []store.AccountID // empty: all
	Peers    []store.PeerID    // empty: all, unless there are Unmet
	Unmet    []Unmet           // peers that nothing is known of yet
}

// Unmet is an address that a filter names and no peer of the account has yet.
type Unmet struct {
	Account store.AccountID
	Address string // user@domain
}

// nobody is a peer id that no row has.
const nobody store.PeerID = -1

// Subscription is a stream of events in the order of seq. It implements
// localapi.Subscription.
type Subscription struct {
	// constant
	journal  *Journal
	filter   store.EventFilter // owned by run, as unmet is
	unmet    []Unmet
	consumer string
	window   int
	cancel   context.CancelFunc
	events   chan local.Event
	wake     chan struct{}
	done     chan struct{}

	mu      sync.Mutex
	err     error   // guarded by mu; why it ended
	cursor  int64   // guarded by mu; what the consumer acknowledged
	pending []int64 // guarded by mu; pushed to the consumer and not acknowledged
	scanned int64   // guarded by mu; everything up to it was pushed or left out by the filter
}

// defaultTypes are shown when a subscriber names none (cmd/secmsg/COMMANDS.md, listen).
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
			return nil, local.Errorf(local.CodeUsage, "no events have the type %q", t)
		}
	}
	return types, nil
}

// Subscribe starts a subscription. It answers the cursor and the newest seq of
// one moment; every event after the cursor that the filter chooses follows. A
// consumer has one subscription: a newer one ends the older. The subscription
// ends with ctx, with Close or with an error; the caller always calls Close.
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
		return local.Subscribed{}, nil, toLocal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Subscription{
		journal: j, unmet: f.Unmet, consumer: p.Consumer, window: window(p), cancel: cancel, cursor: out.Cursor,
		filter: store.EventFilter{After: out.Cursor, Accounts: f.Accounts, Peers: f.Peers, Types: types,
			Outgoing: p.Outgoing, Limit: readBatch},
		events: make(chan local.Event, readyEvents), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if len(s.unmet) > 0 {
		s.filter.Peers = append(slices.Clone(f.Peers), nobody) // without it the filter would choose everybody
	}
	if err := j.attach(s); err != nil {
		cancel()
		return local.Subscribed{}, nil, err
	}
	go s.run(ctx)
	return out, s, nil
}

// window bounds what is pushed before it is acknowledged; without a consumer
// nobody acknowledges.
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
		former.end(local.Errorf(local.CodeUsage, "another command listens as the consumer %q now", s.consumer).
			WithHint("give each its own --consumer NAME"))
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

// Events returns the stream; it is closed when the subscription ends.
func (s *Subscription) Events() <-chan local.Event { return s.events }

// Err tells why the subscription ended: nil after Close or the end of its context.
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

// end stops the subscription without waiting. The first reason counts.
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

// acked opens the window for what was acknowledged.
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
				s.end(toLocal(err))
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
		// The next look begins behind what the filter left out, too.
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

// finish closes the stream. What lies ready is taken back: another subscription
// of the consumer may show it by now.
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

// meet looks whether those who were unknown have come.
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

// pass moves the consumer's cursor over events that the filter left out, if
// everything that was pushed is acknowledged and there are at least n of them:
// a filter belongs to the call, the cursor passes over what does not match.
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
		s.journal.logger.Debug("move cursor over what does not match", "consumer", s.consumer, "error", err)
	}
}

// push hands one event to the reader, waiting for the window and for the
// reader. It reports false when the subscription ends.
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
		}
	}
	s.filter.After = row.Seq
	if waited {
		s.poke() // a wake-up that was taken here may have been for new events
	}
	return true
}

// room reports whether one more event may be pushed.
func (s *Subscription) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window == 0 || len(s.pending) < s.window
}

// note records that an event is pushed. It reports false for what is
// acknowledged already: an acknowledgement may pass what was not pushed yet,
// which is then done, and would never be taken out of the window again.
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
