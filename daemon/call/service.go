package call

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// Options configure a Service.
type Options struct {
	// Self is the id of this device.
	Self    key.DeviceID
	Signals Signals
	Media   Media
	Logger  *slog.Logger
	// Stopping reports whether the daemon is stopping: callers that are disconnected then
	// have not hung up. nil: never.
	Stopping func() bool
}

const (
	// inboxSize bounds the functions that wait for the loop. Further signals are dropped,
	// and repeated by their senders.
	inboxSize = 256
	// signalTimeout bounds the sending of one signal, including a look-up of the peer.
	signalTimeout = 15 * time.Second
	// stopFor bounds the sending of end signals when the service stops.
	stopFor = 2 * time.Second
)

// Service runs the calls of an account on this device.
type Service struct {
	// constant
	signals  Signals
	media    Media
	logger   *slog.Logger
	stopping func() bool
	inbox    chan func()
	outbox   *queue        // signals, in order
	records  *queue        // writes to journal and history, in order
	wake     chan struct{} // signals that changed is not empty
	quit     chan struct{} // closed when Run ends
	wg       sync.WaitGroup
	work     context.Context // context of workers

	// owned by the loop
	self    key.DeviceID
	state   State
	live    map[ID]*live
	waiters []*waiter
	stopped bool

	mu      sync.Mutex
	changed map[identity.Address]bool // peers whose key has changed; guarded by mu
}

// errStopped is returned when the service is not running.
var errStopped = local.Errorf(local.CodeNoDaemon, "the account is not running")

// New returns a service that Run starts.
func New(o Options) *Service {
	s := &Service{
		self: o.Self, signals: o.Signals, media: o.Media, logger: o.Logger,
		inbox: make(chan func(), inboxSize), wake: make(chan struct{}, 1),
		quit: make(chan struct{}), live: make(map[ID]*live), changed: make(map[identity.Address]bool),
	}
	if s.stopping = o.Stopping; s.stopping == nil {
		s.stopping = func() bool { return false }
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	return s
}

// Run runs calls until ctx ends. Then it ends all calls, notifies the peers and waits for
// everything it started. A Service runs once.
func (s *Service) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.work = work
	s.outbox, s.records = newQueue(s.logger), newQueue(s.logger)
	var writers sync.WaitGroup
	writers.Go(func() { s.outbox.run(work) })
	writers.Go(func() { s.records.run(work) })
	defer func() {
		s.stop()
		late := time.AfterFunc(stopFor, cancel)
		s.outbox.end()
		s.records.end()
		writers.Wait()
		late.Stop()
		cancel()
		close(s.quit)
		s.wg.Wait()
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case f := <-s.inbox:
			f()
		case <-s.wake:
			s.endChanged()
		}
	}
}

// stop ends all calls and waits until their connections are closed.
func (s *Service) stop() {
	s.stopped = true
	s.step(Shutdown{})
	for _, w := range s.waiters {
		w.give(ID{}, errStopped)
	}
	s.waiters = nil
	for len(s.live) > 0 {
		(<-s.inbox)()
	}
}

// do runs fn in the loop and returns its error.
func (s *Service) do(ctx context.Context, fn func() error) error {
	result := make(chan error, 1)
	select {
	case s.inbox <- func() { result <- fn() }:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return errStopped
	}
	select {
	case err := <-result:
		return err
	case <-s.quit:
		return errStopped
	}
}

// post queues fn for the loop. It is for the service's own goroutines.
func (s *Service) post(fn func()) {
	select {
	case s.inbox <- fn:
	case <-s.quit:
	}
}

// offer queues fn for the loop if there is room, else drops it. It never blocks.
func (s *Service) offer(fn func()) {
	select {
	case s.inbox <- fn:
	default:
		s.logger.Warn("call signal dropped: the queue is full")
	}
}

// Signal handles a signal from a contact. It never blocks.
func (s *Service) Signal(peer identity.Address, device key.DeviceID, c *e2e.Call) {
	s.offer(func() { s.step(Signal{Peer: peer, Device: device, Call: c}) })
}

// LateOffer handles an offer that was delayed: if its call is unknown, it becomes a missed
// call. It never blocks.
func (s *Service) LateOffer(peer identity.Address, device key.DeviceID, c *e2e.Call) {
	s.offer(func() { s.step(Signal{Peer: peer, Device: device, Call: c, Late: true}) })
}

// Undelivered reports that a signal did not reach a device. gone: later signals will not
// either. denied: its user accepts no signals from this account. It never blocks.
func (s *Service) Undelivered(call ID, device key.DeviceID, gone, denied bool) {
	s.offer(func() { s.step(Undelivered{ID: call, Device: device, Gone: gone, Denied: denied}) })
}

// Unwanted ends all calls with a peer that the user has blocked or removed from the
// contacts.
func (s *Service) Unwanted(ctx context.Context, peer identity.Address) error {
	return s.do(ctx, func() error {
		s.step(Unwanted{Peer: peer})
		return nil
	})
}

// KeyChanged ends all calls with a peer. It never blocks.
func (s *Service) KeyChanged(peer identity.Address) {
	s.mu.Lock()
	s.changed[peer] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// endChanged ends the calls with peers whose key has changed.
func (s *Service) endChanged() {
	s.mu.Lock()
	peers := s.changed
	s.changed = make(map[identity.Address]bool)
	s.mu.Unlock()
	for peer := range peers {
		s.step(KeyChanged{Peer: peer})
	}
}

// Suspend ends all calls, because the device may not connect for now.
func (s *Service) Suspend(ctx context.Context) error {
	return s.do(ctx, func() error {
		s.step(Suspend{})
		return nil
	})
}

// Resume makes later calls those of a device. It follows Suspend.
func (s *Service) Resume(ctx context.Context, self key.DeviceID) error {
	return s.do(ctx, func() error {
		s.self = self
		return nil
	})
}

// NetworkChanged restarts ICE in all calls. It never blocks.
func (s *Service) NetworkChanged() { s.offer(func() { s.step(NetworkChanged{}) }) }

// step feeds an event to the machine and carries out the effects.
func (s *Service) step(e Event) {
	var effects []Effect
	s.state, effects = Next(s.state, e)
	for _, f := range effects {
		s.run(f)
	}
}

// run carries out one effect. It never blocks.
func (s *Service) run(f Effect) {
	switch f := f.(type) {
	case Send:
		s.send(f)
	case StartTimer:
		s.startTimer(f)
	case Tell:
		s.tell(f)
	case Adopt:
		s.adopt(f)
	case MakeOffer:
		s.op(f.ID, func(ctx context.Context, x Session) (Event, error) {
			sdp, fp, err := x.Offer(ctx)
			return Described{ID: f.ID, SDP: sdp, Fingerprint: fp}, err
		})
	case MakeAnswer:
		s.op(f.ID, func(ctx context.Context, x Session) (Event, error) {
			sdp, fp, err := x.Accept(ctx, f.Offer.SDP, f.Offer.Fingerprint)
			return Described{ID: f.ID, SDP: sdp, Fingerprint: fp}, err
		})
	case TakeAnswer:
		s.op(f.ID, func(_ context.Context, x Session) (Event, error) {
			return nil, x.Answer(f.Answer.SDP, f.Answer.Fingerprint)
		})
	case SetKeys:
		k := Keys{Call: f.ID, Caller: s.self, Callee: f.Device, Offer: f.Offer, Answer: f.Answer}
		if !f.Out {
			k.Caller, k.Callee = f.Device, s.self
		}
		s.op(f.ID, func(_ context.Context, x Session) (Event, error) { return nil, x.SetKeys(k) })
	case AddCandidates:
		s.op(f.ID, func(_ context.Context, x Session) (Event, error) {
			for _, c := range f.Candidates {
				if err := x.AddCandidate(c); err != nil {
					s.logger.Debug("peer's candidate rejected", "error", err)
				}
			}
			return nil, nil
		})
	case MakeRestart:
		s.setGeneration(f.ID, f.Generation)
		s.op(f.ID, func(ctx context.Context, x Session) (Event, error) {
			sdp, err := x.Restart(ctx)
			return Restarted{ID: f.ID, Generation: f.Generation, SDP: sdp}, err
		})
	case AnswerRestart:
		s.setGeneration(f.ID, f.Generation)
		s.op(f.ID, func(ctx context.Context, x Session) (Event, error) {
			sdp, _, err := x.Accept(ctx, f.SDP, f.Fingerprint)
			return Restarted{ID: f.ID, Generation: f.Generation, SDP: sdp}, err
		})
	case TakeRestart:
		s.op(f.ID, func(_ context.Context, x Session) (Event, error) { return nil, x.Answer(f.SDP, f.Fingerprint) })
	}
}

func (s *Service) setGeneration(id ID, generation uint32) {
	if l := s.live[id]; l != nil {
		l.generation.Store(generation)
	}
}

// send queues a signal. If the queue is full, the signal is lost and will be repeated.
func (s *Service) send(f Send) {
	to := make([]*key.DeviceID, 0, max(1, len(f.To)))
	for _, d := range f.To {
		to = append(to, &d)
	}
	if len(to) == 0 {
		to = append(to, nil)
	}
	s.outbox.put(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, signalTimeout)
		defer cancel()
		for _, d := range to {
			devices, err := s.signals.Send(ctx, f.Peer, d, f.Call)
			if err != nil {
				s.logger.Info("call signal", "error", err)
				e := local.As(err)
				failed := Unsendable{ID: f.ID, Identity: e.Code == local.CodeUntrusted, Err: e}
				s.offer(func() { s.step(failed) })
				continue
			}
			s.offer(func() { s.step(Sent{ID: f.ID, Devices: slices.Clone(devices)}) })
		}
	})
}

func (s *Service) startTimer(f StartTimer) {
	l := s.live[f.ID]
	if l == nil {
		return
	}
	if t := l.timers[f.Timer]; t != nil {
		t.Stop()
	}
	l.timers[f.Timer] = time.AfterFunc(f.After, func() {
		s.post(func() { s.step(Expired{ID: f.ID, Timer: f.Timer, Serial: f.Serial}) })
	})
}

func newID() (ID, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return ID{}, fmt.Errorf("call id: %w", err)
	}
	return ID(u), nil
}

// Text returns the id as it appears in events.
func (id ID) Text() string { return uuid.UUID(id).String() }

// ParseID parses an id as it appears in events.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil {
		return ID{}, local.Errorf(local.CodeNotFound, "call %q does not exist", s)
	}
	return ID(u), nil
}

func secret() (out [e2e.CallSecretSize]byte) {
	rand.Read(out[:]) // never fails (crypto/rand, since Go 1.24)
	return out
}

// notFound returns an error for a call that does not exist.
func notFound(what string) error { return local.Errorf(local.CodeNotFound, "%s", what) }
