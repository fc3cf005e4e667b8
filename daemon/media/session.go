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

// eventBuffer is the number of events buffered for a slow reader. When it is full, Stats
// are dropped and all other events wait.
const eventBuffer = 256

// Session is the media of one call; see the package comment.
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
	flow      chan struct{} // closed when keys are set and the certificate is verified
	started   time.Time     // set before flow is closed

	// owned by the goroutine that calls Offer, Accept and Answer
	agreed  bool         // offer and answer were exchanged
	refused map[any]bool // tracks refused by the peer, or by a destination here

	eventMu     sync.RWMutex
	events      chan Event
	eventsEnded bool // guarded by eventMu

	stateMu sync.Mutex
	state   webrtc.PeerConnectionState // as last reported; guarded by stateMu

	mu          sync.Mutex
	fingerprint []byte          // announced by the peer; guarded by mu
	verified    bool            // guarded by mu
	keys        *seal.MediaKeys // guarded by mu; nil until set
	remoteSet   bool            // guarded by mu
	pending     []string        // candidates received before their remote SDP; guarded by mu
	fragments   []string        // ICE user fragments of the remote SDP; guarded by mu
	candidates  int             // number since the last restart; guarded by mu
	flowing     bool            // guarded by mu
	closed      bool            // guarded by mu
	streams     int             // SSRCs used by the peer; guarded by mu
	pair        PairType        // guarded by mu
	up          time.Time       // start of the current connection, zero if there is none; guarded by mu
	upFor       time.Duration   // total time of previous connections; guarded by mu
	shift       time.Duration   // delay of all frames against their schedule; guarded by mu

	closeOnce sync.Once
	closeErr  error
}

// NewSession prepares a call. It sends nothing and opens no socket before [Session.Offer]
// or [Session.Accept]. It takes over sources and sinks, and closes them if it fails. It
// fails with [ErrUnsupported] if there is nothing to send or receive, or no codec that all
// sinks of a kind accept.
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
	if s.role == Caller { // the callee's sections depend on the offer
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

// wanted returns the codecs that every sink of a kind accepts, in the order of the first
// sink.
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

// addTransceivers adds one section for each kind and direction, since the sent codec may
// differ from the received one. It skips refused tracks.
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

// Events returns the channel of events, in order. [Session.Close] closes it. It must be
// read: a session with a full channel blocks.
func (s *Session) Events() <-chan Event { return s.events }

// post posts an event. It drops Stats if the channel is full.
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

// SetKeys sets the secrets of offer and answer. From then on media may flow, so it must not
// be called before the user of this device has accepted. It fails with [ErrKeys] if called
// again; a call has one set of keys.
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

// startFlowLocked starts the flow of media when keys are set and the certificate is
// verified.
func (s *Session) startFlowLocked() {
	if s.flowing || s.keys == nil || !s.verified || s.closed {
		return
	}
	s.flowing = true
	s.started = time.Now()
	close(s.flow)
}

// outward and inward are the directions of the derived keys.
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

// Mute mutes or unmutes a kind: silence is sent instead of sound, nothing instead of video.
// The source is still read, at its normal pace.
func (s *Session) Mute(kind Kind, on bool) {
	if t := s.out[kind]; t != nil {
		t.mute(on)
	}
}

// Close ends the call. When it returns, nothing is sent or written any longer, all
// goroutines and sockets have ended, sinks are complete and the event channel is closed. It
// returns the sinks' errors, which are also in the last events. Further calls return the
// same.
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

// finishSinks closes the sinks and returns the final events about them.
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
