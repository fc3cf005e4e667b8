package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/local"
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
