package call

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secmsg/rpc/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The callee opens nothing before it answers. Then media flow and can be muted, and either
// side ends the call for both; the events are recorded.
func TestServiceCall(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		if bob.opened != 0 {
			t.Fatal("media are open before the accept")
		}
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		if _, err := alice.s.Mute(context.Background(), "", false, true); err != nil {
			t.Fatal(err)
		}
		settle(5 * time.Second)
		if !alice.last.muted[0] {
			t.Error("not muted")
		}
		list, err := bob.s.Status(context.Background())
		if err != nil || len(list.Calls) != 1 || list.Calls[0].State != local.CallConnected {
			t.Errorf("status %+v, %v", list, err)
		}
		if _, err := alice.s.Start(context.Background(), local.CallStartParams{Peer: "bob@x"}, nil, nil); local.As(err).Code != local.CodeUsage {
			t.Errorf("a second call: %v", err)
		}
		if _, err := bob.s.Hangup(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
		out.want(t, local.CallHangup, "", "initiating", "ringing", "connecting", "connected", "ended")
		in.want(t, local.CallHangup, "", "connecting", "connected", "ended")
		if out.call.Duration < 5 || out.call.Stats == nil {
			t.Errorf("end %+v", out.call)
		}
		if n := len(bob.records); n != 3 || bob.records[0].State != local.CallRinging || bob.records[1].State != local.CallConnected {
			t.Errorf("records %+v", bob.records)
		}
	})
}

// Each way to fail has its own reason and code.
func TestServiceRefusals(t *testing.T) {
	t.Run("declined", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			if _, err := bob.s.Reject(context.Background(), ""); err != nil {
				t.Fatal(err)
			}
			out.want(t, local.CallDeclined, local.CodeRefused)
			settle(time.Second)
			if bob.records[1].Missed {
				t.Error("a call that was declined is missed")
			}
		})
	})
	t.Run("no answer", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			alice.start("bob@x").want(t, local.CallNoAnswer, local.CodeTimeout, "initiating", "ringing", "ended")
			settle(time.Minute)
			if len(bob.records) != 2 || !bob.records[1].Missed {
				t.Errorf("a missed call leaves %+v", bob.records)
			}
		})
	})
	t.Run("held back", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			for range 3 { // the caller had repeated it
				bob.s.LateOffer(account("alice@x"), alice.device, offerFor(idOf(77), 1))
				settle(time.Second)
			}
			if n := len(bob.records); n != 1 || !bob.records[0].Missed || bob.records[0].State != local.CallEnded {
				t.Errorf("an offer that was held back leaves %+v", bob.records)
			}
			// An existing call is not affected and is not replaced.
			out := alice.start("bob@x")
			settle(time.Second)
			bob.s.LateOffer(account("alice@x"), alice.device, offerFor(idOf(1), 1))
			settle(time.Second)
			if n := len(bob.records); n != 3 || !bob.records[2].Missed {
				t.Errorf("records %+v", bob.records)
			}
			out.cancel()
			out.want(t, local.CallCancelled, local.CodeInterrupted)
		})
	})
	t.Run("caller leaves", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			out.cancel()
			out.want(t, local.CallCancelled, local.CodeInterrupted)
			settle(time.Second)
			if n := len(bob.records); n != 2 || bob.records[1].Reason != local.CallCancelled || !bob.records[1].Missed {
				t.Errorf("records %+v", bob.records)
			}
		})
	})
	t.Run("nobody there", func(t *testing.T) {
		two(t, func(t *testing.T, alice, _ *desk) {
			alice.start("carol@x").want(t, local.CallOffline, local.CodeUnreachable)
		})
	})
	t.Run("no server", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			alice.away = local.Errorf(local.CodeUnreachable, "the server cannot be reached")
			out := alice.start("bob@x")
			out.want(t, "", local.CodeUnreachable)
			if alice.opened != 0 || local.As(out.err).Message != "the server cannot be reached" {
				t.Errorf("opened %d, %v", alice.opened, out.err)
			}
		})
	})
	t.Run("hung up before it was connected", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			alice.deaf, bob.deaf = true, true
			out := alice.start("bob@x")
			settle(time.Second)
			in := bob.answer(local.CallAnswerParams{})
			settle(time.Second)
			in.cancel()
			in.want(t, local.CallHangup, local.CodeInterrupted)
			out.want(t, local.CallHangup, local.CodeRefused, "initiating", "ringing", "connecting", "ended")
		})
	})
	t.Run("key changes while it rings", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			bob.s.KeyChanged(account("alice@x"))
			settle(time.Second)
			if _, err := bob.s.Answer(context.Background(), local.CallAnswerParams{}, nil, nil); local.As(err).Code != local.CodeNotFound {
				t.Errorf("answer: %v", err)
			}
			if bob.opened != 0 || bob.records[1].Reason != local.CallIdentity {
				t.Errorf("opened %d, records %+v", bob.opened, bob.records)
			}
			out.cancel()
			out.want(t, local.CallCancelled, local.CodeInterrupted)
		})
	})
	t.Run("no media at the callee", func(t *testing.T) {
		two(t, func(t *testing.T, alice, bob *desk) {
			out := alice.start("bob@x")
			settle(time.Second)
			bob.fail = errors.New("no device")
			if _, err := bob.s.Answer(context.Background(), local.CallAnswerParams{}, nil, nil); err == nil {
				t.Error("answered without media")
			}
			bob.fail = nil // it keeps ringing
			in := bob.answer(local.CallAnswerParams{})
			settle(time.Second)
			in.cancel()
			in.want(t, local.CallHangup, "")
			out.want(t, local.CallHangup, "")
		})
	})
	t.Run("none rings", func(t *testing.T) {
		two(t, func(t *testing.T, _, bob *desk) {
			bob.answer(local.CallAnswerParams{}).want(t, "", local.CodeNotFound)
			bob.answer(local.CallAnswerParams{ID: "nonsense"}).want(t, "", local.CodeNotFound)
			bob.answer(local.CallAnswerParams{Auto: true, Timeout: 5}).want(t, "", local.CodeTimeout)
		})
	})
}

// A waiter for a peer's calls gets only that peer's calls. With the contact's policy a call
// is answered without a waiter.
func TestServiceAutoAnswer(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		others := bob.answer(local.CallAnswerParams{Auto: true, From: []string{"carol@x"}})
		policy := bob.answer(local.CallAnswerParams{Auto: true})
		settle(time.Second)
		out := alice.start("bob@x")
		settle(5 * time.Second)
		if bob.opened != 0 {
			t.Fatal("a call was taken that nobody waits for")
		}
		mine := bob.answer(local.CallAnswerParams{Auto: true, From: []string{"alice@x"}})
		settle(time.Second)
		mine.cancel()
		mine.want(t, local.CallHangup, "")
		out.want(t, local.CallHangup, "")

		bob.mu.Lock()
		bob.auto[account("alice@x")] = true
		bob.mu.Unlock()
		out = alice.start("bob@x")
		settle(time.Second)
		policy.cancel()
		policy.want(t, local.CallHangup, "")
		out.want(t, local.CallHangup, "")

		out = alice.start("bob@x") // no waiter: the device answers it
		settle(time.Second)
		out.cancel()
		out.want(t, local.CallHangup, "", "initiating", "ringing", "connecting", "connected", "ended")
		others.cancel()
		<-others.end
		if !errors.Is(others.err, context.Canceled) {
			t.Errorf("who waited for another: %v", others.err)
		}
	})
}

// A device that fails to answer a call automatically leaves it to a waiter that came
// meanwhile.
func TestServiceCannotAnswerAlone(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		bob.auto[account("alice@x")] = true
		bob.onOpen = func(m local.CallMedia) error {
			if m == (local.CallMedia{}) {
				settle(2 * time.Second)
				return local.Errorf(local.CodeIO, "there is no microphone")
			}
			return nil
		}
		out := alice.start("bob@x")
		settle(time.Second)
		p := local.CallAnswerParams{Auto: true}
		p.AudioIn = "test"
		in := bob.answer(p)
		settle(2 * time.Second)
		in.cancel()
		in.want(t, local.CallHangup, "")
		out.want(t, local.CallHangup, "", "initiating", "ringing", "connecting", "connected", "ended")
	})
}

// Two users call each other at the same time: both commands get the same call.
func TestServiceGlare(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		a := alice.start("bob@x")
		b := bob.start("alice@x")
		settle(5 * time.Second)
		a.cancel()
		a.want(t, local.CallHangup, "")
		b.want(t, local.CallHangup, "")
		if a.call.ID != b.call.ID || a.call.Direction == b.call.Direction || a.call.Duration == 0 {
			t.Errorf("%+v and %+v", a.call, b.call)
		}
	})
}

// A daemon that stops ends its calls, notifies the peers and leaves no goroutine.
func TestServiceStops(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		bob.cancel()
		in.want(t, local.CallDaemonRestart, local.CodeNoDaemon)
		out.want(t, local.CallHangup, "")
		<-bob.done
		if _, err := bob.s.Status(context.Background()); err == nil {
			t.Error("a service that has ended answers")
		}
	})
}

// A call given to a waiter that disconnects at that moment keeps ringing for the next one.
func TestServiceGivesBack(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		bob.auto[account("alice@x")] = true
		first := bob.answer(local.CallAnswerParams{Auto: true})
		settle(time.Second)
		second := bob.answer(local.CallAnswerParams{Auto: true})
		settle(time.Second)
		bob.checks = func() { first.cancel(); bob.checks = nil }
		out := alice.start("bob@x")
		settle(5 * time.Second)
		<-first.end
		if !errors.Is(first.err, context.Canceled) {
			t.Errorf("who left: %v", first.err)
		}
		second.cancel()
		second.want(t, local.CallHangup, "", "connecting", "connected", "ended")
		out.want(t, local.CallHangup, "")
	})
}

// A call ended by a stopping daemon was not hung up by its caller.
func TestServiceCallerOfStoppingDaemon(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		in := bob.answer(local.CallAnswerParams{})
		settle(time.Second)
		bob.ending.Store(true)
		in.cancel()
		in.want(t, local.CallDaemonRestart, local.CodeNoDaemon)
		out.want(t, local.CallHangup, "")
		if r := bob.records[len(bob.records)-1]; r.Reason != local.CallDaemonRestart {
			t.Errorf("kept %+v", r)
		}
	})
}

// TestEndedCallIsRecordedBeforeStatusLeavesItOut has the store of calls stand still: the
// status of calls waits for it instead of leaving out a call that no list has.
func TestEndedCallIsRecordedBeforeStatusLeavesItOut(t *testing.T) {
	two(t, func(t *testing.T, alice, bob *desk) {
		out := alice.start("bob@x")
		settle(time.Second)
		release := bob.holdRecords()
		if _, err := bob.s.Reject(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			list, err := bob.s.Status(context.Background())
			if err == nil && len(list.Calls) > 0 {
				err = errors.New("the refused call has not ended")
			}
			answered <- err
		}()
		settle(time.Second)
		select {
		case <-answered:
			t.Error("status left out a call whose end was not recorded")
		default:
		}
		release()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		settle(time.Second)
		<-out.end
	})
}
