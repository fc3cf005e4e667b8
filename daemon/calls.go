package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"secmsg/crypto/identity"
	"secmsg/crypto/key"
	"secmsg/daemon/call"
	"secmsg/daemon/engine"
	"secmsg/daemon/link"
	"secmsg/daemon/media"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
	"secmsg/rpc/local/place"
)

// turnTimeout bounds the question for media servers, without which a call may
// still find a direct way.
const turnTimeout = 3 * time.Second

// callSignals is an engine as the call service knows it.
type callSignals struct{ e *engine.Engine }

// Check implements call.Signals.
func (c callSignals) Check(ctx context.Context, peer string) (string, error) {
	addr, err := c.e.CheckCall(ctx, peer)
	return addr.String(), err
}

// Reachable implements call.Signals.
func (c callSignals) Reachable(ctx context.Context) error { return c.e.Reachable(ctx) }

// Send implements call.Signals.
func (c callSignals) Send(ctx context.Context, peer string, to *call.Device, m *e2e.Call) ([]call.Device, error) {
	addr, err := identity.ParseAddress(peer)
	if err != nil {
		return nil, err
	}
	sent, err := c.e.SendCall(ctx, addr, (*key.DeviceID)(to), m)
	out := make([]call.Device, len(sent))
	for i, d := range sent {
		out[i] = call.Device(d)
	}
	return out, err
}

// AutoAnswer implements call.Signals.
func (c callSignals) AutoAnswer(ctx context.Context, peer string) (bool, error) {
	addr, err := identity.ParseAddress(peer)
	if err != nil {
		return false, err
	}
	return c.e.AutoAnswer(ctx, addr)
}

// Record implements call.Signals.
func (c callSignals) Record(ctx context.Context, r call.Record) error {
	rec, err := callRecord(r)
	if err != nil {
		return err
	}
	return c.e.RecordCall(ctx, rec)
}

// Event implements call.Signals.
func (c callSignals) Event(r call.Record) local.Event {
	rec, err := callRecord(r)
	if err != nil {
		return local.Event{Type: local.TypeCall, Call: &r.Call}
	}
	return c.e.CallEvent(rec)
}

func callRecord(r call.Record) (engine.CallRecord, error) {
	addr, err := identity.ParseAddress(r.Peer)
	return engine.CallRecord{Peer: addr, Device: key.DeviceID(r.Device), Began: r.Began, Call: r.Call}, err
}

// callHandler hands what the engine has for calls to their service.
type callHandler struct{ a *account }

// CallSignal implements engine.CallHandler.
func (h callHandler) CallSignal(s engine.CallSignal) {
	if s.Late {
		h.a.callService().LateOffer(s.Peer.String(), call.Device(s.Device), s.Call)
		return
	}
	h.a.callService().Signal(s.Peer.String(), call.Device(s.Device), s.Call)
}

// CallUndelivered implements engine.CallHandler.
func (h callHandler) CallUndelivered(u engine.CallUndelivered) {
	h.a.callService().Undelivered(call.ID(u.Call), call.Device(u.Device), u.Offline || u.Refused, u.Denied)
}

// CallKeyChanged implements engine.CallHandler.
func (h callHandler) CallKeyChanged(peer identity.Address) {
	h.a.callService().KeyChanged(peer.String())
}

// callMedia makes the connections of an account's calls.
type callMedia struct {
	link   *link.Link
	server string // host:port
	logger *slog.Logger
}

// Open implements call.Media.
func (c callMedia) Open(ctx context.Context, caller bool, m local.CallMedia, s call.Streams) (call.Session, error) {
	for _, spec := range []string{m.AudioIn, m.VideoIn, m.AudioOut, m.VideoOut} {
		switch spec {
		case "", media.SpecDevice, media.SpecTest, media.SpecNull, media.SpecStream:
			continue
		}
		if !filepath.IsAbs(spec) {
			return nil, local.Errorf(local.CodeUsage, "a path of media must be absolute: %q", spec)
		}
	}
	o := media.Options{Logger: c.logger, RelayOnly: m.RelayOnly, Loopback: isLoopback(c.server)}
	asked := time.Now()
	var err error
	if o.ICEServers, err = c.servers(ctx); err != nil {
		if m.RelayOnly {
			return nil, local.Errorf(local.CodeUnreachable, "the server has no relay for calls now: %v", local.As(toLocal(err)))
		}
		c.logger.Info("a call goes without a media server", "error", err)
	}
	if err := distinct(m); err != nil {
		return nil, err
	}
	sources, err := openSources(m, s)
	if err != nil {
		return nil, mediaError(err)
	}
	sinks, err := openSinks(m, s)
	if err == nil && caller && m.HangupAfterPlay {
		err = ready(ctx, sources)
	}
	if err != nil {
		err = errors.Join(err, closeSources(sources), closeSinks(sinks))
		return nil, mediaError(err)
	}
	role := media.Callee
	if caller {
		role = media.Caller
	}
	x, err := media.NewSession(o, role, sources, sinks)
	if err != nil {
		return nil, mediaError(err)
	}
	out := newCallSession(x, m, sources, sinks)
	out.servers, out.asked = c.servers, asked
	return out, nil
}

// distinct refuses a file or FIFO that is source and destination at a time.
func distinct(m local.CallMedia) error {
	for _, in := range []string{m.AudioIn, m.VideoIn} {
		for _, out := range []string{m.AudioOut, m.VideoOut} {
			a, errIn := os.Stat(in)
			b, errOut := os.Stat(out)
			if filepath.IsAbs(in) && filepath.IsAbs(out) && errIn == nil && errOut == nil && os.SameFile(a, b) {
				return local.Errorf(local.CodeUsage, "%s cannot be source and destination of one call", in)
			}
		}
	}
	return nil
}

// ready waits until every source that is a stream has something to send, so that
// the peer is not rung for nothing.
func ready(ctx context.Context, in media.Sources) error {
	for kind, source := range map[media.Kind]media.Source{media.Audio: in.Audio, media.Video: in.Video} {
		if r, ok := source.(media.Readier); ok {
			if err := r.Ready(ctx); err != nil {
				return fmt.Errorf("the source of %s: %w", kind, err)
			}
		}
	}
	return nil
}

func closeSources(in media.Sources) error {
	var errs []error
	for _, x := range []media.Source{in.Audio, in.Video} {
		if x != nil {
			errs = append(errs, x.Close())
		}
	}
	return errors.Join(errs...)
}

func closeSinks(out media.Sinks) error {
	var errs []error
	for _, x := range []media.Sink{out.Audio, out.Video, out.Muxed} {
		if x != nil {
			errs = append(errs, x.Close())
		}
	}
	return errors.Join(errs...)
}

// freshFor is how long the credentials of media servers are good for a restart:
// half of the time that they are given for at most.
const freshFor = 5 * time.Minute

// servers asks for media servers and what lets this account use them.
func (c callMedia) servers(ctx context.Context) ([]media.ICEServer, error) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	t, err := c.link.TurnCredentials(ctx)
	if err != nil {
		return nil, err
	}
	return []media.ICEServer{{URLs: t.URLs, Username: t.Username, Password: t.Password}}, nil
}

// isLoopback reports whether a server is on this machine, which is where its
// media server and the peer are then, too.
func isLoopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// anyMedia reports whether some medium is named; if none is, sound goes from and
// to the device.
func anyMedia(m local.CallMedia) bool {
	return m.AudioIn != "" || m.VideoIn != "" || m.AudioOut != "" || m.VideoOut != ""
}

func openSources(m local.CallMedia, s call.Streams) (out media.Sources, err error) {
	if !anyMedia(m) {
		m.AudioIn = media.SpecDevice
	}
	width, height, err := pictureSize(m.VideoSize)
	if err != nil {
		return out, err
	}
	open := func(kind media.Kind, spec, name, format string) (media.Source, error) {
		if spec == "" {
			return nil, nil
		}
		o := media.SourceOptions{Format: media.Format(format), Width: width, Height: height}
		if spec == media.SpecStream && s != nil {
			if o.Stream, err = s.Input(name); err != nil {
				return nil, err
			}
		}
		return media.OpenSource(kind, spec, o)
	}
	if out.Audio, err = open(media.Audio, m.AudioIn, local.StreamAudioIn, m.AudioFormat); err != nil {
		return media.Sources{}, err
	}
	if out.Video, err = open(media.Video, m.VideoIn, local.StreamVideoIn, m.VideoFormat); err != nil {
		return media.Sources{}, errors.Join(err, closeSources(out))
	}
	return out, nil
}

func openSinks(m local.CallMedia, s call.Streams) (out media.Sinks, err error) {
	if !anyMedia(m) && !m.Play {
		m.AudioOut = media.SpecDevice
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeSinks(out))
			out = media.Sinks{}
		}
	}()
	open := func(kind media.Kind, spec, name, format string) (media.Sink, error) {
		if spec == "" {
			return nil, nil
		}
		o := media.SinkOptions{Format: media.Format(format), Place: place.Numbered}
		if spec == media.SpecStream && s != nil {
			if o.Stream, err = s.Output(name); err != nil {
				return nil, err
			}
		}
		return media.OpenSink(kind, spec, o)
	}
	if holdsBoth(m.VideoOut) && (m.AudioOut == "" || m.AudioOut == m.VideoOut) {
		if out.Muxed, err = open(media.Video, m.VideoOut, local.StreamVideoOut, ""); err != nil {
			return out, err
		}
		m.AudioOut, m.VideoOut = "", ""
	}
	if m.Play {
		if out.Muxed != nil {
			return out, local.Errorf(local.CodeUsage, "a call is either played or written to a file of sound and pictures")
		}
		if out.Muxed, err = media.OpenPlayer(); err != nil {
			return out, err
		}
	}
	if out.Audio, err = open(media.Audio, m.AudioOut, local.StreamAudioOut, m.AudioFormat); err != nil {
		return out, err
	}
	out.Video, err = open(media.Video, m.VideoOut, local.StreamVideoOut, m.VideoFormat)
	return out, err
}

// pictureSize reads WIDTHxHEIGHT; empty is 0, 0: the default.
func pictureSize(size string) (width, height int, err error) {
	if size == "" {
		return 0, 0, nil
	}
	w, h, ok := strings.Cut(size, "x")
	width, errW := strconv.Atoi(w)
	height, errH := strconv.Atoi(h)
	if !ok || errW != nil || errH != nil {
		return 0, 0, local.Errorf(local.CodeUsage, "the size of pictures is %q, not WIDTHxHEIGHT, such as 1280x720", size)
	}
	return width, height, nil
}

// holdsBoth reports whether a file holds sound and pictures.
func holdsBoth(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".mkv" || ext == ".webm"
}

// mediaError gives what is wrong with sources and destinations a code.
func mediaError(err error) error {
	if _, ok := errors.AsType[*local.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, media.ErrUnsupported), errors.Is(err, media.ErrFormat):
		return fmt.Errorf("%w (%w)", local.Errorf(local.CodeUsage, "%v", err), err)
	case errors.Is(err, media.ErrRefused):
		return fmt.Errorf("%w (%w)", local.Errorf(local.CodeRefused, "%v", err), err)
	}
	return fmt.Errorf("%w (%w)", local.IOError(err, "%v", err), err)
}

// callSession is a media session as the call service knows it.
type callSession struct {
	*media.Session
	audio, video bool
	sources      int                 // that end and have not; owned by translate
	played       bool                // one of them was sent to its end, or failed; owned by translate
	roundTrip    time.Duration       // the last that was measured; owned by translate
	endless      map[media.Kind]bool // constant; kinds whose source does not end
	events       chan call.MediaEvent
	done         sync.WaitGroup

	// owned by who calls Restart and Accept
	servers  func(context.Context) ([]media.ICEServer, error)
	asked    time.Time // when servers were asked for last
	accepted bool
}

func newCallSession(x *media.Session, m local.CallMedia, in media.Sources, out media.Sinks) *callSession {
	s := &callSession{Session: x, events: make(chan call.MediaEvent)}
	wants := func(kind media.Kind, sinks ...media.Sink) bool {
		for _, k := range sinks {
			if k != nil && len(k.Codecs(kind)) > 0 {
				return true
			}
		}
		return false
	}
	s.audio = in.Audio != nil || wants(media.Audio, out.Audio, out.Muxed)
	s.video = in.Video != nil || wants(media.Video, out.Video, out.Muxed)
	s.endless = map[media.Kind]bool{media.Audio: isEndless(m.AudioIn), media.Video: isEndless(m.VideoIn)}
	for kind, src := range map[media.Kind]media.Source{media.Audio: in.Audio, media.Video: in.Video} {
		if src != nil && !s.endless[kind] {
			s.sources++
		}
	}
	s.done.Go(s.translate)
	return s
}

// isEndless reports whether a source never comes to an end by itself.
func isEndless(spec string) bool {
	return spec == "" || spec == media.SpecDevice || spec == media.SpecTest
}

// translate passes events on until the session has ended.
func (s *callSession) translate() {
	defer close(s.events)
	for e := range s.Session.Events() {
		switch e := e.(type) {
		case media.Candidate:
			s.events <- call.MediaEvent{Candidate: e.SDP}
		case media.Connected:
			s.events <- call.MediaEvent{Connected: true}
		case media.Disconnected:
			s.events <- call.MediaEvent{Lost: true}
		case media.Failed:
			s.events <- call.MediaEvent{Failed: e.Err, Identity: errors.Is(e.Err, media.ErrFingerprint)}
		case media.Notice:
			s.events <- call.MediaEvent{Notice: e.Text}
		case media.SinkFailed:
			what := fmt.Sprintf("what comes cannot be written: %v", e.Err)
			if e.Kind != 0 {
				what = fmt.Sprintf("the %s that comes cannot be written: %v", e.Kind, e.Err)
			}
			s.events <- fault(what, e.Err)
		case media.SourceEnded:
			s.sourceEnded(e)
		case media.Closed:
			s.events <- call.MediaEvent{Closed: true}
		case media.Stats:
			if e.RoundTrip > 0 {
				s.roundTrip = e.RoundTrip
			}
			s.events <- call.MediaEvent{Stats: callStats(e)}
		}
	}
}

// sourceEnded tells of the end of a source. What the peer does not take is left
// out, and the call goes on with the rest; a source that failed is a fault.
func (s *callSession) sourceEnded(e media.SourceEnded) {
	refused := errors.Is(e.Err, media.ErrRefused)
	switch {
	case refused:
		s.events <- call.MediaEvent{Notice: fmt.Sprintf("the peer does not take %v; it is left out", strings.TrimSuffix(e.Err.Error(), ": "+media.ErrRefused.Error()))}
	case e.Err != nil:
		s.events <- fault(fmt.Sprintf("the source of %s has failed: %v", e.Kind, e.Err), e.Err)
	}
	if s.endless[e.Kind] {
		return // a device that was unplugged has not been played to its end
	}
	s.played = s.played || !refused
	if s.sources--; s.sources > 0 {
		return
	}
	if !s.played {
		s.events <- fault("the peer takes nothing of what was to be played", e.Err)
	}
	s.events <- call.MediaEvent{Ended: true}
}

// fault is a failure that does not end the call, but is its outcome.
func fault(text string, err error) call.MediaEvent {
	e := local.As(mediaError(err))
	return call.MediaEvent{Notice: text, Fault: local.Errorf(e.Code, "%s", text)}
}

// Offers implements call.Session.
func (s *callSession) Offers() (audio, video bool) { return s.audio, s.video }

// Events implements call.Session.
func (s *callSession) Events() <-chan call.MediaEvent { return s.events }

// Restart implements call.Session.
func (s *callSession) Restart(ctx context.Context) (string, error) {
	s.refresh(ctx)
	return s.Session.Restart(ctx)
}

// refresh asks for media servers anew if what was given is not good any more.
// Without an answer those stay: a direct way may still be found.
func (s *callSession) refresh(ctx context.Context) {
	if time.Since(s.asked) < freshFor {
		return
	}
	asked := time.Now()
	list, err := s.servers(ctx)
	if err != nil {
		return
	}
	if s.SetServers(list) == nil {
		s.asked = asked
	}
}

// Accept implements call.Session.
func (s *callSession) Accept(ctx context.Context, sdp string, fp []byte) (string, []byte, error) {
	if s.accepted {
		s.refresh(ctx) // it is that of a restart
	}
	s.accepted = true
	answer, own, err := s.Session.Accept(ctx, sdp, fp)
	return answer, own, describeFailure(err)
}

// Answer implements call.Session.
func (s *callSession) Answer(sdp string, fp []byte) error {
	return describeFailure(s.Session.Answer(sdp, fp))
}

// describeFailure tells the failures of a negotiation apart that end a call for
// another reason than that no path was found.
func describeFailure(err error) error {
	switch {
	case errors.Is(err, media.ErrFingerprint):
		return fmt.Errorf("%w: %w", call.ErrIdentity, err)
	case errors.Is(err, media.ErrRefused):
		return mediaError(err)
	}
	return err
}

// SetKeys implements call.Session.
func (s *callSession) SetKeys(k call.Keys) error {
	return s.Session.SetKeys(media.Keys{CallID: k.Call, Caller: k.Caller, Callee: k.Callee, Offer: k.Offer, Answer: k.Answer})
}

// Mute implements call.Session.
func (s *callSession) Mute(video, on bool) {
	kind := media.Audio
	if video {
		kind = media.Video
	}
	s.Session.Mute(kind, on)
}

// Close implements call.Session. Events must be read meanwhile.
func (s *callSession) Close() (*local.CallStats, error) {
	err := s.Session.Close()
	s.done.Wait()
	sum := s.Summary().Stats
	if sum.RoundTrip == 0 {
		sum.RoundTrip = s.roundTrip // the connection is gone, and with it what it measures
	}
	return callStats(sum), err
}

func callStats(s media.Stats) *local.CallStats {
	return &local.CallStats{
		Pair: string(s.Pair), RoundTripMS: float64(s.RoundTrip) / float64(time.Millisecond), Target: s.Target,
		AudioOut: callStream(s.AudioOut), VideoOut: callStream(s.VideoOut), AudioIn: callStream(s.AudioIn), VideoIn: callStream(s.VideoIn),
	}
}

// callStream shows a direction, nil if nothing flowed.
func callStream(s media.Stream) *local.CallStream {
	if s.Codec == "" {
		return nil
	}
	return &local.CallStream{
		Codec: string(s.Codec), Frames: s.Frames, Packets: s.Packets, Bytes: s.Bytes, BitRate: s.BitRate, Lost: s.Lost, Loss: s.Loss,
		JitterMS: float64(s.Jitter) / float64(time.Millisecond), Refused: s.Refused, Dropped: s.Dropped, Muted: s.Muted,
	}
}

// addresses returns the addresses of this machine, to see when they change.
func addresses() string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	return fmt.Sprint(list)
}
