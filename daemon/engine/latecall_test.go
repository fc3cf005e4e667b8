package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"secmsg/rpc/e2e"
	"secmsg/rpc/wire"
)

// An offer that the server has held back is told as late, whatever the server says;
// one that is on time is not, also if the wall clocks differ by hours. Another
// signal is never late: it speaks of a call that is alive, or of none.
func TestOfferThatWasHeldBackIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := world(t, "alice", "bob")
		alice, bob := p[0], p[1]
		defer stopAll(p...)
		offer := func(age time.Duration) *wire.Envelope {
			c := &e2e.Content{Kind: e2e.Kind_KIND_CALL, SentMs: alice.engine.profileTime().Add(-age).UnixMilli(),
				Body: &e2e.Content_Call{Call: ringSignal(1)}}
			return alice.envelope(bob, wire.Class_CLASS_ONLINE, plain(t, c))
		}
		end := &e2e.Content{Kind: e2e.Kind_KIND_CALL, SentMs: 1, Body: &e2e.Content_Call{Call: &e2e.Call{
			Id: make([]byte, 16), What: &e2e.Call_End{End: &e2e.CallEnd{Reason: e2e.CallReason_CALL_REASON_HANGUP}}}}}
		h := bob.hears()
		const ring = time.Minute
		last := func() CallSignal {
			t.Helper()
			settleDown(3 * time.Second) // the rate of offers
			h.mu.Lock()
			defer h.mu.Unlock()
			if len(h.signals) == 0 {
				t.Fatal("nothing came")
			}
			return h.signals[len(h.signals)-1]
		}
		for age, late := range map[time.Duration]bool{
			0: false, ring: false, ring + offerSkew: false, ring + offerSkew + time.Second: true,
			2 * time.Hour: true, -time.Hour: false, 29 * 365 * day: true,
		} {
			bob.deliver(offer(age))
			if got := last().Late; got != late {
				t.Errorf("an offer of %v ago is late: %v", age, got)
			}
		}
		bob.deliver(alice.envelope(bob, wire.Class_CLASS_ONLINE, plain(t, end)))
		if s := last(); s.Late || s.Call.GetEnd() == nil {
			t.Errorf("an end: %+v", s)
		}
		// A true one, held back by the server for two hours.
		held := offer(0)
		settleDown(2 * time.Hour)
		bob.deliver(held)
		settleDown(time.Second)
		h.mu.Lock()
		if !h.signals[len(h.signals)-1].Late {
			t.Error("an offer of two hours ago rings")
		}
		n := len(h.signals)
		h.mu.Unlock()
		// And one that goes through, from the engine itself.
		if err := alice.signal(bob, ringSignal(2)); err != nil {
			t.Fatal(err)
		}
		settleDown(time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.signals) != n+1 || h.signals[n].Late {
			t.Errorf("a call does not ring: %+v", h.signals[n:])
		}
	})
}
