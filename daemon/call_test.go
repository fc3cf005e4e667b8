package daemon_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/local"
	"secmsg/scripts/poll"
)

// friends are two profiles that have added each other.
func (s *server) friends() (alice, bob *profile) {
	s.t.Helper()
	alice, bob = s.joined("alice"), s.joined("bob")
	for p, name := range map[*profile]string{alice: "bob", bob: "alice"} {
		_, err := p.client.AddContact(s.t.Context(), local.PeerParams{Peer: name})
		check(s.t, err)
	}
	for p, name := range map[*profile]string{alice: "bob", bob: "alice"} {
		poll.Until(s.t, "mutual", func() bool {
			list, err := p.client.Presence(s.t.Context(), local.PresenceParams{Peers: []string{name}})
			return err == nil && len(list.Presence) == 1 && list.Presence[0].Online != nil && *list.Presence[0].Mutual && *list.Presence[0].Online
		})
	}
	return alice, bob
}

// callEnd is how a call ended for its caller.
type callEnd struct {
	call local.Call
	err  error
}

// begin carries a call in a goroutine; states tells what it goes through.
func begin(run func(events func(local.Event)) (local.Call, error)) (states chan local.Call, end chan callEnd) {
	states, end = make(chan local.Call, 1000), make(chan callEnd, 1)
	go func() {
		c, err := run(func(e local.Event) {
			select {
			case states <- *e.Call:
			default:
			}
		})
		end <- callEnd{c, err}
	}()
	return states, end
}

func (p *profile) startCall(ctx context.Context, params local.CallStartParams, s local.CallStreams) (chan local.Call, chan callEnd) {
	return begin(func(events func(local.Event)) (local.Call, error) { return p.client.StartCall(ctx, params, s, events) })
}

func (p *profile) answerCall(ctx context.Context, params local.CallAnswerParams, s local.CallStreams) (chan local.Call, chan callEnd) {
	return begin(func(events func(local.Event)) (local.Call, error) { return p.client.AnswerCall(ctx, params, s, events) })
}

func waitState(t *testing.T, states chan local.Call, end chan callEnd, want string, ok func(c local.Call) bool) local.Call {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case c := <-states:
			if c.State == want && (ok == nil || ok(c)) {
				return c
			}
		case e := <-end:
			t.Fatalf("the call ended before it was %s: %+v, %v", want, e.call, e.err)
		case <-late:
			t.Fatalf("the call is never %s", want)
		}
	}
}

func waitEnd(t *testing.T, end chan callEnd) callEnd {
	t.Helper()
	select {
	case e := <-end:
		return e
	case <-time.After(patience):
		t.Fatal("the call does not end")
		return callEnd{}
	}
}

// Two daemons on one machine: sound flows both ways, both sides' journals and
// histories have the call, and who hangs up ends it for both.
func TestCallConnectsAndEnds(t *testing.T) {
	alice, bob := newServer(t).friends()
	ctx := t.Context()
	media := local.CallMedia{AudioIn: "test", AudioOut: "null"}
	bobs, bobEnd := bob.answerCall(ctx, local.CallAnswerParams{Auto: true, From: []string{"alice"}, CallMedia: media}, local.CallStreams{})
	states, end := alice.startCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: media}, local.CallStreams{})
	waitState(t, states, end, local.CallConnected, nil)
	waitState(t, bobs, bobEnd, local.CallConnected, nil)
	heard := func(c local.Call) bool {
		return c.Stats != nil && c.Stats.AudioIn != nil && c.Stats.AudioIn.Frames > 10
	}
	waitState(t, states, end, local.CallConnected, heard)
	waitState(t, bobs, bobEnd, local.CallConnected, heard)
	list, err := alice.client.CallStatus(ctx, "")
	check(t, err)
	if len(list.Calls) != 1 || list.Calls[0].State != local.CallConnected || list.Calls[0].Peer != "bob@chat.example.com" {
		t.Fatalf("status: %+v", list)
	}
	_, err = bob.client.HangupCall(ctx, local.CallIDParams{})
	check(t, err)
	for _, e := range []callEnd{waitEnd(t, end), waitEnd(t, bobEnd)} {
		check(t, e.err)
		if e.call.Reason != local.CallHangup || e.call.Duration <= 0 || e.call.Stats == nil || e.call.Stats.Pair != "direct" {
			t.Errorf("end: %+v", e.call)
		}
	}
	for p, name := range map[*profile]string{alice: "bob", bob: "alice"} {
		h, err := p.client.History(ctx, local.HistoryParams{Peer: name})
		check(t, err)
		if len(h.Events) != 1 || h.Events[0].Call == nil || h.Events[0].Call.State != local.CallEnded {
			t.Errorf("history with %s: %+v", name, h.Events)
		}
		l, err := p.client.ListCalls(ctx, local.CallListParams{})
		check(t, err)
		if len(l.Events) != 1 {
			t.Errorf("list: %+v", l.Events)
		}
	}
}

// A second call is refused at once, although its connection is open already and has
// something to say at its end: that nothing came for its recording.
func TestSecondCallIsRefused(t *testing.T) {
	alice, bob := newServer(t).friends()
	ctx := t.Context()
	media := local.CallMedia{AudioIn: "test", AudioOut: "null"}
	bob.answerCall(ctx, local.CallAnswerParams{Auto: true, From: []string{"alice"}, CallMedia: media}, local.CallStreams{})
	states, end := alice.startCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: media}, local.CallStreams{})
	waitState(t, states, end, local.CallConnected, nil)
	for range 2 {
		second := local.CallMedia{AudioIn: "test", AudioOut: filepath.Join(t.TempDir(), "second.ogg")}
		_, refused := alice.startCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: second}, local.CallStreams{})
		if e := waitEnd(t, refused); local.As(e.err).Code != local.CodeUsage {
			t.Errorf("a second call: %+v, %v", e.call, e.err)
		}
	}
	_, err := alice.client.HangupCall(ctx, local.CallIDParams{})
	check(t, err)
	check(t, waitEnd(t, end).err)
}

// A daemon with a call is not idle, whoever carries the call.
func TestCallIsNotIdle(t *testing.T) {
	alice, bob := newServer(t).friends()
	ctx := t.Context()
	media := local.CallMedia{AudioIn: "test", AudioOut: "null"}
	_, bobEnd := bob.answerCall(ctx, local.CallAnswerParams{Auto: true, From: []string{"alice"}, CallMedia: media}, local.CallStreams{})
	to := alice.target()
	to.Caller.Resumes = true // so that the connection itself does not count
	caller, err := local.Dial(ctx, to)
	check(t, err)
	defer caller.Close()
	states, end := begin(func(events func(local.Event)) (local.Call, error) {
		return caller.StartCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: media}, local.CallStreams{}, events)
	})
	waitState(t, states, end, local.CallConnected, nil)
	if e := wantCode(t, alice.client.StopIfIdle(ctx), local.CodeRefused); !strings.Contains(e.Message, "call") {
		t.Errorf("it says %q", e.Message)
	}
	_, err = alice.client.HangupCall(ctx, local.CallIDParams{})
	check(t, err)
	waitEnd(t, end)
	waitEnd(t, bobEnd)
	poll.Until(t, "idle", func() bool { return alice.client.StopIfIdle(ctx) == nil })
	check(t, <-alice.done)
	alice.done <- nil // for the end of the test
}

// A call that is declined, and one that nobody can take, have the codes of the
// contract; the one called has an event of it.
func TestCallRefused(t *testing.T) {
	alice, bob := newServer(t).friends()
	ctx := t.Context()
	media := local.CallMedia{AudioIn: "test", AudioOut: "null"}
	states, end := alice.startCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: media}, local.CallStreams{})
	waitState(t, states, end, local.CallRinging, nil)
	_, err := bob.client.RejectCall(ctx, local.CallIDParams{})
	check(t, err)
	wantCode(t, waitEnd(t, end).err, local.CodeRefused)
	list, err := bob.client.ListCalls(ctx, local.CallListParams{Peer: "alice"})
	check(t, err)
	if len(list.Events) != 1 || list.Events[0].Call.Reason != local.CallDeclined {
		t.Errorf("list %+v", list.Events)
	}

	short, leave := context.WithCancel(ctx)
	states, end = alice.startCall(short, local.CallStartParams{Peer: "bob", CallMedia: media}, local.CallStreams{})
	waitState(t, states, end, local.CallRinging, nil)
	leave()
	<-end
	poll.Until(t, "a missed call", func() bool {
		list, err := bob.client.ListCalls(ctx, local.CallListParams{})
		return err == nil && len(list.Events) == 2 && list.Events[1].Call.Missed && list.Events[1].Call.Reason == local.CallCancelled
	})

	_, err = alice.client.StartCall(ctx, local.CallStartParams{Peer: "carol", CallMedia: media}, local.CallStreams{}, nil)
	wantCode(t, err, local.CodeNotFound)
	_, err = alice.client.StartCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: local.CallMedia{AudioIn: "relative.ogg"}}, local.CallStreams{}, nil)
	wantCode(t, err, local.CodeUsage)
	bob.stop()
	poll.Until(t, "bob is away", func() bool {
		list, err := alice.client.Presence(ctx, local.PresenceParams{Peers: []string{"bob"}})
		return err == nil && len(list.Presence) == 1 && list.Presence[0].Online != nil && !*list.Presence[0].Online
	})
	_, err = alice.client.StartCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: media}, local.CallStreams{}, nil)
	wantCode(t, err, local.CodeUnreachable)
}

// The caller's own streams: what one reads from a pipe the other writes to one,
// and the call ends when the source does.
func TestCallStreams(t *testing.T) {
	sound, err := os.ReadFile("media/tone.ogg")
	check(t, err)
	alice, bob := newServer(t).friends()
	ctx := t.Context()
	var got bytes.Buffer
	_, bobEnd := bob.answerCall(ctx, local.CallAnswerParams{Auto: true, From: []string{"alice"}, CallMedia: local.CallMedia{AudioOut: "-"}},
		local.CallStreams{AudioOut: &got})
	_, end := alice.startCall(ctx, local.CallStartParams{Peer: "bob", CallMedia: local.CallMedia{AudioIn: "-", HangupAfterPlay: true}},
		local.CallStreams{AudioIn: bytes.NewReader(sound)})
	e := waitEnd(t, end)
	check(t, e.err)
	if e.call.Reason != local.CallHangup || e.call.Stats.AudioOut == nil {
		t.Errorf("end %+v", e.call)
	}
	check(t, waitEnd(t, bobEnd).err)
	if !bytes.HasPrefix(got.Bytes(), []byte("OggS")) || got.Len() < len(sound)/2 {
		t.Errorf("%d bytes of %d came", got.Len(), len(sound))
	}
}
