package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pion/interceptor/pkg/cc"
	"github.com/pion/webrtc/v4"

	"secmsg/crypto/seal"
)

// eventBuffer is how many events wait for a slow reader. Stats are dropped when
// it is full, everything else waits.
const eventBuffer = 256

// Session is one call: see the package comment.
type Session struct {
	// constant
	log       *slog.Logger
	options   Options
	role      Role
	sources   Sources
	sinks     Sinks
	pc        *webrtc.PeerConnection
	estimator cc.BandwidthEstimator
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	out       map[Kind]*outTrack
	in        map[Kind]*inTrack
	timeline  *timeline
	flow      chan struct{} // closed when keys and certificate are there
	started   time.Time     // set before flow is closed

	// owned by the goroutine that calls Offer, Accept and Answer
	agreed  bool         // offer and answer have met
	refused map[any]bool // tracks that the peer, or a destination here, does not take

	eventMu     sync.RWMutex
	events      chan Event
	eventsEnded bool // guarded by eventMu

	stateMu sync.Mutex
	state   webrtc.PeerConnectionState // guarded by stateMu: as it was told

	mu          sync.Mutex
	fingerprint []byte          // guarded by mu: what the peer announced
	verified    bool            // guarded by mu
	keys        *seal.MediaKeys // guarded by mu; nil until set
	remoteSet   bool            // guarded by mu
	pending     []string        // guarded by mu: candidates before their remote SDP
	fragments   []string        // guarded by mu: user name fragments of the remote SDP
	candidates  int             // guarded by mu: since the last restart
	flowing     bool            // guarded by mu
	closed      bool            // guarded by mu
	streams     int             // guarded by mu: SSRCs that the peer used
	pair        PairType        // guarded by mu
	up          time.Time       // guarded by mu: connected since; zero if not
	upFor       time.Duration   // guarded by mu: connected before that
	shift       time.Duration   // guarded by mu: how much later than planned frames are sent

	closeOnce sync.Once
	closeErr  error
}

// NewSession prepares a call with nothing sent yet: no socket is opened before
// [Session.Offer] or [Session.Accept]. It takes over sources and sinks, which it
// closes also when it fails. It fails with [ErrUnsupported] if there is nothing
// to send and nothing to take, or no codec that all sinks of a kind take.
func NewSession(o Options, role Role, sources Sources, sinks Sinks) (*Session, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, sink := range []*Sink{&sinks.Audio, &sinks.Video, &sinks.Muxed} {
		if *sink != nil {
			*sink = newQueue(*sink)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Session{
		log: o.Logger, options: o, role: role, sources: sources, sinks: sinks,
		ctx: ctx, cancel: cancel, timeline: &timeline{},
		out: map[Kind]*outTrack{}, in: map[Kind]*inTrack{},
		refused: map[any]bool{}, flow: make(chan struct{}), events: make(chan Event, eventBuffer),
	}
	s.options.buffer = s.newBuffer
	if err := s.prepare(); err != nil {
		cancel()
		return nil, errors.Join(append(append(s.closeSources(), s.closeSinks()...), fmt.Errorf("new call session: %w", err))...)
	}
	return s, nil
}

func (s *Session) prepare() error {
	var codecs []Codec
	for kind, source := range map[Kind]Source{Audio: s.sources.Audio, Video: s.sources.Video} {
		if source == nil {
			continue
		}
		if source.Codec().Kind() != kind {
			return fmt.Errorf("%s source of %s: %w", kind, source.Codec(), ErrUnsupported)
		}
		s.out[kind] = newOutTrack(s, source)
		codecs = append(codecs, source.Codec())
	}
	for _, kind := range []Kind{Audio, Video} {
		wanted, sinks, err := s.wanted(kind)
		if err != nil {
			return err
		}
		if len(wanted) > 0 {
			s.in[kind] = newInTrack(s, kind, wanted, sinks)
			codecs = append(codecs, wanted...)
		}
	}
	if len(codecs) == 0 {
		return fmt.Errorf("neither a source nor a sink: %w", ErrUnsupported)
	}
	pc, err := newPeerConnection(s.options, codecs, func(e cc.BandwidthEstimator) { s.estimator = e })
	if err != nil {
		return err
	}
	s.pc = pc
	pc.OnICECandidate(s.onCandidate)
	pc.OnConnectionStateChange(s.onState)
	pc.OnTrack(s.onTrack)
	if s.role == Caller { // the callee's sections follow from the offer
		if err := s.addTransceivers(); err != nil {
			return errors.Join(err, pc.GracefulClose())
		}
	}
	for _, t := range s.out {
		s.wg.Go(func() { t.pump() })
	}
	s.wg.Go(s.tick)
	s.wg.Go(s.watch)
	return nil
}

// wanted returns the codecs that every sink of a kind takes, in the order of
// the first.
func (s *Session) wanted(kind Kind) ([]Codec, []Sink, error) {
	var sinks []Sink
	var common []Codec
	for _, sink := range []Sink{s.sinks.Muxed, map[Kind]Sink{Audio: s.sinks.Audio, Video: s.sinks.Video}[kind]} {
		if sink == nil || len(sink.Codecs(kind)) == 0 {
			continue
		}
		sinks = append(sinks, sink)
		if len(sinks) == 1 {
			common = sink.Codecs(kind)
			continue
		}
		var both []Codec
		for _, c := range common {
			for _, d := range sink.Codecs(kind) {
				if c == d {
					both = append(both, c)
				}
			}
		}
		if len(both) == 0 {
			return nil, nil, fmt.Errorf("no %s codec suits both outputs: %w", kind, ErrUnsupported)
		}
		common = both
	}
	return common, sinks, nil
}

// addTransceivers makes one section a kind and direction, since the codec that is
// sent may differ from the one that is taken. Tracks that were refused get none.
func (s *Session) addTransceivers() error {
	for _, kind := range []Kind{Audio, Video} {
		if out := s.out[kind]; out != nil && !s.refused[out] {
			t, err := s.pc.AddTransceiverFromTrack(out, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
			if err != nil {
				return fmt.Errorf("send %s: %w", kind, err)
			}
			if err := t.SetCodecPreferences([]webrtc.RTPCodecParameters{codecParameters(out.source.Codec())}); err != nil {
				return fmt.Errorf("send %s: %w", kind, err)
			}
			out.transceiver = t
		}
		if in := s.in[kind]; in != nil && !s.refused[in] {
			t, err := s.pc.AddTransceiverFromKind(rtpKind(kind), webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
			if err != nil {
				return fmt.Errorf("take %s: %w", kind, err)
			}
			var preferred []webrtc.RTPCodecParameters
			for _, c := range in.codecs {
				preferred = append(preferred, codecParameters(c))
			}
			if err := t.SetCodecPreferences(preferred); err != nil {
				return fmt.Errorf("take %s: %w", kind, err)
			}
			in.transceiver = t
		}
	}
	return nil
}

// Events returns what happens, in order; the channel is closed by
// [Session.Close]. It must be read: a session with a full channel waits.
func (s *Session) Events() <-chan Event { return s.events }

// post hands an event out. Stats are dropped rather than waited for.
func (s *Session) post(e Event) {
	s.eventMu.RLock()
	defer s.eventMu.RUnlock()
	if s.eventsEnded {
		return
	}
	if _, stats := e.(Stats); stats {
		select {
		case s.events <- e:
		default:
		}
		return
	}
	select {
	case s.events <- e:
	case <-s.ctx.Done():
	}
}

// SetKeys gives the session the secrets of offer and answer: the moment from
// which media may flow, so it must not come before the user of this device
// accepted. It fails with [ErrKeys] the second time; a call has one set of keys.
func (s *Session) SetKeys(k Keys) error {
	direction := seal.MediaSecrets{Call: k.CallID, Caller: k.Caller, Callee: k.Callee, Offer: k.Offer, Answer: k.Answer}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("set call keys: %w", ErrClosed)
	}
	if s.keys != nil {
		return fmt.Errorf("set call keys: %w", ErrKeys)
	}
	s.keys = seal.NewMediaKeys(direction)
	s.startFlowLocked()
	return nil
}

// startFlowLocked opens the gate once both keys and the right certificate are
// there.
func (s *Session) startFlowLocked() {
	if s.flowing || s.keys == nil || !s.verified || s.closed {
		return
	}
	s.flowing = true
	s.started = time.Now()
	close(s.flow)
}

// outward and inward are the directions of the keys.
func (s *Session) outward() seal.MediaDirection {
	if s.role == Caller {
		return seal.MediaFromCaller
	}
	return seal.MediaFromCallee
}

func (s *Session) inward() seal.MediaDirection {
	if s.role == Caller {
		return seal.MediaFromCallee
	}
	return seal.MediaFromCaller
}

func (s *Session) mediaKeys() *seal.MediaKeys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// Mute stops what is sent of a kind, or lets it go on: silence instead of sound,
// nothing instead of pictures. The source is read on, as time goes on.
func (s *Session) Mute(kind Kind, on bool) {
	if t := s.out[kind]; t != nil {
		t.mute(on)
	}
}

// Close ends the call: nothing is sent or written any more when it returns, all
// goroutines and sockets are gone, sinks are complete and the events end. It
// returns what the sinks said; the last events tell of it, too. Further calls
// return the same.
func (s *Session) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.markDownLocked()
		s.mu.Unlock()
		s.cancel()
		errs := s.closeSources()
		for _, sink := range s.allSinks() {
			if i, ok := sink.(interrupter); ok {
				i.interrupt()
			}
		}
		errs = append(errs, s.pc.GracefulClose())
		s.wg.Wait()
		if err := errors.Join(errs...); err != nil {
			s.log.Debug("close sources and connection", "error", err)
		}
		last := s.finishSinks()
		s.mu.Lock()
		if s.keys != nil {
			s.keys.Wipe()
		}
		s.mu.Unlock()
		s.eventMu.Lock()
		s.eventsEnded = true
		for _, e := range last {
			s.events <- e
		}
		close(s.events)
		s.eventMu.Unlock()
	})
	return s.closeErr
}

// finishSinks closes the sinks and returns the events that tell what came of them.
func (s *Session) finishSinks() []Event {
	var last []Event
	var errs []error
	kinds := map[Sink]Kind{}
	for kind, sink := range map[Kind]Sink{Audio: s.sinks.Audio, Video: s.sinks.Video} {
		if sink != nil {
			kinds[sink] = kind
		}
	}
	for _, sink := range s.allSinks() {
		if err := sink.Close(); err != nil {
			errs = append(errs, err)
			last = append(last, SinkFailed{Kind: kinds[sink], Err: err})
		}
		if r, ok := sink.(reporter); ok && r.report() != "" {
			last = append(last, Notice{Text: r.report()})
		}
	}
	s.closeErr = errors.Join(errs...)
	return last
}

func (s *Session) closeSources() []error {
	var errs []error
	for _, source := range []Source{s.sources.Audio, s.sources.Video} {
		if source != nil {
			errs = append(errs, source.Close())
		}
	}
	return errs
}

func (s *Session) allSinks() []Sink {
	var all []Sink
	for _, sink := range []Sink{s.sinks.Audio, s.sinks.Video, s.sinks.Muxed} {
		if sink != nil {
			all = append(all, sink)
		}
	}
	return all
}

func (s *Session) closeSinks() []error {
	var errs []error
	for _, sink := range s.allSinks() {
		errs = append(errs, sink.Close())
	}
	return errs
}
