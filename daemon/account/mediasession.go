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

// sourceEnded tells of the end of a source. What the peer does not take is left
// out, and the call goes on with the rest; a source that failed is a fault.
func (s *callSession) sourceEnded(e media.SourceEnded) {
	refused := errors.Is(e.Err, media.ErrRefused)
	switch {
	case refused:
		s.events <- call.MediaEvent{Notice: fmt.Sprintf("the peer does not accept %v, so it is not sent", strings.TrimSuffix(e.Err.Error(), ": "+media.ErrRefused.Error()))}
	case e.Err != nil:
		s.events <- fault(fmt.Sprintf("the %s source has failed: %v", e.Kind, e.Err), e.Err)
	}
	if s.endless[e.Kind] {
		return // a device that was unplugged has not been played to its end
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
