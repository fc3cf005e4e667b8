package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"secmsg/daemon/call"
	"secmsg/daemon/media"
	"secmsg/rpc/local"
)

// callSession implements call.Session with a media session.
type callSession struct {
	*media.Session
	audio, video bool
	sources      int                 // number of finite sources still playing; owned by translate
	played       bool                // a finite source has ended or failed; owned by translate
	roundTrip    time.Duration       // last measurement; owned by translate
	endless      map[media.Kind]bool // constant; kinds with an endless source
	events       chan call.MediaEvent
	done         sync.WaitGroup

	// owned by the goroutine that calls Restart and Accept
	servers  func(context.Context) ([]media.ICEServer, error)
	asked    time.Time // time of the last request for servers
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

// isEndless reports whether a source never ends by itself.
func isEndless(spec string) bool {
	return spec == "" || spec == media.SpecDevice || spec == media.SpecTest
}

// translate converts media events until the session has ended.
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
			what := fmt.Sprintf("cannot write the received media: %v", e.Err)
			if e.Kind != 0 {
				what = fmt.Sprintf("cannot write the received %s: %v", e.Kind, e.Err)
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

// sourceEnded reports the end of a source. A kind of media that the peer does not
// accept is left out and the call continues; a source that failed is a fault.
func (s *callSession) sourceEnded(e media.SourceEnded) {
	refused := errors.Is(e.Err, media.ErrRefused)
	switch {
	case refused:
		s.events <- call.MediaEvent{Notice: fmt.Sprintf("the peer does not accept %v, so it is not sent", strings.TrimSuffix(e.Err.Error(), ": "+media.ErrRefused.Error()))}
	case e.Err != nil:
		s.events <- fault(fmt.Sprintf("the %s source has failed: %v", e.Kind, e.Err), e.Err)
	}
	if s.endless[e.Kind] {
		return // an unplugged device is not a finished file
	}
	s.played = s.played || !refused
	if s.sources--; s.sources > 0 {
		return
	}
	if !s.played {
		s.events <- fault("the peer accepts none of the media that were to be played", e.Err)
	}
	s.events <- call.MediaEvent{Ended: true}
}

// fault returns a failure that does not end the call but decides its outcome.
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

// refresh renews the TURN credentials if they are old. If that fails, the old ones
// stay in use: the call may still connect directly.
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
		s.refresh(ctx) // a later offer is a restart
	}
	s.accepted = true
	answer, own, err := s.Session.Accept(ctx, sdp, fp)
	return answer, own, describeFailure(err)
}

// Answer implements call.Session.
func (s *callSession) Answer(sdp string, fp []byte) error {
	return describeFailure(s.Session.Answer(sdp, fp))
}

// describeFailure marks the negotiation errors that end a call for a reason other
// than a missing path.
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
		sum.RoundTrip = s.roundTrip // a closed connection measures nothing
	}
	return callStats(sum), err
}

func callStats(s media.Stats) *local.CallStats {
	return &local.CallStats{
		Pair: string(s.Pair), RoundTripMS: float64(s.RoundTrip) / float64(time.Millisecond), Target: s.Target,
		AudioOut: callStream(s.AudioOut), VideoOut: callStream(s.VideoOut), AudioIn: callStream(s.AudioIn), VideoIn: callStream(s.VideoIn),
	}
}

// callStream returns the statistics of one stream, nil if it carried nothing.
func callStream(s media.Stream) *local.CallStream {
	if s.Codec == "" {
		return nil
	}
	return &local.CallStream{
		Codec: string(s.Codec), Frames: s.Frames, Packets: s.Packets, Bytes: s.Bytes, BitRate: s.BitRate, Lost: s.Lost, Loss: s.Loss,
		JitterMS: float64(s.Jitter) / float64(time.Millisecond), Refused: s.Refused, Dropped: s.Dropped, Muted: s.Muted,
	}
}
