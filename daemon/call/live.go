package call

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"secmsg/rpc/local"
)

const (
	// opQueue bounds the pending operations of a connection.
	opQueue = 64
	// opTimeout bounds the opening of sources and each operation of a connection.
	opTimeout = 15 * time.Second
	// drainFor is the delay between the end of the last source and the hangup: the peer's
	// jitter buffer is still playing.
	drainFor = time.Second
	// ownerBuffer is the number of events buffered for the caller that waits for a call.
	ownerBuffer = 128
)

// ErrIdentity is returned by media when the other end of a connection is not the device
// that the ratchet authenticated.
var ErrIdentity = errors.New("the media connection is not that of the peer's device")

// op is one operation of a connection. Its event, unless nil, is fed to the machine.
type op func(ctx context.Context, x Session) (Event, error)

// live is the runtime state of a call. The loop owns it; the connection belongs to a
// worker.
type live struct {
	id         ID
	began      time.Time
	call       Call   // as last reported by the machine
	reason     string // set when the call has ended
	text       string
	because    *local.Error // why it has ended, if reason is not enough
	fault      *local.Error // first fault that did not end the call
	up         time.Time    // start of the current connection; zero: not connected
	upFor      time.Duration
	wasUp      bool
	stats      *local.CallStats
	timers     [timers]*time.Timer
	drain      *time.Timer
	owner      *owner
	claimed    bool // somebody is about to answer it
	media      local.CallMedia
	streams    Streams
	generation atomic.Uint32
	muted      [2]bool // sound, video: as requested by the user

	// The connection; a nil ops means none.
	ops    chan op
	cancel context.CancelFunc
	closed chan struct{}
	// gone: replaced by another call; its end is not reported.
	gone bool
}

// owner is the caller of call.start or call.answer that waits for a call to end.
type owner struct {
	events chan local.Event
	done   chan struct{} // closed when result is set

	id     ID         // owned by the loop
	result local.Call // constant after done is closed
	err    error      // as result: the outcome for the caller
}

func (o *owner) end(c local.Call, err error) {
	o.result, o.err = c, err
	close(o.done)
}

func newOwner(id ID) *owner {
	return &owner{events: make(chan local.Event, ownerBuffer), done: make(chan struct{}), id: id}
}

func (s *Service) newLive(c Call) *live {
	l := &live{id: c.ID, began: time.Now(), call: c}
	s.live[c.ID] = l
	return l
}

// connect starts the worker of a call's connection. The connection is x, or if that is nil,
// a new one opened after the channel after is closed.
func (s *Service) connect(l *live, x Session, after <-chan struct{}) {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(s.work)
	l.ops, l.closed = make(chan op, opQueue), make(chan struct{})
	media, streams, caller := l.media, l.streams, l.call.Out
	s.wg.Go(func() {
		var stats *local.CallStats
		defer func() {
			close(l.closed)
			s.post(func() { s.disconnected(l, stats) })
		}()
		if after != nil {
			<-after
		}
		if x == nil {
			var err error
			opening, cancel := context.WithTimeout(ctx, opTimeout)
			x, err = s.media.Open(opening, caller, media, streams)
			cancel()
			if err != nil {
				s.mediaFailed(l.id, err)
				<-ctx.Done()
				return
			}
		}
		stats = s.serve(ctx, l, x)
	})
}

// serve runs one connection until ctx ends, and returns its statistics.
func (s *Service) serve(ctx context.Context, l *live, x Session) *local.CallStats {
	events := make(chan struct{})
	go func() {
		defer close(events)
		for e := range x.Events() {
			s.mediaEvent(l, e)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			stats, err := x.Close()
			if err != nil {
				s.logger.Info("close a call's media", "error", err)
			}
			<-events
			return stats
		case f := <-l.ops:
			step, cancel := context.WithTimeout(ctx, opTimeout)
			e, err := f(step, x)
			cancel()
			switch {
			case ctx.Err() != nil:
			case err != nil:
				s.mediaFailed(l.id, err)
			case e != nil:
				s.post(func() { s.step(e) })
			}
		}
	}
}

// discard closes an unused connection and drops its last events, because Close waits until
// they are read.
func (s *Service) discard(x Session) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		for range x.Events() {
		}
	}()
	if _, err := x.Close(); err != nil {
		s.logger.Info("close media", "error", err)
	}
	<-read
}

// op queues an operation of a call's connection.
func (s *Service) op(id ID, f op) {
	l := s.live[id]
	if l == nil || l.ops == nil {
		return
	}
	select {
	case l.ops <- f:
	default:
		s.mediaFailedNow(id, errors.New("its media connection does not respond"))
	}
}

func (s *Service) mediaFailed(id ID, err error) {
	s.post(func() { s.mediaFailedNow(id, err) })
}

func (s *Service) mediaFailedNow(id ID, err error) {
	s.logger.Info("call media failed", "error", err)
	down := MediaDown{ID: id, Lost: true, Identity: errors.Is(err, ErrIdentity), Text: err.Error()}
	if e, ok := errors.AsType[*local.Error](err); ok {
		down.Text, down.Err = e.Message, e
	}
	s.step(down)
}

// mediaEvent passes an event of a connection to the loop. It runs in the connection's
// goroutine.
func (s *Service) mediaEvent(l *live, e MediaEvent) {
	generation := l.generation.Load()
	s.post(func() {
		switch {
		case e.Candidate != "":
			s.step(Candidate{ID: l.id, Generation: generation, Candidate: e.Candidate})
		case e.Connected:
			s.step(MediaUp{ID: l.id})
		case e.Lost:
			s.step(MediaDown{ID: l.id})
		case e.Closed:
			s.step(MediaDown{ID: l.id, Closed: true})
		case e.Failed != nil:
			s.step(MediaDown{ID: l.id, Lost: true, Identity: e.Identity, Text: e.Failed.Error()})
		case e.Ended:
			if l.media.HangupAfterPlay && l.drain == nil && s.live[l.id] == l {
				l.drain = time.AfterFunc(drainFor, func() { s.post(func() { s.step(Hangup{ID: l.id}) }) })
			}
		case e.Stats != nil:
			l.stats = e.Stats
			if l.reason == "" {
				s.publish(l, "")
			}
		case e.Notice != "":
			if l.fault == nil {
				l.fault = e.Fault
			}
			s.notice(l, e.Notice)
		}
	})
}

// tell updates a call that is new, has changed its phase, or has ended.
func (s *Service) tell(f Tell) {
	l := s.live[f.Call.ID]
	fresh := l == nil
	if fresh {
		l = s.newLive(f.Call)
	}
	was := l.call.Phase
	l.call = f.Call
	now := time.Now()
	if f.Call.Phase == Connected && f.Reason == "" {
		if l.up.IsZero() {
			l.up = now
		}
	} else if !l.up.IsZero() {
		l.upFor += now.Sub(l.up)
		l.up = time.Time{}
	}
	if f.Reason != "" {
		l.because = f.Err
		s.over(l, f.Reason, f.Text)
		return
	}
	if f.Call.Phase == Connected && !l.wasUp {
		l.wasUp = true
		if r, ok := l.streams.(*replay); ok {
			r.forget()
		}
		s.record(l)
	}
	if fresh && !f.Call.Out {
		s.record(l)
		s.assign(l, true)
	}
	if was != f.Call.Phase || fresh || f.Call.Phase == Initiating {
		s.publish(l, "")
	}
}

// over ends a call. Its end is reported after its connection is closed.
func (s *Service) over(l *live, reason, text string) {
	l.reason, l.text = reason, text
	for _, t := range append(slices.Clone(l.timers[:]), l.drain) {
		if t != nil {
			t.Stop()
		}
	}
	if l.ops == nil {
		s.finish(l)
		return
	}
	l.cancel()
}

// disconnected handles the end of a worker.
func (s *Service) disconnected(l *live, stats *local.CallStats) {
	if stats != nil {
		l.stats = stats
	}
	if l.gone {
		delete(s.live, l.id)
		return
	}
	s.finish(l)
}

// finish reports the end of a call to its owner and records it.
func (s *Service) finish(l *live) {
	if s.live[l.id] != l {
		return
	}
	delete(s.live, l.id)
	if l.text == "" && l.fault != nil {
		l.text = l.fault.Message
	}
	s.publish(l, l.text)
	r, o := l.asRecord(l.text), l.owner
	err := outcome(r.Call, l.wasUp, l.call.PeerEnded)
	switch {
	case l.because != nil:
		err = l.because
	case err == nil && l.fault != nil:
		err = l.fault
	}
	told := s.records.put(func(ctx context.Context) {
		s.keep(ctx, r)
		if o != nil {
			o.end(r.Call, err) // after recording: the owner finds the call in the history
		}
	})
	if !told && o != nil {
		o.end(r.Call, err)
	}
}

// adopt moves the owner of one call to another.
func (s *Service) adopt(f Adopt) {
	from := s.live[f.From]
	if from == nil {
		return
	}
	to := s.live[f.To]
	if to == nil {
		to = s.newLive(Call{ID: f.To})
	}
	to.owner, to.media, to.streams, to.claimed = from.owner, from.media, from.streams, true
	if to.owner != nil {
		to.owner.id = f.To
	}
	from.owner, from.gone = nil, true
	for _, t := range from.timers {
		if t != nil {
			t.Stop()
		}
	}
	from.cancel()
	s.connect(to, nil, from.closed)
}

// body returns the call for the local API.
func (l *live) body(text string) local.Call {
	c := local.Call{
		ID: l.id.Text(), State: l.call.Phase.String(), Direction: local.DirectionIn, Reason: l.reason,
		Audio: l.call.Audio, Video: l.call.Video, Text: text, Stats: l.stats,
	}
	if l.call.Out {
		c.Direction = local.DirectionOut
	}
	d := l.upFor
	if !l.up.IsZero() {
		d += time.Since(l.up)
	}
	c.Duration = float64(d.Milliseconds()) / 1000
	if l.reason != "" {
		c.State = local.CallEnded
		c.Missed = !l.call.Out && !l.call.Accepted && l.reason != local.CallDeclined && l.reason != local.CallAnsweredElsewhere
	}
	return c
}

func (l *live) asRecord(text string) Record {
	return Record{Peer: l.call.Peer, Device: l.call.Device, Began: l.began, Call: l.body(text)}
}

// record queues a record of the call's state for journal and history.
func (s *Service) record(l *live) {
	r := l.asRecord(l.text)
	s.records.put(func(ctx context.Context) { s.keep(ctx, r) })
}

func (s *Service) keep(ctx context.Context, r Record) {
	if err := s.signals.Record(ctx, r); err != nil {
		s.logger.Warn("record a call", "error", err)
	}
}

// publish sends the call's state to its owner. A slow owner may miss changes, but never the
// end.
func (s *Service) publish(l *live, text string) { s.publishRecord(l, l.asRecord(text)) }

// notice sends a text to the owner that is not a change of state. The last notices may come
// while an ended call's connection is being closed. They show the call's last phase, so
// that the end is reported once.
func (s *Service) notice(l *live, text string) {
	r := l.asRecord(text)
	if l.reason != "" {
		r.Call.State, r.Call.Reason = l.call.Phase.String(), ""
	}
	s.publishRecord(l, r)
}

func (s *Service) publishRecord(l *live, r Record) {
	if l.owner == nil {
		return
	}
	e := s.signals.Event(r)
	for {
		select {
		case l.owner.events <- e:
			return
		default:
		}
		if r.Call.State != local.CallEnded {
			return
		}
		select {
		case <-l.owner.events:
		default:
		}
	}
}
