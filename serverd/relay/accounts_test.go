package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/serverd/limit"
)

// Reconnecting gives an account no new tokens, and an account with full buckets is removed.
func TestReconnectingEarnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a accounts
		l := Limits{Messages: limit.Rate{Burst: 3, Every: time.Second}}
		l.setDefaults()
		a.init(l)
		for i := range 5 {
			al := a.acquire("alice")
			if wait := al.message(); (wait > 0) != (i >= 3) {
				t.Errorf("message %d waits %v", i, wait)
			}
			a.release("alice")
			a.sweep()
		}
		time.Sleep(3*time.Second - time.Nanosecond)
		if a.sweep(); len(a.m) != 1 {
			t.Error("the account was forgotten before its buckets were full")
		}
		time.Sleep(time.Nanosecond)
		al := a.acquire("alice")
		if a.sweep(); a.m["alice"] != al {
			t.Error("a connected account was forgotten")
		}
		a.release("alice")
		if a.sweep(); len(a.m) != 0 {
			t.Errorf("%d accounts are kept", len(a.m))
		}
	})
}
