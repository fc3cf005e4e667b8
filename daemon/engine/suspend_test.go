package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/daemon/link"
	"secmsg/rpc/local"
	"secmsg/rpc/wire"
)

// TestCallEndsOnceAtSuspend suspends the device during a call. The call service
// records the end of the call later, when its media are closed. The user sees one
// end, and history has the duration.
func TestCallEndsOnceAtSuspend(t *testing.T) {
	for _, direction := range []string{local.DirectionIn, local.DirectionOut} {
		t.Run(direction, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, p := world(t, "alice", "bob")
				alice, bob := p[0], p[1]
				defer stopAll(p...)
				r := CallRecord{Peer: bob.addr, Device: bob.device, Began: time.Now(), Call: local.Call{
					ID: "0197c3a0-0000-7000-8000-000000000001", State: local.CallConnected, Direction: direction, Audio: true,
				}}
				record := func() {
					t.Helper()
					if err := alice.engine.RecordCall(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				}
				record()
				time.Sleep(time.Minute) // the fake clock of synctest
				alice.link.disconnect()
				if err := alice.engine.Suspend(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				settleDown(time.Second)
				r.Call.State, r.Call.Reason, r.Call.Duration = local.CallEnded, local.CallDaemonRestart, 60
				record()
				ends := 0
				for _, e := range alice.events(local.TypeCall) {
					if e.Call.State == local.CallEnded {
						ends++
					}
				}
				list, err := alice.engine.ListCalls(t.Context(), local.CallListParams{})
				if err != nil || len(list.Events) != 1 {
					t.Fatalf("calls in history: %+v, %v", list, err)
				}
				if d := list.Events[0].Call.Duration; ends != 1 || d != 60 {
					t.Errorf("shown as ended %d times, with a duration of %v s in history", ends, d)
				}
			})
		})
	}
}

// TestReplacingIsNoRefusal refuses a copy of the device as an outdated one. While a
// new device takes its place, nobody is shown the refusal, which would tell scripts
// to give up: the error says what is going on and that a later try may succeed.
func TestReplacingIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice := p[0]
		defer stopAll(p...)
		alice.link.disconnect()
		refusal := &link.ByeError{Reason: wire.Reason_REASON_STALE_FENCE}
		alice.engine.Down(wire.RoleReplica, refusal)
		alice.engine.Down(wire.RoleContact, refusal)
		if e := alice.engine.Away(); e.Code != local.CodeRefused {
			t.Fatalf("after the refusal: %+v", e)
		}
		alice.engine.Fatal(refusal.Reason)
		if err := alice.engine.Suspend(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		replacing := func(what string, err error) {
			t.Helper()
			if e := local.As(err); e == nil || e.Code != local.CodeUnreachable || e.Message != "this device is being replaced" {
				t.Errorf("%s: %+v", what, err)
			}
		}
		replacing("connect", alice.engine.Connect(t.Context(), StageMail))
		replacing("call", alice.engine.Reachable(t.Context()))
		st, err := alice.engine.Status(t.Context())
		if err != nil || st.Error == nil {
			t.Fatalf("status: %+v, %v", st, err)
		}
		replacing("status", st.Error)
		if r := alice.send("bob", "hello", waitFor("")); r.Waiting == nil {
			t.Errorf("send: %+v", r)
		} else {
			replacing("send", r.Waiting)
		}
		if err := alice.engine.Resume(t.Context(), alice.device); err != nil {
			t.Fatal(err)
		}
		if st, err := alice.engine.Status(t.Context()); err != nil || st.Error != nil {
			t.Errorf("resumed: %+v, %v", st.Error, err)
		}
	})
}

// TestCallSignalEndsWithItsDevice suspends the device while a call asks the server for
// the peer's keys. Resumed, the device uses the answer for nothing: it starts no
// session, and the signal does not leave.
func TestCallSignalEndsWithItsDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		asked := 0
		r.mu.Lock()
		r.bundles = func(asker, _ string) {
			if asker != alice.name {
				return
			}
			if asked++; asked > 1 {
				return
			}
			alice.link.disconnect()
			if err := alice.engine.Suspend(t.Context(), nil); err != nil {
				t.Error(err)
			}
			if err := alice.engine.Resume(t.Context(), alice.device); err != nil {
				t.Error(err)
			}
			alice.link.connect()
			settleDown(time.Second)
		}
		r.mu.Unlock()
		h := bob.hears()
		wantCode(t, alice.signal(bob, ringSignal(1)), local.CodeUnreachable)
		settleDown(time.Second)
		if n, _, _ := h.counts(); n != 0 || asked != 1 {
			t.Errorf("%d signals left, %d questions", n, asked)
		}
		if err := alice.signal(bob, ringSignal(2)); err != nil {
			t.Error(err)
		}
		settleDown(time.Second)
		if n, _, _ := h.counts(); n != 1 || asked != 2 {
			t.Errorf("later: %d signals left, %d questions", n, asked)
		}
	})
}
