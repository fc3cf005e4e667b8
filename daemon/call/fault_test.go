package call

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"secmsg/rpc/local"
)

// A call continues without a source that failed, and its outcome is an error. Notices of
// media during Close are reported before the end, which is reported once.
func TestServiceFaultIsTheOutcome(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		var told []local.Call
		out := carry(func(ctx context.Context, events func(local.Event)) (local.Call, error) {
			return alice.s.Start(ctx, local.CallStartParams{Peer: "bob@x"}, nil, func(e local.Event) {
				told = append(told, *e.Call)
				events(e)
			})
		})
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		alice.last.events <- MediaEvent{Notice: "the microphone is gone", Fault: local.Errorf(local.CodeIO, "the microphone is gone")}
		settle(time.Second)
		select {
		case <-out.end:
			t.Fatal("the call has ended for a source")
		default:
		}
		alice.onClose = func() {
			alice.last.events <- MediaEvent{Stats: &local.CallStats{Pair: "late"}}
			alice.last.events <- MediaEvent{Notice: "the recording is elsewhere"}
			settle(time.Second)
		}
		if _, err := bob.s.Hangup(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		out.want(t, local.CallHangup, local.CodeIO, "initiating", "ringing", "connecting", "connected", "ended")
		in.want(t, local.CallHangup, "")
		ends, notices := 0, ""
		for _, c := range told {
			if c.State == local.CallEnded {
				ends++
				continue
			}
			notices += c.Text + ";"
		}
		if ends != 1 || told[len(told)-1].State != local.CallEnded {
			t.Errorf("%d ends in %+v", ends, told)
		}
		if !strings.Contains(notices, "the microphone is gone;") || !strings.Contains(notices, "the recording is elsewhere;") {
			t.Errorf("notices %q", notices)
		}
	})
}

// Without a common medium the call is refused on both sides, although the callee accepted
// it.
func TestServiceNothingInCommon(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		bob.nothing = local.Errorf(local.CodeRefused, "neither side accepts what the other sends")
		out := alice.start("bob@x")
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		out.want(t, local.CallDeclined, local.CodeRefused)
		in.want(t, local.CallFailed, local.CodeRefused)
	})
}

// pipe is a caller's stream that can be read once.
type pipe struct {
	io.Reader
	opened int
}

func (p *pipe) Close() error { return nil }
func (p *pipe) Input(string) (io.ReadCloser, error) {
	p.opened++
	return p, nil
}
func (p *pipe) Output(string) (io.WriteCloser, error) { return nil, errors.ErrUnsupported }

// A stream whose beginning was read before the ring is complete when the call that replaces
// the first one opens it again.
func TestReplayedStream(t *testing.T) {
	p := &pipe{Reader: strings.NewReader("OggS and so on")}
	s := newReplay(p).(*replay)
	first, err := s.Input("audio_in")
	if err != nil {
		t.Fatal(err)
	}
	var look [4]byte
	if _, err := io.ReadFull(first, look[:]); err != nil || string(look[:]) != "OggS" {
		t.Fatalf("%q, %v", look, err)
	}
	second, err := s.Input("audio_in")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(second); err != nil || string(b) != "OggS and so on" {
		t.Errorf("again %q, %v", b, err)
	}
	s.forget()
	if third, _ := s.Input("audio_in"); third != nil {
		if b, _ := io.ReadAll(third); len(b) != 0 {
			t.Errorf("%q was kept after the call was connected", b)
		}
	}
	if newReplay(nil) != nil {
		t.Error("no streams became some")
	}
}

// deserted are the streams of a caller that has disconnected but whose context has not
// ended yet.
type deserted struct{ pipe }

func (*deserted) Left() bool { return true }

// A call is not answered for a caller that has just disconnected: the next waiter gets it.
func TestServiceTakesNothingForTheGone(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		gone := carry(func(ctx context.Context, events func(local.Event)) (local.Call, error) {
			return bob.s.Answer(ctx, local.CallAnswerParams{Auto: true, From: []string{"alice@x"}}, &deserted{}, events)
		})
		settle(time.Second)
		here := bob.answer(local.CallAnswerParams{Auto: true, From: []string{"alice@x"}})
		settle(time.Second)
		out := alice.start("bob@x")
		settle(5 * time.Second)
		<-gone.end
		if !errors.Is(gone.err, context.Canceled) {
			t.Errorf("who left: %v", gone.err)
		}
		here.cancel()
		here.want(t, local.CallHangup, "", "connecting", "connected", "ended")
		out.want(t, local.CallHangup, "")
	})
}
