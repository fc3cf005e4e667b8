package call

import (
	"context"
	"slices"
	"time"

	"secmsg/crypto/identity"
	"secmsg/rpc/e2e"
	"secmsg/rpc/local"
)

// errBusyHere rejects a second call on this device.
var errBusyHere = local.Errorf(local.CodeUsage, "this device already has a call").WithHint("show it with: secmsg call status; end it with: secmsg call hangup")

// Start calls a peer and returns when the call has ended. events receives each change and
// the statistics. When ctx ends, the call is hung up. A call that was never connected is an
// error; see local.MethodCallStart.
func (s *Service) Start(ctx context.Context, p local.CallStartParams, streams Streams, events func(local.Event)) (local.Call, error) {
	ring := DefaultRing
	if p.Ring != 0 {
		ring = time.Duration(p.Ring * float64(time.Second))
	}
	if ring < time.Millisecond || ring > e2e.MaxRing { // e2e.CallOffer counts in milliseconds
		return local.Call{}, local.Errorf(local.CodeUsage, "ring must be between %s and %s", time.Millisecond, e2e.MaxRing)
	}
	peer, err := s.signals.Check(ctx, p.Peer)
	if err != nil {
		return local.Call{}, err
	}
	if err := s.signals.Reachable(ctx); err != nil {
		return local.Call{}, err
	}
	id, err := newID()
	if err != nil {
		return local.Call{}, err
	}
	streams = newReplay(streams)
	x, err := s.media.Open(ctx, true, p.CallMedia, streams)
	if err != nil {
		return local.Call{}, err
	}
	o := newOwner(id)
	err = s.do(ctx, func() error {
		if s.stopped {
			return errStopped
		}
		if s.state.Active() != nil {
			return errBusyHere
		}
		l := s.newLive(Call{ID: id, Peer: peer, Out: true, Phase: Initiating})
		l.owner, l.media, l.streams = o, p.CallMedia, streams
		s.connect(l, x, nil)
		audio, video := x.Offers()
		s.step(Start{ID: id, Peer: peer, Audio: audio, Video: video, Ring: ring, Secret: secret(), Spare: secret()})
		return nil
	})
	if err != nil {
		s.discard(x)
		return local.Call{}, err
	}
	return s.carry(ctx, o, events)
}

// Answer answers a ringing call, or with p.Auto the next one that may be answered, and
// returns when it has ended, as Start does.
func (s *Service) Answer(ctx context.Context, p local.CallAnswerParams, streams Streams, events func(local.Event)) (local.Call, error) {
	id, err := s.choose(ctx, p)
	if err != nil {
		return local.Call{}, err
	}
	o, err := s.take(ctx, id, p.CallMedia, streams)
	if err != nil {
		return local.Call{}, err
	}
	return s.carry(ctx, o, events)
}

// choose returns the call to answer, and claims it.
func (s *Service) choose(ctx context.Context, p local.CallAnswerParams) (ID, error) {
	if p.Auto {
		if p.ID != "" {
			return ID{}, local.Errorf(local.CodeUsage, "id and auto cannot be combined")
		}
		return s.await(ctx, p)
	}
	var id ID
	err := s.do(ctx, func() error {
		l, err := s.named(p.ID, "no call is ringing", func(l *live) bool { return !l.call.Accepted && l.reason == "" })
		if err != nil {
			return err
		}
		if l.claimed {
			return local.Errorf(local.CodeUsage, "another command is already answering the call")
		}
		id, l.claimed = l.id, true
		return nil
	})
	return id, err
}

// named returns the call with this id or, without an id, the only call that matches.
func (s *Service) named(id, none string, which func(l *live) bool) (*live, error) {
	if id != "" {
		want, err := ParseID(id)
		if err != nil {
			return nil, err
		}
		if l := s.live[want]; l != nil && which(l) {
			return l, nil
		}
		return nil, notFound(none)
	}
	var found *live
	var ids []string
	for _, l := range s.live {
		if which(l) {
			found = l
			ids = append(ids, l.id.Text())
		}
	}
	switch len(ids) {
	case 0:
		return nil, notFound(none)
	case 1:
		return found, nil
	}
	slices.Sort(ids)
	return nil, local.Errorf(local.CodeUsage, "there is more than one such call; give the id of one").WithHint("list the calls with: secmsg call status").WithCandidates(ids...)
}

// take opens media and answers a claimed call.
func (s *Service) take(ctx context.Context, id ID, m local.CallMedia, streams Streams) (*owner, error) {
	o := newOwner(id)
	var peer identity.Address
	unclaim := func() {
		left := ctx.Err() != nil || hasLeft(streams) // then somebody else may answer it
		s.post(func() { s.unclaim(id, left) })
	}
	err := s.do(ctx, func() error {
		if l := s.live[id]; l != nil {
			peer = l.call.Peer
			return nil
		}
		return notFound("the call has ended")
	})
	if err == nil {
		err = ctx.Err() // the call may have been given to a caller that has just left
	}
	if err == nil {
		_, err = s.signals.Check(ctx, peer.String()) // the peer's key may have changed since the call began
	}
	if err != nil {
		unclaim()
		return nil, err
	}
	x, err := s.media.Open(ctx, false, m, streams)
	if err != nil {
		unclaim()
		return nil, err
	}
	err = s.do(ctx, func() error {
		l, c := s.live[id], s.state.Find(id)
		switch {
		case s.stopped:
			return errStopped
		case ctx.Err() != nil:
			return ctx.Err() // not accepted yet
		case hasLeft(streams):
			return context.Canceled
		case l == nil || c == nil || c.Accepted:
			return notFound("the call has ended")
		case s.state.Active() != nil:
			return errBusyHere
		}
		l.owner, l.media, l.streams = o, m, streams
		s.connect(l, x, nil)
		s.step(Accept{ID: id, Secret: secret()})
		return nil
	})
	if err != nil {
		unclaim()
		s.discard(x)
		return nil, err
	}
	return o, nil
}

// carry passes on the events of a call until it has ended.
func (s *Service) carry(ctx context.Context, o *owner, events func(local.Event)) (local.Call, error) {
	if events == nil {
		events = func(local.Event) {}
	}
	left := ctx.Done()
	for {
		select {
		case e := <-o.events:
			events(e)
		case <-left:
			left = nil
			s.post(func() { s.leaveCall(o.id) })
		case <-o.done:
			for {
				select {
				case e := <-o.events:
					events(e)
					continue
				default:
				}
				return o.result, o.err
			}
		}
	}
}

// leaveCall ends the call of an owner that has disconnected. A stopping daemon disconnects
// its callers first; then the call has not been hung up.
func (s *Service) leaveCall(id ID) {
	if s.stopping() {
		s.step(Shutdown{})
		return
	}
	s.step(Hangup{ID: id})
}

// outcome returns the error that a call's end means to its owner: nil if it was connected
// and then ended by either side. byPeer: the peer has ended it.
func outcome(c local.Call, connected, byPeer bool) error {
	out := c.Direction == local.DirectionOut
	text := func(s string) string {
		if c.Text != "" {
			return s + ": " + c.Text
		}
		return s
	}
	switch c.Reason {
	case local.CallHangup:
		switch {
		case connected:
			return nil
		case byPeer:
			return local.Errorf(local.CodeRefused, "the peer hung up before the call was connected")
		}
		return local.Errorf(local.CodeInterrupted, "the call was ended before it was connected")
	case local.CallDeclined:
		return local.Errorf(local.CodeRefused, "%s", text("the call was declined"))
	case local.CallBusy:
		return local.Errorf(local.CodeRefused, "the peer has another call")
	case local.CallNoAnswer:
		return local.Errorf(local.CodeTimeout, "nobody answered")
	case local.CallCancelled:
		if !out {
			return notFound("the caller gave up")
		}
		return local.Errorf(local.CodeInterrupted, "the call was cancelled")
	case local.CallAnsweredElsewhere:
		return notFound("another device took the call")
	case local.CallOffline:
		if c.Text != "" {
			return local.Errorf(local.CodeUnreachable, "%s", c.Text)
		}
		return local.Errorf(local.CodeUnreachable, "no device of the peer is online")
	case local.CallIdentity:
		return local.Errorf(local.CodeUntrusted, "%s", text("the peer's identity has changed"))
	case local.CallDaemonRestart:
		return local.Errorf(local.CodeNoDaemon, "the daemon stopped during the call")
	}
	return local.Errorf(local.CodeUnreachable, "%s", text("the call failed"))
}

// Hangup ends a call, or declines a ringing one. An empty id means the active call, or else
// the only one.
func (s *Service) Hangup(ctx context.Context, id string) (local.Call, error) {
	return s.finishBy(ctx, id, "there is no active call", func(l *live) bool {
		a := s.state.Active()
		return l.reason == "" && !l.gone && (id != "" || a == nil || a.ID == l.id)
	})
}

// Reject declines a ringing call.
func (s *Service) Reject(ctx context.Context, id string) (local.Call, error) {
	return s.finishBy(ctx, id, "no call is ringing", func(l *live) bool { return l.reason == "" && !l.call.Accepted })
}

func (s *Service) finishBy(ctx context.Context, id, none string, which func(l *live) bool) (out local.Call, err error) {
	err = s.do(ctx, func() error {
		l, err := s.named(id, none, which)
		if err != nil {
			return err
		}
		s.step(Hangup{ID: l.id})
		out = l.body("")
		changed := true
		out.Changed = &changed
		return nil
	})
	return out, err
}

// Mute pauses or resumes sending of sound or video.
func (s *Service) Mute(ctx context.Context, id string, video, on bool) (out local.Call, err error) {
	err = s.do(ctx, func() error {
		l, err := s.named(id, "there is no active call", func(l *live) bool { return l.ops != nil && l.reason == "" && !l.gone })
		if err != nil {
			return err
		}
		s.op(l.id, func(_ context.Context, x Session) (Event, error) {
			x.Mute(video, on)
			return nil, nil
		})
		medium := 0
		if video {
			medium = 1
		}
		changed := l.muted[medium] != on
		l.muted[medium] = on
		out = l.body("")
		out.Changed = &changed
		return nil
	})
	return out, err
}

// Status lists the calls that have not ended, oldest first. It returns once the ends of
// earlier calls are recorded, so that a call which it leaves out is in the history.
func (s *Service) Status(ctx context.Context) (local.Calls, error) {
	out := local.Calls{Calls: []local.CallEntry{}}
	var recorded <-chan struct{}
	err := s.do(ctx, func() error {
		for _, l := range s.live {
			if l.reason == "" && !l.gone {
				out.Calls = append(out.Calls, local.CallEntry{Peer: l.call.Peer.String(), Call: l.body("")})
			}
		}
		recorded = s.records.ran()
		return nil
	})
	if err == nil {
		select {
		case <-recorded:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	slices.SortFunc(out.Calls, func(a, b local.CallEntry) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out, err
}
